"""Diagrams of any framework end to end in one array, so that summaries need no loop over bars or diagrams."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

from medkernels import _interop
from medkernels.topology._items import split


@dataclass(frozen=True)
class Bars:
    """Bars of all diagrams: bar k belongs to diagram ``owner[k]``, diagram i begins at ``starts[i]``."""

    birth: Any
    death: Any
    owner: npt.NDArray[np.int64]
    starts: list[int]
    many: bool
    framework: str
    like: Any

    @property
    def count(self) -> int:
        """Number of diagrams."""
        return len(self.starts) - 1

    @property
    def xp(self) -> Any:
        """The module with the framework's ``where``, ``isfinite`` and so on."""
        return namespace(self.framework)

    @property
    def traced(self) -> bool:
        """Whether a graph is being traced, so that there are no values to look at."""
        if self.framework == "jax":
            import jax

            return isinstance(self.constant(self.birth), jax.core.Tracer)
        if self.framework == "torch":
            import torch

            return torch.compiler.is_compiling()
        return False

    def constant(self, array: Any) -> Any:
        """`array` as a constant to derivatives: inside ``jax.grad`` alone a plain array with known values."""
        if self.framework == "torch":
            return array.detach()
        if self.framework == "jax":
            import jax

            return jax.lax.stop_gradient(array)
        return array

    def lengths(self) -> tuple[Any, Any]:
        """Length [m] of each bar and whether it counts; bars that are infinite or of length zero get 0."""
        finite = self.xp.isfinite(self.birth) & self.xp.isfinite(self.death)
        # Not inf - inf, and not 0 times inf in the derivative.
        length = self.xp.where(finite, self.death, 0.0) - self.xp.where(finite, self.birth, 0.0)
        return length, length > 0

    def floats(self, values: npt.NDArray[Any]) -> Any:
        """NumPy numbers in the dtype and on the device of the bars."""
        if self.framework == "torch":
            return self.xp.as_tensor(values, dtype=self.birth.dtype, device=self.birth.device)
        return self.xp.asarray(values, dtype=self.birth.dtype)

    def indices(self, values: npt.NDArray[Any]) -> Any:
        """NumPy integers on the device of the bars."""
        if self.framework == "torch":
            return self.xp.as_tensor(values, device=self.birth.device)
        return self.xp.asarray(values)

    def sums(self, values: Any, groups: Any = None, count: int | None = None) -> Any:
        """Sums of the values of all bars in one group, as a rule the bars of one diagram."""
        groups = self.indices(self.owner) if groups is None else groups
        count = self.count if count is None else count
        if self.framework == "torch":
            return values.new_zeros(count).index_add(0, groups, values)
        if self.framework == "jax":
            return self.xp.zeros(count, values.dtype).at[groups].add(values)
        return self.xp.bincount(groups, values, count).astype(values.dtype)

    def result(self, array: Any) -> Any:
        """`array` [count, ...] as the caller gets it: without the first dimension if one diagram came."""
        chosen = array if self.many else array[0]
        return _interop.restorer(self.like)(np.asarray(chosen)) if self.framework == "dlpack" else chosen


def pack(diagrams: Any) -> Bars:
    """One diagram [n, 2], a batch [B, n, 2] or a list of diagrams as bars.

    Raises
    ------
    ValueError
        For other shapes, NaN, or bars that end before they begin.
    TypeError
        For what are no floating-point arrays of one framework and dtype.
    """
    arrays, names, many, framework, like = split("diagrams", diagrams, "n 2")
    counts = [array.shape[0] for array in arrays]
    if not arrays:
        empty = like if framework in ("torch", "jax", "cupy") else np.empty(0)
        arrays, names = [empty.reshape(-1, 2)], ["diagrams"]
    for array, name in zip(arrays, names, strict=True):
        check_float(array.dtype, name)
        if array.dtype != arrays[0].dtype:
            raise TypeError(f"{name} is {array.dtype}, but {names[0]} is {arrays[0].dtype}: use one dtype")
        if framework == "torch" and array.device != arrays[0].device:
            raise ValueError(
                f"{name} is on {array.device}, but {names[0]} is on {arrays[0].device}: use one device"
            )
    joined = namespace(framework).concatenate(arrays) if len(arrays) > 1 else arrays[0]
    starts = [0, *accumulate(counts)]
    owner = np.repeat(np.arange(len(counts)), counts)
    bars = Bars(joined[:, 0], joined[:, 1], owner, starts, many, framework, like)
    if not bars.traced:
        _check_values(bars, names)
    return bars


def _check_values(bars: Bars, names: list[str]) -> None:
    ordered = bars.constant(bars.birth) <= bars.constant(bars.death)
    if bool(ordered.all()):
        return
    bad = int(np.argmin(ordered.tolist()))
    place = int(bars.owner[bad])
    row = bad - bars.starts[place]
    raise ValueError(
        f"{names[place]} must hold births and deaths with birth <= death, but row {row} is "
        f"({float(bars.constant(bars.birth)[bad])}, {float(bars.constant(bars.death)[bad])})"
    )


def check_float(dtype: Any, name: str) -> None:
    """Raise TypeError unless `dtype` is float32 or float64."""
    text = getattr(dtype, "name", str(dtype)).removeprefix("torch.")
    if text not in ("float32", "float64"):
        raise TypeError(f"{name} must be float32 or float64, not {text}")


def namespace(framework: str) -> Any:
    """The module that holds the framework's functions on arrays."""
    if framework == "torch":
        import torch

        return torch
    if framework == "jax":
        import jax.numpy as jnp

        return jnp
    if framework == "cupy":
        import cupy

        return cupy
    return np

"""What `ellipses` and `ellipsoids` share: checks, and the way to the right implementation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from medkernels import _backends, _checks, _core, _interop

COMPOSITIONS = ("union", "over")
PROFILES = ("sigmoid", "gaussian")

#: Below this, 1/tau would overflow float32 arithmetic on the way.
MIN_TAU = 1e-6


@dataclass(frozen=True)
class Family:
    """One op of the family: its name and the shapes of its arguments."""

    name: str
    turn: str
    dims: tuple[str, ...]
    shapes: Mapping[str, str]

    @property
    def array_names(self) -> tuple[str, ...]:
        """Arrays in the order in which every implementation takes them and returns their gradients."""
        return ("centers", "axes", self.turn, "colors", "opacity", "background")


ELLIPSES = Family(
    "ellipses",
    "angles",
    ("H", "W"),
    {
        "centers": "B K 2",
        "axes": "B K 2",
        "angles": "B K",
        "colors": "B K C",
        "opacity": "B K",
        "background": "B C",
    },
)
ELLIPSOIDS = Family(
    "ellipsoids",
    "rotations",
    ("D", "H", "W"),
    {
        "centers": "B K 3",
        "axes": "B K 3",
        "rotations": "B K 4",
        "colors": "B K C",
        "opacity": "B K",
        "background": "B C",
    },
)


class Look(NamedTuple):
    """How primitives are drawn."""

    composition: str
    profile: str
    tau: float


def check_look(composition: str, profile: str, tau: float) -> Look:
    """Check the drawing options."""
    _checks.check_choice("composition", composition, COMPOSITIONS)
    _checks.check_choice("profile", profile, PROFILES)
    if not isinstance(tau, (int, float)):
        raise TypeError(f"tau must be a number, not {type(tau).__name__}")
    if not (math.isfinite(tau) and tau >= MIN_TAU):
        raise ValueError(f"tau must be finite and at least {MIN_TAU}, not {tau}")
    return Look(composition, profile, float(tau))


def check_arrays(family: Family, arrays: Mapping[str, Any], size: tuple[int, ...]) -> None:
    """Check shapes, dtypes and devices of arrays of one framework."""
    wanted = dict(family.shapes)
    if len(arrays["background"].shape) != 2:
        wanted["background"] = "B C " + " ".join(family.dims)
    sizes = _checks.check_shapes(arrays, wanted)
    if len(arrays["background"].shape) != 2 and tuple(arrays["background"].shape[2:]) != size:
        raise ValueError(
            f"background has shape {list(arrays['background'].shape)}, but size is {tuple(size)}: "
            f"give [B, C] or [B, C, {', '.join(family.dims)}] of the same size"
        )
    if sizes["C"] < 1:
        raise ValueError("colors must have at least one channel")
    if sizes["K"] > _checks.MAX_INDEX:
        raise ValueError(f"centers holds {sizes['K']} primitives an image, more than {_checks.MAX_INDEX}")
    first = arrays["centers"]
    for name, array in arrays.items():
        if array.dtype != first.dtype:
            raise TypeError(f"{name} is {array.dtype}, but centers is {first.dtype}: use one dtype")
        if getattr(array, "device", None) != getattr(first, "device", None):
            raise ValueError(f"{name} is on {array.device}, but centers is on {first.device}: use one device")


def check_cpu_dtype(dtype: Any) -> None:
    """The CPU kernels come in float32 and float64."""
    name = getattr(dtype, "name", str(dtype)).removeprefix("torch.")
    if name not in ("float32", "float64"):
        raise TypeError(f"on the CPU arrays must be float32 or float64, not {name}")


def check_cost(colors: Any, size: tuple[int, ...], itemsize: int, available: int | None) -> None:
    """Refuse images that do not fit in the `available` bytes."""
    batch, _, channels = colors.shape
    needed = batch * channels * math.prod(size) * itemsize
    _checks.check_memory(f"size={tuple(size)} with {batch} images of {channels} channels", needed, available)


def cpu_forward(
    family: Family, arrays: Mapping[str, Any], size: tuple[int, ...], look: Look
) -> npt.NDArray[Any]:
    """Run the C++ forward pass on NumPy arrays of one dtype."""
    dtype = arrays["centers"].dtype
    check_cpu_dtype(dtype)
    check_cost(arrays["colors"], size, dtype.itemsize, _backends.available_memory())
    inputs = [_interop.kernel_array(arrays[name], dtype.newbyteorder("=")) for name in family.array_names]
    image: npt.NDArray[Any] = getattr(_core.render, family.name)(*inputs, *size, *look)
    return image


def cpu_backward(
    family: Family, grad_image: npt.NDArray[Any], arrays: Mapping[str, Any], look: Look
) -> tuple[npt.NDArray[Any], ...]:
    """Run the C++ backward pass: gradients in the order of ``family.array_names``."""
    dtype = arrays["centers"].dtype
    inputs = [_interop.kernel_array(arrays[name], dtype) for name in family.array_names]
    grads: tuple[npt.NDArray[Any], ...] = getattr(_core.render, f"{family.name}_backward")(
        _interop.kernel_array(grad_image, dtype), *inputs, *look
    )
    return grads


def render(family: Family, arrays: dict[str, Any], size: Any, look: Look) -> Any:
    """Check, then draw with the implementation for the framework and device of `arrays`."""
    size = _checks.check_size("size", size, family.dims)
    framework = _interop.common_framework(arrays)
    if framework == "torch":
        from medkernels.render import _torch

        return _torch.render(family, arrays, size, look)
    if framework == "jax":
        from medkernels.render import _jax

        return _jax.render(family, arrays, size, look)
    if framework == "cupy":
        return _cupy_render(family, arrays, size, look)
    restore = _interop.restorer(arrays["centers"])
    views = _numpy_arrays(arrays)
    check_arrays(family, views, size)
    return restore(cpu_forward(family, views, size, look))


def _numpy_arrays(arrays: Mapping[str, Any]) -> dict[str, npt.NDArray[Any]]:
    """NumPy views; plain Python numbers and sequences, and a scalar opacity, take the dtype of the arrays."""
    views = {name: _interop.numpy_view(array, name) for name, array in arrays.items()}
    dtype = next(
        (v.dtype for n, v in views.items() if _interop.framework_of(arrays[n]) != "python"),
        np.dtype(np.float64),
    )
    for name in views:
        if _interop.framework_of(arrays[name]) == "python":
            views[name] = views[name].astype(dtype)
    if views["opacity"].ndim == 0:
        views["opacity"] = np.full(views["centers"].shape[:2], views["opacity"])
    return views


def _cupy_render(family: Family, arrays: Mapping[str, Any], size: tuple[int, ...], look: Look) -> Any:
    """CuPy arrays go through the torch operator on the same device memory."""
    _backends.triton_kernels(family.name)
    import cupy
    import torch.utils.dlpack

    from medkernels.render import _torch

    tensors = {
        name: torch.utils.dlpack.from_dlpack(array) if _interop.framework_of(array) == "cupy" else array
        for name, array in arrays.items()
    }
    return cupy.from_dlpack(_torch.render(family, tensors, size, look))

"""Arguments of the ops on edges, and the way to the core for arrays without derivatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from medkernels import _backends, _checks, _core, _interop
from medkernels._items import dtype_name
from medkernels.points._clouds import DTYPES
from medkernels.points._tables import check_index_dtype

Array = npt.NDArray[Any]


def check_numbers(name: str, array: Any, like: Any, like_name: str) -> None:
    """Raise TypeError unless an array is of one of the dtypes of the core, and of that of another."""
    came = dtype_name(array)
    if came not in DTYPES:
        raise TypeError(f"{name} must be float32 or float64, not {came}")
    if came != dtype_name(like):
        raise TypeError(f"{name} is {came}, but {like_name} is {dtype_name(like)}: use one dtype")


def check_table(neighbours: Any) -> None:
    """Raise unless this is a table of indices [M, k] or [B, M, k]."""
    check_index_dtype("neighbours", neighbours)
    if len(neighbours.shape) not in (2, 3):
        raise ValueError(
            f"neighbours must have shape [M, k] or [B, M, k], not {list(map(int, neighbours.shape))}"
        )


def check_indices(table: Array, sources: int) -> None:
    """Raise ValueError unless a table holds rows of `sources` only, or -1."""
    bad = (table < -1) | (table >= sources)
    if bad.any():
        first = int(bad.argmax())
        raise ValueError(
            f"neighbours must be from -1 to {sources - 1}, "
            f"but element {first} (in row-major order) is {table.flat[first]}"
        )


def check_leading(name: str, array: Any, wanted: tuple[Any, ...], letters: str) -> None:
    """Raise ValueError unless the shape of an array starts with these sizes; None stands for any."""
    shape = tuple(array.shape)
    matches = len(shape) >= len(wanted) and all(
        want is None or size == want for size, want in zip(shape, wanted, strict=False)
    )
    if not matches:
        raise ValueError(f"{name} must have shape [{letters}] to go with neighbours, but has {list(shape)}")


def common(op: str, arrays: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The framework of a call, and its arrays as its own, or as NumPy's where the CPU is to work on them.

    Raises
    ------
    TypeError
        If frameworks are mixed.
    BackendError
        For CuPy arrays without kernels for them, unless the fallback to the CPU is allowed.
    """
    framework = _interop.common_framework(arrays)
    if framework == "torch":
        import torch

        tensors = [array for array in arrays.values() if isinstance(array, torch.Tensor)]
        for name, array in arrays.items():
            if isinstance(array, torch.Tensor) and array.device != tensors[0].device:
                raise ValueError(
                    f"{name} is on {array.device}, others on {tensors[0].device}: use one device"
                )
        ready = {name: torch.as_tensor(a, device=tensors[0].device) for name, a in arrays.items()}
        return framework, ready
    if framework == "cupy":
        import cupy

        move = cupy.asnumpy if _backends.cuda_kernels(op) is None else cupy.asarray
        return framework, {name: move(array) for name, array in arrays.items()}
    if framework == "jax":
        import jax.numpy as jnp

        return framework, {name: jnp.asarray(array) for name, array in arrays.items()}
    return framework, {name: _interop.numpy_view(array, name) for name, array in arrays.items()}


def restorer(framework: str, array: Any) -> Callable[[Array], Any]:
    """What turns a result of the core into the kind of `array`."""
    if framework == "cupy":
        import cupy

        restore: Callable[[Array], Any] = cupy.asarray
        return restore
    return _interop.restorer(array)


def _ready(array: Array) -> Array:
    return _interop.kernel_array(array, array.dtype.newbyteorder("="))


def _indices(array: Array) -> Array:
    return _interop.kernel_array(array, np.int64)


def _check_memory(name: str, shape: tuple[int, ...], dtype: Any) -> None:
    needed = int(np.prod(shape, dtype=np.float64)) * np.dtype(dtype).itemsize
    _checks.check_memory(name, needed, _backends.available_memory())


def gather_sum(features: Array, neighbours: Array, weights: Array | None) -> Array:
    """[B, N, H, C], [B, M, k] and [B, M, k, H] to sums [B, M, H, C]."""
    values = _ready(features)
    shape = (*neighbours.shape[:2], *values.shape[2:])
    _check_memory("the result", shape, values.dtype)
    sums = np.empty(shape, values.dtype)
    _core.points.gather_sum(values, _indices(neighbours), _or_none(weights, values.dtype), sums)
    return sums


def gather_sum_transposed(sums: Array, neighbours: Array, weights: Array | None, sources: int) -> Array:
    """[B, M, H, C], [B, M, k] and [B, M, k, H] to [B, N, H, C]."""
    values = _ready(sums)
    features = np.empty((values.shape[0], sources, *values.shape[2:]), values.dtype)
    _core.points.gather_sum_transposed(
        values, _indices(neighbours), _or_none(weights, values.dtype), features
    )
    return features


def gather_sum_products(features: Array, sums: Array, neighbours: Array) -> Array:
    """[B, N, H, C], [B, M, H, C] and [B, M, k] to [B, M, k, H]."""
    values = _ready(features)
    weights = np.empty((*neighbours.shape, values.shape[2]), values.dtype)
    _core.points.gather_sum_products(values, _ready(sums), _indices(neighbours), weights)
    return weights


def edge_softmax(scores: Array, neighbours: Array) -> Array:
    """[R, k, H] and [R, k] to [R, k, H]."""
    values = _ready(scores)
    weights = np.empty(values.shape, values.dtype)
    _core.points.edge_softmax(values, _indices(neighbours), weights)
    return weights


def edge_softmax_backward(grad: Array, weights: Array) -> Array:
    """[R, k, H] and [R, k, H] to [R, k, H]."""
    values = _ready(grad)
    pulled = np.empty(values.shape, values.dtype)
    _core.points.edge_softmax_backward(values, _ready(weights), pulled)
    return pulled


def _or_none(weights: Array | None, dtype: Any) -> Array:
    return np.empty(0, dtype) if weights is None else _ready(weights)

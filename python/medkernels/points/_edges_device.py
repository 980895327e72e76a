"""The ops on edges with torch tensors or CuPy arrays in the memory of a CUDA device."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from medkernels import _backends, _device
from medkernels.points import _edges

#: An address that stands for no array.
NO_ARRAY = 0


def kernels(op: str, array: Any) -> ModuleType | None:
    """The CUDA module if it is to work on an array; None if the CPU is.

    Raises
    ------
    BackendError
        If the array is on a GPU without the module, unless ``MEDKERNELS_CPU_FALLBACK`` is 1.
    """
    return _backends.cuda_kernels(op) if _device.is_on_cuda(array) else None


def gather_sum(module: ModuleType, features: Any, neighbours: Any, weights: Any | None) -> Any:
    """[B, N, H, C], [B, M, k] and [B, M, k, H] to sums [B, M, H, C].

    Raises
    ------
    ValueError
        If an index is out of range.
    """
    place, held = _device.device_of(features), list[Any]()
    values, table = _device.contiguous(features), _table(neighbours)
    sums = place.empty((*table.shape[:2], *values.shape[2:]), _device.dtype_name(values))
    good = module.points.gather_sum(
        _doubles(values),
        place.pointer(table),
        (*table.shape, *values.shape[1:]),
        place.pointer(values),
        _pointer(place, weights, held),
        place.pointer(sums),
        place.number,
        place.stream,
        place.allocator(held),
    )
    if not good:
        _edges.check_indices(place.to_host(table), values.shape[1])
        raise RuntimeError("neighbours was changed while it was read")
    return sums


def gather_sum_transposed(
    module: ModuleType, sums: Any, neighbours: Any, weights: Any | None, sources: int
) -> Any:
    """[B, M, H, C], [B, M, k] and [B, M, k, H] to [B, N, H, C]."""
    place, held = _device.device_of(sums), list[Any]()
    values, table = _device.contiguous(sums), _table(neighbours)
    features = place.empty((values.shape[0], sources, *values.shape[2:]), _device.dtype_name(values))
    module.points.gather_sum_transposed(
        _doubles(values),
        place.pointer(table),
        (*table.shape, sources, *values.shape[2:]),
        place.pointer(values),
        _pointer(place, weights, held),
        place.pointer(features),
        place.number,
        place.stream,
        place.allocator(held),
    )
    return features


def gather_sum_products(module: ModuleType, features: Any, sums: Any, neighbours: Any) -> Any:
    """[B, N, H, C], [B, M, H, C] and [B, M, k] to [B, M, k, H]."""
    place, held = _device.device_of(features), list[Any]()
    values, others, table = _device.contiguous(features), _device.contiguous(sums), _table(neighbours)
    weights = place.empty((*table.shape, values.shape[2]), _device.dtype_name(values))
    module.points.gather_sum_products(
        _doubles(values),
        place.pointer(table),
        (*table.shape, *values.shape[1:]),
        place.pointer(values),
        place.pointer(others),
        place.pointer(weights),
        place.number,
        place.stream,
        place.allocator(held),
    )
    return weights


def edge_softmax(module: ModuleType, scores: Any, neighbours: Any) -> Any:
    """[R, k, H] and [R, k] to [R, k, H]."""
    place, held = _device.device_of(scores), list[Any]()
    values, table = _device.contiguous(scores), _table(neighbours)
    weights = place.empty(tuple(values.shape), _device.dtype_name(values))
    module.points.edge_softmax(
        _doubles(values),
        tuple(values.shape),
        place.pointer(values),
        place.pointer(table),
        place.pointer(weights),
        place.number,
        place.stream,
        place.allocator(held),
    )
    return weights


def edge_softmax_backward(module: ModuleType, grad: Any, weights: Any) -> Any:
    """[R, k, H] and [R, k, H] to [R, k, H]."""
    place, held = _device.device_of(grad), list[Any]()
    values, factors = _device.contiguous(grad), _device.contiguous(weights)
    pulled = place.empty(tuple(values.shape), _device.dtype_name(values))
    module.points.edge_softmax_backward(
        _doubles(values),
        tuple(values.shape),
        place.pointer(values),
        place.pointer(factors),
        place.pointer(pulled),
        place.number,
        place.stream,
        place.allocator(held),
    )
    return pulled


def _table(neighbours: Any) -> Any:
    return _device.contiguous(_device.as_dtype(neighbours, "int64"))


def _doubles(array: Any) -> bool:
    return _device.dtype_name(array) == "float64"


def _pointer(place: _device.Device, weights: Any | None, held: list[Any]) -> int:
    """The address of weights, which last as long as `held`."""
    if weights is None:
        return NO_ARRAY
    held.append(_device.contiguous(weights))
    return place.pointer(held[-1])

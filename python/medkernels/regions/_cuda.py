"""Labels and max-trees of arrays in the memory of a CUDA device."""

from __future__ import annotations

import math
from itertools import accumulate
from types import ModuleType
from typing import Any, NamedTuple

from medkernels import _backends, _checks, _device
from medkernels.regions._images import check_mask_dtype, check_shape

Arrays = tuple[Any, ...]

#: Bytes of an element of a result.
INT32 = 4


class DeviceImages(NamedTuple):
    """A batch [B, D, H, W] on a device.

    Attributes
    ----------
    array
        A C-contiguous torch tensor or CuPy array of the shape that came.
    full
        B, D, H, W.
    batched
        Whether it came as a batch.
    module, device
        What works on it, and where.
    """

    array: Any
    full: tuple[int, ...]
    batched: bool
    module: ModuleType
    device: _device.Device

    @property
    def dtype(self) -> str:
        """As NumPy names it."""
        return _device.dtype_name(self.array)

    def empty(self, shape: tuple[int, ...], dtype: str = "int32") -> Any:
        """An array beside this one."""
        return self.device.empty(shape, dtype)

    def check_room(self, name: str, needed: int) -> None:
        """Refuse work for which the memory of the device is too small."""
        _checks.check_memory(f"{name} on the GPU", needed, self.device.free())


def device_images(name: str, value: Any, dimensions: int, op: str) -> DeviceImages | None:
    """`value` if it is on a CUDA device and an op of the CUDA module is to work on it there.

    Raises
    ------
    BackendError
        If there is no such module or no device, unless ``MEDKERNELS_CPU_FALLBACK`` is 1.
    ValueError
        For another shape.
    """
    if not _device.is_on_cuda(value):
        return None
    module = _backends.cuda_kernels(op)
    if module is None:
        return None
    full, batched = check_shape(name, tuple(value.shape), dimensions)
    return DeviceImages(_device.contiguous(value), full, batched, module, _device.device_of(value))


def label(images: DeviceImages, connectivity: int, measured: bool) -> tuple[Any, list[int], list[Arrays]]:
    """Labels, numbers of components, and if `measured` the five measures of each item."""
    check_mask_dtype("mask", images.dtype)
    items, depth, height, width = images.full
    memory = images.module.regions.label_memory(items, depth * height, width)
    images.check_room("mask", math.prod(images.full) * INT32 + memory)
    labels, device = images.empty(tuple(images.array.shape)), images.device
    dims = 2 if connectivity in (4, 8) else 3
    held: list[Any] = []
    packed: list[Any] = []

    def allocate_measures(count: int) -> list[int]:
        images.check_room(f"mask with {count} components", count * images.module.regions.measure_memory(dims))
        packed.extend(
            (
                images.empty((count,), "int64"),
                images.empty((count, 2 * dims), "int64"),
                images.empty((count, dims), "float64"),
                images.empty((count,), "int64"),
                images.empty((count, dims, dims), "float64"),
            )
        )
        return [device.pointer(array) for array in packed]

    counts: list[int] = images.module.regions.label(
        device.pointer(images.array),
        images.array.dtype.itemsize,
        images.full,
        connectivity,
        device.pointer(labels),
        device.number,
        device.stream,
        device.allocator(held),
        allocate_measures if measured else None,
    )
    if not measured:
        return labels, counts, []
    spans = [slice(end - count, end) for count, end in zip(counts, accumulate(counts), strict=True)]
    return labels, counts, [tuple(array[span] for array in packed) for span in spans]


def max_tree(images: DeviceImages, connectivity: int) -> Arrays:
    """Parents, orders and areas."""
    items, size = images.full[0], math.prod(images.full[1:])
    needed = 3 * INT32 * items * size + images.module.regions.max_tree_memory(items, size)
    images.check_room("image", needed)
    shape = tuple(images.array.shape)
    parent, order, area = (
        images.empty(each) for each in (shape, (items, size) if images.batched else (size,), shape)
    )
    device, held = images.device, list[Any]()
    images.module.regions.max_tree(
        device.pointer(images.array),
        images.dtype,
        images.full,
        connectivity,
        [device.pointer(array) for array in (parent, order, area)],
        device.number,
        device.stream,
        device.allocator(held),
    )
    return parent, order, area

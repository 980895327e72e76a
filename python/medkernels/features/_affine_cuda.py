"""What `affine_covariant` does with images in the memory of a CUDA device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from types import ModuleType
from typing import Any

from medkernels import _checks
from medkernels._device import Device
from medkernels._items import Items, dtype_name

#: Numbers of a descriptor.
LENGTH = 128


def find(
    module: ModuleType,
    images: Items,
    options: tuple[Any, ...],
    device: Device,
    check_finite: Callable[[str, Any], None],
) -> list[tuple[Any, Any, Any]]:
    """Frames, descriptors and responses of each image, whose arrays are in C order.

    The device takes as many images of one size and dtype at a time as fit in its memory. `check_finite`
    raises for the name and array of an image that has a value which is not finite.
    """
    arrays, types = images.arrays, [dtype_name(array) for array in images.arrays]
    for name, array in zip(images.names, arrays, strict=True):
        height, width = array.shape[:2]
        needed = module.features.affine_memory(width, height, *options[:2])
        _checks.check_memory(f"{name} of {width} x {height} pixels on the GPU", needed, device.free())
    found: list[tuple[Any, Any, Any]] = []
    while len(found) < len(arrays):
        first = len(found)
        end = next((i for i in range(first, len(arrays)) if types[i] != types[first]), len(arrays))
        counts, bad, parts = _find_some(module, arrays[first:end], types[first], options, device)
        if bad >= 0:
            check_finite(images.names[first + bad], arrays[first + bad])
            raise RuntimeError(f"{images.names[first + bad]} was changed while it was read")
        ends = accumulate(counts, initial=0)
        found += [(parts[0][a:b], parts[1][a:b], parts[2][a:b]) for a, b in pairwise(ends)]
    return found


def _find_some(
    module: ModuleType, arrays: Sequence[Any], dtype: str, options: tuple[Any, ...], device: Device
) -> tuple[list[int], int, list[Any]]:
    """Of the first images the numbers of features, and all features; or the number of one to refuse."""
    held: list[Any] = []  # memory for work, until the call is over
    parts: list[Any] = []

    def results(count: int) -> tuple[int, ...]:
        shapes = ((count, 2, 3), (count, LENGTH), (count,))
        parts.extend(device.empty(shape, "float32") for shape in shapes)
        return tuple(device.pointer(part) for part in parts)

    described = [
        (device.pointer(a), a.shape[0], a.shape[1], 1 if len(a.shape) == 2 else a.shape[2]) for a in arrays
    ]
    counts, bad = module.features.affine_covariant(
        described,
        dtype,
        *options,
        device.number,
        device.stream,
        device.free(),
        device.allocator(held),
        results,
    )
    return counts, bad, parts

"""Memory and streams of NVIDIA GPUs, from the framework whose arrays are there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np


class Device(NamedTuple):
    """Where the CUDA module works.

    Attributes
    ----------
    number, stream
        Number of the device, and handle of the stream that the arrays are ready on.
    free
        Bytes of device memory that the framework can allocate.
    empty
        Allocates an array of this shape and NumPy dtype on the device.
    pointer
        The address of an array.
    """

    number: int
    stream: int
    free: int
    empty: Callable[[tuple[int, ...], str], Any]
    pointer: Callable[[Any], int]


def device_of(framework: str, like: Any) -> Device:
    """The device of a torch tensor or CuPy array."""
    return _torch_device(like.device) if framework == "torch" else _cupy_device(like.device)


def _torch_device(device: Any) -> Device:
    import torch

    def empty(shape: tuple[int, ...], dtype: str) -> Any:
        return torch.empty(shape, dtype=getattr(torch, dtype), device=device)

    return Device(
        device.index,
        torch.cuda.current_stream(device).cuda_stream,
        free_memory(device),
        empty,
        lambda tensor: int(tensor.data_ptr()),
    )


def _cupy_device(device: Any) -> Device:
    import cupy

    def empty(shape: tuple[int, ...], dtype: str) -> Any:
        with device:
            return cupy.empty(shape, np.dtype(dtype))

    with device:
        stream = cupy.cuda.get_current_stream().ptr
        free = device.mem_info[0] + cupy.get_default_memory_pool().free_bytes()
    return Device(device.id, stream, free, empty, lambda array: int(array.data.ptr))


def free_memory(device: Any) -> int:
    """Bytes that torch can still allocate on a CUDA device: the free ones and those that its cache holds."""
    import torch

    cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(torch.cuda.mem_get_info(device)[0]) + cached


def contiguous(framework: str, arrays: Sequence[Any]) -> list[Any]:
    """The arrays in C order, without derivatives."""
    if framework == "torch":
        return [array.detach().contiguous() for array in arrays]
    import cupy

    return [cupy.ascontiguousarray(array) for array in arrays]

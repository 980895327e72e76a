"""Memory and streams of NVIDIA GPUs, from the framework whose arrays are there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy.typing as npt

from medkernels import _interop


class Device(NamedTuple):
    """Where the CUDA module works.

    Attributes
    ----------
    number, stream
        Number of the device, and handle of the stream that the arrays are ready on.
    free
        How many bytes of device memory the framework can allocate.
    empty
        Allocates an array of this shape and NumPy dtype on the device.
    pointer
        The address of an array.
    to_host
        Copies an array to a NumPy array.
    """

    number: int
    stream: int
    free: Callable[[], int]
    empty: Callable[[tuple[int, ...], str], Any]
    pointer: Callable[[Any], int]
    to_host: Callable[[Any], npt.NDArray[Any]]

    def allocator(self, held: list[Any]) -> Callable[[int], int]:
        """A function from a number of bytes to the address of memory that lasts as long as `held`."""

        def allocate(count: int) -> int:
            held.append(self.empty((count,), "uint8"))
            return self.pointer(held[-1])

        return allocate


def is_on_cuda(array: Any) -> bool:
    """Whether this is a torch tensor or CuPy array that CUDA can read: dense, and on a GPU."""
    framework = _interop.framework_of(array)
    if framework == "torch":
        return array.device.type == "cuda" and str(array.layout) == "torch.strided"
    return framework == "cupy"


def device_of(array: Any) -> Device:
    """The device of a torch tensor or CuPy array that is on one, and the stream in use there."""
    if _interop.framework_of(array) == "torch":
        return _torch_device(array.device)
    return _cupy_device(array.device)


def contiguous(array: Any) -> Any:
    """A torch tensor or CuPy array in C order, without derivatives."""
    if _interop.framework_of(array) == "torch":
        return array.detach().contiguous()
    import cupy

    with array.device:
        return cupy.ascontiguousarray(array)


def as_dtype(array: Any, dtype: str) -> Any:
    """A torch tensor or CuPy array of a dtype as NumPy names it; the same one if it has it."""
    if _interop.framework_of(array) == "torch":
        import torch

        return array.to(getattr(torch, dtype))
    with array.device:
        return array.astype(dtype, copy=False)


def dtype_name(array: Any) -> str:
    """As NumPy names it."""
    return str(array.dtype).removeprefix("torch.")


def first_nan(array: Any) -> tuple[int, ...] | None:
    """Where a torch tensor or CuPy array of floats has its first NaN, if it has one."""
    if _interop.framework_of(array) == "torch":
        import torch

        places = torch.isnan(array)
        return tuple(places.nonzero()[0].tolist()) if bool(places.any()) else None
    import cupy

    with array.device:
        places = cupy.isnan(array)
        return tuple(cupy.argwhere(places)[0].tolist()) if bool(places.any()) else None


def free_memory(device: Any) -> int:
    """Bytes that torch can still allocate on a CUDA device: the free ones and those that its cache holds."""
    import torch

    cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(torch.cuda.mem_get_info(device)[0]) + cached


def _torch_device(device: Any) -> Device:
    import torch

    def empty(shape: tuple[int, ...], dtype: str) -> Any:
        return torch.empty(shape, dtype=getattr(torch, dtype), device=device)

    return Device(
        device.index,
        torch.cuda.current_stream(device).cuda_stream,
        lambda: free_memory(device),
        empty,
        lambda tensor: int(tensor.data_ptr()),
        lambda tensor: tensor.cpu().numpy(),
    )


def _cupy_device(device: Any) -> Device:
    import cupy

    def empty(shape: tuple[int, ...], dtype: str) -> Any:
        with device:
            return cupy.empty(shape, dtype)

    def free() -> int:
        with device:
            return int(device.mem_info[0]) + int(cupy.get_default_memory_pool().free_bytes())

    with device:
        stream = cupy.cuda.get_current_stream().ptr
    return Device(device.id, stream, free, empty, lambda array: int(array.data.ptr), cupy.asnumpy)

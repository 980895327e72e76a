"""Pictures and volumes, single or in batches, on their way to the core and back."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from medkernels import _backends, _checks, _interop

#: Dimensions of the grid in which elements have so many neighbours.
DIMENSIONS = {4: 2, 8: 2, 6: 3, 18: 3, 26: 3}
#: Ops that the CUDA module has.
ON_CUDA = ("label", "max_tree")
SHAPES = {2: "[H, W] or [B, H, W]", 3: "[D, H, W] or [B, D, H, W]"}

#: Bytes below which work is done without asking how much memory is free: to ask takes as long as the work
#: on 100 x 100 pixels.
WORTH_ASKING = 1 << 20


class Images(NamedTuple):
    """A batch for the core, [B, D, H, W], and the way back."""

    array: npt.NDArray[Any]
    shape: tuple[int, ...]
    batched: bool
    restore: Callable[[npt.NDArray[Any]], Any]

    def result(self, values: npt.NDArray[Any]) -> Any:
        """Per-element values in the shape and kind that came in."""
        return self.restore(values.reshape(self.shape))

    def masks(self, values: npt.NDArray[Any]) -> Any:
        """Per-element 0 and 1 as booleans in the shape and kind that came in."""
        return self.result(values.view(np.bool_))

    def items(self, values: Sequence[Any]) -> Any:
        """One value an item, or a list of them for a batch."""
        return list(values) if self.batched else values[0]


def check_connectivity(connectivity: Any) -> int:
    """`connectivity` as an integer that names a neighbourhood."""
    if isinstance(connectivity, bool) or not isinstance(connectivity, (int, np.integer)):
        raise TypeError(f"connectivity must be an integer, not {connectivity!r}")
    if connectivity not in DIMENSIONS:
        raise ValueError(
            f"connectivity must be 4 or 8 for pictures, or 6, 18 or 26 for volumes, not {connectivity}"
        )
    return int(connectivity)


def numbers(name: str, value: Any, op: str) -> tuple[npt.NDArray[Any], Callable[[npt.NDArray[Any]], Any]]:
    """`value` on the CPU as a NumPy array of numbers or booleans, and what turns results into its kind."""
    framework = _interop.framework_of(value)
    if framework == "torch":
        if str(value.layout) != "torch.strided":
            raise TypeError(
                f"{name} must be a dense tensor, not one of layout {value.layout}: use to_dense()"
            )
        if value.device.type != "cpu":
            _leave_device(op, value.device.type == "cuda", f"tensors on {value.device}")
            import torch

            return value.detach().cpu().numpy(), lambda found: torch.from_numpy(found).to(value.device)
    if framework == "cupy":
        _leave_device(op, True, "CuPy arrays")
        import cupy

        return cupy.asnumpy(value), cupy.asarray
    if framework == "jax":
        import jax

        if isinstance(value, jax.core.Tracer):
            raise TypeError(f"{name} must have values: {op} cannot be traced by jax.jit or jax.vmap")
        platform = next(iter(value.devices())).platform
        if platform != "cpu":
            _leave_device(op, False, f"JAX arrays on {platform!r}")
    if framework in ("numpy", "python"):
        try:
            array = np.asarray(value)
        except ValueError as error:
            raise TypeError(f"{name} must be an array of numbers ({error})") from error
    else:
        array = _interop.numpy_view(value, name)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} must be an array of numbers, not of dtype {array.dtype}")
    return array, _interop.restorer(value)


def _leave_device(op: str, cuda: bool, what: str) -> None:
    """Allow that arrays on a device go through the CPU, or raise BackendError."""
    if not (cuda and op in ON_CUDA and _backends.cuda_kernels(op) is None):
        _backends.fall_back_to_cpu(op, f"there is no kernel for {what}")


def read_images(name: str, value: Any, dimensions: int, op: str, shapes: str | None = None) -> Images:
    """Check the shape of pictures or volumes; `shapes` is what messages say of it."""
    array, restore = numbers(name, value, op)
    full, batched = check_shape(name, array.shape, dimensions, shapes)
    array = _interop.kernel_array(array, array.dtype.newbyteorder("="))
    return Images(array.reshape(full), array.shape, batched, restore)


def check_shape(
    name: str, shape: tuple[int, ...], dimensions: int, shapes: str | None = None
) -> tuple[tuple[int, ...], bool]:
    """The same shape as [B, D, H, W], and whether it is one of a batch."""
    if len(shape) not in (dimensions, dimensions + 1):
        raise ValueError(
            f"{name} must have shape {shapes or SHAPES[dimensions]}, but has shape {list(shape)}"
        )
    batched = len(shape) == dimensions + 1
    item = shape[1:] if batched else shape
    if math.prod(item) > _checks.MAX_INDEX:
        raise ValueError(
            f"{name} must have at most {_checks.MAX_INDEX} elements an item, but has shape {list(shape)}"
        )
    return (shape[0] if batched else 1, *(1,) * (3 - dimensions), *item), batched


def read_masks(name: str, value: Any, dimensions: int, op: str) -> Images:
    """Check masks; the array holds bytes that are 0 or not."""
    images = read_images(name, value, dimensions, op)
    dtype = images.array.dtype
    check_mask_dtype(name, dtype.name)
    if dtype.itemsize == 1:
        return images._replace(array=images.array.view(np.uint8))
    return images._replace(array=(images.array != 0).view(np.uint8))


def check_mask_dtype(name: str, dtype: str) -> None:
    """Check what the elements of a mask are, by NumPy's name."""
    if not dtype.startswith(("bool", "int", "uint")):
        raise TypeError(f"{name} must be boolean or integer, not {dtype}: compare with a threshold first")


def check_room(name: str, images: Images, bytes_of_an_element: int) -> None:
    """Refuse work for which the memory is too small, before it is allocated."""
    needed = images.array.size * bytes_of_an_element
    if needed < WORTH_ASKING:
        return
    _checks.check_memory(name, needed, _backends.available_memory())

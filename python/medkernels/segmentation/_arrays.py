"""What both ops share: checks of their arrays, and the C++ kernels on NumPy arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from medkernels import _backends, _checks, _core, _interop

Array = npt.NDArray[Any]

DIMS = {4: ("H", "W"), 5: ("D", "H", "W")}

#: Up to this many classes labels are bytes.
MOST_BYTE_CLASSES = 256


class Which(NamedTuple):
    """Which classes and places count in a loss."""

    include_background: bool
    ignore_index: int | None


def dtype_name(array: Any) -> str:
    """As NumPy names it."""
    return str(getattr(array.dtype, "name", array.dtype)).removeprefix("torch.")


def check_logits(logits: Any) -> None:
    """Check that these are [B, C, H, W] or [B, C, D, H, W], floating-point and, but for B, not empty."""
    shape = list(logits.shape)
    if len(shape) not in DIMS:
        raise ValueError(
            f"logits must have shape [B, C, H, W] or [B, C, D, H, W], "
            f"but has {len(shape)} dimensions: {shape}"
        )
    if any(size < 1 for size in shape[1:]):
        raise ValueError(f"logits must have at least one class and one place, but has shape {shape}")
    name = dtype_name(logits)
    if name not in ("float16", "bfloat16", "float32", "float64"):
        raise TypeError(f"logits must be floating-point, not {name}")


def check_cpu_dtype(logits: Any) -> None:
    """The CPU kernels come in float32 and float64."""
    name = dtype_name(logits)
    if name not in ("float32", "float64"):
        raise TypeError(f"on the CPU logits must be float32 or float64, not {name}")


def check_size(logits: Any, size: Any) -> tuple[int, ...]:
    """`size` as a tuple that fits the logits, which have been checked."""
    return _checks.check_size("size", size, DIMS[len(logits.shape)])


def check_labels(logits: Any, labels: Any) -> None:
    """Check labels beside logits, which have been checked, of the same framework."""
    dims = DIMS[len(logits.shape)]
    text = "[B, " + ", ".join(dims) + "]"
    shape = list(labels.shape)
    if len(shape) != 1 + len(dims):
        raise ValueError(f"labels must have shape {text}, but has {len(shape)} dimensions: {shape}")
    if shape[0] != logits.shape[0]:
        raise ValueError(f"labels must have shape {text} with B = {logits.shape[0]}, but has shape {shape}")
    if any(size < 1 for size in shape):
        raise ValueError(f"labels must not be empty, but has shape {shape}")
    name = dtype_name(labels)
    if not name.startswith(("int", "uint")):
        raise TypeError(f"labels must be integers, not {name}")
    if getattr(labels, "device", None) != getattr(logits, "device", None):
        raise ValueError(f"labels is on {labels.device}, but logits is on {logits.device}: use one device")


def check_loss(logits: Any, labels: Any, which: Which) -> None:
    """Check what the loss is computed from."""
    check_logits(logits)
    check_labels(logits, labels)
    if logits.shape[1] == 1 and not which.include_background:
        raise ValueError("include_background must be True where logits have one class only, but is False")


def check_memory(logits: Any, size: Sequence[int], available: int | None) -> None:
    """Refuse labels that do not fit in the `available` bytes."""
    needed = int(logits.shape[0]) * math.prod(size) * (1 if in_bytes(logits) else 4)
    _checks.check_memory(f"size={tuple(size)} with {logits.shape[0]} items", needed, available)


def in_bytes(logits: Any) -> bool:
    """Whether labels are uint8, not int32."""
    return bool(logits.shape[1] <= MOST_BYTE_CLASSES)


def cpu_argmax(logits: Array, size: Sequence[int]) -> Array:
    """The C++ kernel; logits have been checked."""
    check_memory(logits, size, _backends.available_memory())
    found: Array = _core.segmentation.upsample_argmax(
        _volumes(logits), [1] * (3 - len(size)) + list(size), in_bytes(logits)
    )
    return found.reshape(len(logits), *size)


def cpu_dice_ce(logits: Array, labels: Array, which: Which) -> tuple[Array, Array, Array]:
    """The C++ forward pass: both losses of each item, how many places count, what the backward pass needs."""
    found: tuple[Array, Array, Array] = _core.segmentation.upsample_dice_ce(
        _volumes(logits), _label_volumes(labels), *which
    )
    return found


def cpu_dice_ce_backward(grad: Array, logits: Array, labels: Array, sums: Array, which: Which) -> Array:
    """The C++ backward pass, from the gradient of the losses."""
    volumes = _volumes(logits)
    found: Array = _core.segmentation.upsample_dice_ce_backward(
        _interop.kernel_array(grad, volumes.dtype),
        volumes,
        _label_volumes(labels),
        _interop.kernel_array(sums, np.float64),
        *which,
    )
    return found.reshape(logits.shape)


def _volumes(logits: Array) -> Array:
    ready = _interop.kernel_array(logits, logits.dtype.newbyteorder("="))
    return ready.reshape(*logits.shape[:2], *[1] * (5 - logits.ndim), *logits.shape[2:])


def _label_volumes(labels: Array) -> Array:
    """As uint8, int32 or int64, which the kernels read."""
    kind, size = labels.dtype.kind, labels.dtype.itemsize
    if kind == "u" and size == 1:
        dtype: npt.DTypeLike = np.uint8
    else:
        dtype = np.int32 if size < 4 or (kind == "i" and size == 4) else np.int64
    ready = _interop.kernel_array(labels, dtype)
    return ready.reshape(len(labels), *[1] * (4 - labels.ndim), *labels.shape[1:])

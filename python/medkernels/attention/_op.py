"""What all ops of the family share: how they are described, and the way to the right implementation."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from medkernels import _backends, _checks, _interop

Array = npt.NDArray[Any]
Options = tuple[Any, ...]
Shape = tuple[Any, ...]  # integers, or the symbolic ones of a graph that is being traced

HALVES = ("float16", "bfloat16")  # that the kernels on GPUs take too


@dataclass(frozen=True, eq=False)
class Op:
    """One op.

    Attributes
    ----------
    name : its public name.
    shapes : patterns of its arrays, in order, as `_checks.check_shapes` reads them.
    options : the schema of its options, as PyTorch writes it.
    kept : how many outputs follow the result, for the backward pass.
    outputs : (shapes of the arrays, options) -> shapes and dtypes of what `forward` gives: the result,
        then what the backward pass needs. A dtype of None is that of the arrays, "sums" that in which sums
        of them are kept.
    forward : (arrays, options) -> these outputs.
    backward : (gradient of the result, arrays, outputs, options) -> the gradients of the first arrays.
    differentiable : how many of the arrays have a gradient; those that do come first.
    heads_inside : whether the kernels read arrays [B, H, N, D] that lie in memory as [B, N, H, D] as they
        are. The result then lies in memory as the first array does, and each gradient as its array does.
    """

    name: str
    shapes: dict[str, str]
    options: str
    kept: int
    outputs: Callable[[Sequence[Shape], Options], list[tuple[Shape, str | None]]]
    forward: Callable[[Sequence[Array], Options], tuple[Array, ...]]
    backward: Callable[[Array, Sequence[Array], Sequence[Array], Options], tuple[Array, ...]]
    differentiable: int
    heads_inside: bool = False


def check(op: Op, arrays: Sequence[Any]) -> None:
    """Check shapes, dtypes and devices of arrays of one framework."""
    named = dict(zip(op.shapes, arrays, strict=True))
    sizes = _checks.check_shapes(named, op.shapes)
    for letter, size in sizes.items():
        if letter in "DE" and size < 1:
            owner = next(name for name, pattern in op.shapes.items() if letter in pattern.split())
            raise ValueError(
                f"{owner} must have rows of at least one element, but has shape {list(named[owner].shape)}"
            )
        if size > _checks.MAX_INDEX:
            raise ValueError(f"{letter} is {size}, more than {_checks.MAX_INDEX}")
    first_name, first = next(iter(named.items()))
    for name, array in named.items():
        if array.dtype != first.dtype:
            raise TypeError(f"{name} is {array.dtype}, but {first_name} is {first.dtype}: use one dtype")
        if getattr(array, "device", None) != getattr(first, "device", None):
            raise ValueError(
                f"{name} is on {array.device}, but {first_name} is on {first.device}: use one device"
            )
    dtype = getattr(first.dtype, "name", str(first.dtype)).removeprefix("torch.")
    on_gpu = getattr(getattr(first, "device", None), "type", "cpu") == "cuda"
    if dtype not in ("float32", "float64") and not (on_gpu and dtype in HALVES):
        wanted = "float16, bfloat16, float32 or float64" if on_gpu else "float32 or float64"
        raise TypeError(f"{first_name} must be {wanted}, not {dtype}")


def output_dtype(name: str | None, arrays: str) -> str:
    """The dtype of an output as `Op.outputs` names it, for arrays of a dtype."""
    if name == "sums":
        return "float32" if arrays in HALVES else arrays
    return name or arrays


def check_scale(scale: Any) -> float:
    """`scale` as a finite number greater than 0."""
    number = _checks.check_number("scale", scale, positive=True)
    if math.isinf(number):
        raise ValueError("scale must be finite, not inf")
    return number


def run(op: Op, named: dict[str, Any], options: Callable[[Sequence[Shape]], Options]) -> Any:
    """Check arrays and compute with the implementation for their framework.

    `options` gives the options for the shapes of the arrays, which have been checked when it is called.
    """
    framework = _interop.common_framework(named)
    if framework == "torch":
        from medkernels.attention import _torch

        return _torch.run(op, named, options)
    if framework == "jax":
        from medkernels.attention import _jax

        return _jax.run(op, named, options)
    if framework == "cupy":
        return _run_cupy(op, named, options)
    restore = _interop.restorer(next(iter(named.values())))
    views = _numpy_arrays(named)
    check(op, views)
    return restore(forward(op, views, options([view.shape for view in views]))[0])


def _run_cupy(op: Op, named: dict[str, Any], options: Callable[[Sequence[Shape]], Options]) -> Any:
    """CuPy arrays go through the torch operator, on the same device memory."""
    import cupy

    try:
        _backends.triton_kernels(op.name)
    except _backends.BackendError as error:
        _backends.fall_back_to_cpu(op.name, str(error))
        result = run(op, {name: cupy.asnumpy(array) for name, array in named.items()}, options)
        return cupy.asarray(result)
    import torch.utils.dlpack

    from medkernels.attention import _torch

    tensors = {
        name: torch.utils.dlpack.from_dlpack(array) if _interop.framework_of(array) == "cupy" else array
        for name, array in named.items()
    }
    return cupy.from_dlpack(_torch.run(op, tensors, options))


def forward(op: Op, arrays: Sequence[Array], options: Options) -> tuple[Array, ...]:
    """The C++ forward pass."""
    return op.forward(_ready(op, arrays), options)


def backward(
    op: Op, grad: Array, arrays: Sequence[Array], outputs: Sequence[Array], options: Options
) -> tuple[Array, ...]:
    """The C++ backward pass."""
    grad = _kernel_array(op, grad, arrays[0].dtype)
    kept = [_kernel_array(op, output, output.dtype) for output in outputs]
    return op.backward(grad, _ready(op, arrays), kept, options)


def _ready(op: Op, arrays: Sequence[Array]) -> list[Array]:
    dtype = arrays[0].dtype.newbyteorder("=")
    return [_kernel_array(op, array, dtype) for array in arrays]


def _kernel_array(op: Op, array: Array, dtype: npt.DTypeLike) -> Array:
    inside = op.heads_inside and array.ndim == 4 and not array.flags.c_contiguous
    if inside and array.swapaxes(1, 2).flags.c_contiguous:
        return _interop.kernel_array(array.swapaxes(1, 2), dtype).swapaxes(1, 2)
    return _interop.kernel_array(array, dtype)


def _numpy_arrays(named: dict[str, Any]) -> list[Array]:
    """NumPy views; plain Python sequences take the dtype of the arrays."""
    views = {name: _interop.numpy_view(array, name) for name, array in named.items()}
    plain = {name for name, array in named.items() if _interop.framework_of(array) == "python"}
    dtype = next((view.dtype for name, view in views.items() if name not in plain), np.dtype(np.float64))
    return [view.astype(dtype) if name in plain else view for name, view in views.items()]

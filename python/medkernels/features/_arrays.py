"""Arrays of any framework in, NumPy arrays for the core, the same kind of arrays out: without derivatives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from medkernels import _backends, _interop

Restore = Callable[[npt.NDArray[Any]], Any]


def numpy_arrays(op: str, arrays: Mapping[str, Any]) -> tuple[dict[str, npt.NDArray[Any]], Restore]:
    """NumPy views of the arrays by name, and what turns results into their framework and device.

    Raises
    ------
    TypeError
        If frameworks are mixed, or something is no dense array of numbers with values.
    ValueError
        If torch tensors lie on several devices.
    BackendError
        For arrays on a GPU, unless the fallback to the CPU is allowed.
    """
    framework = _interop.common_framework(arrays)
    like = next((a for a in arrays.values() if _interop.framework_of(a) != "python"), np.empty(0))
    if framework == "torch":
        return _from_torch(op, arrays, like)
    if framework == "cupy":
        _backends.fall_back_to_cpu(op, "there is no kernel for CuPy arrays")
        import cupy

        return {name: cupy.asnumpy(array) for name, array in arrays.items()}, cupy.asarray
    if framework == "jax":
        import jax

        for name, array in arrays.items():
            if isinstance(array, jax.core.Tracer):
                raise TypeError(f"{name} is traced: {op} runs outside jax.jit, jax.vmap and jax.grad")
    return {name: _interop.numpy_view(array, name) for name, array in arrays.items()}, _interop.restorer(like)


def _from_torch(op: str, arrays: Mapping[str, Any], like: Any) -> tuple[dict[str, npt.NDArray[Any]], Restore]:
    import torch

    tensors = {
        name: array if isinstance(array, torch.Tensor) else torch.from_numpy(_interop.numpy_view(array, name))
        for name, array in arrays.items()
    }
    for name, tensor in tensors.items():
        if tensor.layout != torch.strided:
            raise TypeError(f"{name} must be a dense tensor, not of layout {tensor.layout}")
        if tensor.dtype == torch.bfloat16 or tensor.dtype.is_complex:
            raise TypeError(f"{name} must be of a real dtype that NumPy has, not {tensor.dtype}")
        if tensor.device.type == "meta":
            raise TypeError(f"{name} is on the meta device and has no values")
        if tensor.device != like.device:
            raise ValueError(f"{name} is on {tensor.device}, but others are on {like.device}: use one device")
    if like.device.type != "cpu":
        _backends.fall_back_to_cpu(op, f"there is no kernel for tensors on {like.device}")
    views = {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}
    return views, lambda result: torch.from_numpy(result).to(like.device)

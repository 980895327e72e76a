"""Arrays of any framework, one or a batch of them, and the way to the core and back; without derivatives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from medkernels import _backends, _device, _interop

Restore = Callable[[npt.NDArray[Any]], Any]


class Items(NamedTuple):
    """The arrays of one argument.

    Attributes
    ----------
    arrays, names
        Arrays of the framework, or NumPy's where it only speaks DLPack or is plain Python; and what messages
        call them.
    many
        Whether they came as a batch or list.
    came
        One of the arrays as they came, which results are to be like; None where all is plain Python.
    """

    arrays: list[Any]
    names: list[str]
    many: bool
    came: Any


def split(op: str, name: str, value: Any, is_batch: Callable[[tuple[int, ...]], bool]) -> Items:
    """Take apart a list of arrays, or an array of a shape that `is_batch`.

    Raises
    ------
    TypeError
        If frameworks are mixed, or something is no dense array of numbers with values.
    """
    if isinstance(value, (list, tuple)) and (not value or any(_is_array(item) for item in value)):
        names = [f"{name}[{i}]" for i in range(len(value))]
        _interop.common_framework(dict(zip(names, value, strict=True)))
        came = next((item for item in value if _is_array(item)), None)
        arrays = [_array(op, label, item) for label, item in zip(names, value, strict=True)]
        return Items(arrays, names, True, came)
    array = _array(op, name, value)
    came = value if _is_array(value) else None
    if not is_batch(tuple(array.shape)):
        return Items([array], [name], False, came)
    return Items(list(array), [f"{name}[{i}]" for i in range(array.shape[0])], True, came)


def _is_array(value: Any) -> bool:
    return _interop.framework_of(value) != "python"


def _array(op: str, name: str, value: Any) -> Any:
    framework = _interop.framework_of(value)
    if framework == "torch":
        _check_tensor(name, value)
    elif framework == "jax":
        import jax

        if isinstance(value, jax.core.Tracer):
            raise TypeError(f"{name} is traced: {op} runs outside jax.jit, jax.vmap and jax.grad")
    return value if framework in ("torch", "jax", "cupy") else _interop.numpy_view(value, name)


def _check_tensor(name: str, tensor: Any) -> None:
    import torch

    if tensor.layout != torch.strided:
        raise TypeError(f"{name} must be a dense tensor, not of layout {tensor.layout}")
    if tensor.dtype == torch.bfloat16 or tensor.dtype.is_complex:
        raise TypeError(f"{name} must be of a real dtype that NumPy has, not {tensor.dtype}")
    if tensor.device.type == "meta":
        raise TypeError(f"{name} is on the meta device and has no values")


def dtype_name(array: Any) -> str:
    """As NumPy names it."""
    return _name_of(array.dtype)


@cache
def _name_of(dtype: Any) -> str:
    return str(getattr(dtype, "name", dtype)).removeprefix("torch.").lower()  # Open3D has Float64


class Kind(NamedTuple):
    """What the arrays of a call are: their framework, and one of them (None for plain Python)."""

    framework: str
    like: Any

    @property
    def on_gpu(self) -> bool:
        """Whether the arrays lie where CUDA and Triton can read them."""
        return _device.is_on_cuda(self.like)


def common_kind(*arguments: Items) -> Kind:
    """The one kind of all arrays; plain Python takes that of the others.

    Raises
    ------
    TypeError
        If frameworks are mixed.
    ValueError
        If arrays lie on several devices.
    """
    named = {items.names[0]: items.came for items in arguments if items.names and items.came is not None}
    framework = _interop.common_framework(named)
    like: Any = next((items.came for items in arguments if items.came is not None), None)
    if framework in ("torch", "cupy"):
        for items in arguments:
            for name, array in zip(items.names, items.arrays, strict=True):
                if _interop.framework_of(array) == framework and array.device != like.device:
                    raise ValueError(
                        f"{name} is on {array.device}, but others are on {like.device}: use one device"
                    )
    return Kind(framework, like)


def placed(kind: Kind, arrays: Sequence[Any]) -> list[Any]:
    """The arrays on the GPU of their kind, where those that came as plain Python are not."""
    if kind.framework == "torch":
        import torch

        return [torch.as_tensor(array, device=kind.like.device) for array in arrays]
    import cupy

    with kind.like.device:
        return [cupy.asarray(array) for array in arrays]


def to_numpy(op: str, kind: Kind, arrays: Sequence[Any]) -> tuple[list[npt.NDArray[Any]], Restore]:
    """NumPy views of arrays of one kind, and what turns results into that kind, on the same device.

    Raises
    ------
    BackendError
        For arrays on a device that has no kernels, unless the fallback to the CPU is allowed.
    """
    framework, like = kind
    if framework == "torch":
        return _from_torch(op, like.device, arrays)
    if framework == "cupy":
        import cupy

        return [cupy.asnumpy(array) for array in arrays], cupy.asarray
    if framework == "jax":
        platform = next(iter(like.devices())).platform
        if platform != "cpu":
            _backends.fall_back_to_cpu(op, f"there is no kernel for JAX arrays on {platform!r}")
    views = [
        array if isinstance(array, np.ndarray) else _interop.numpy_view(array, "array") for array in arrays
    ]
    return views, _interop.restorer(like)


def _from_torch(op: str, device: Any, arrays: Sequence[Any]) -> tuple[list[npt.NDArray[Any]], Restore]:
    import torch

    if device.type not in ("cpu", "cuda"):
        _backends.fall_back_to_cpu(op, f"there is no kernel for tensors on {device}")
    views = [a.detach().cpu().numpy() if isinstance(a, torch.Tensor) else a for a in arrays]
    return views, lambda result: torch.from_numpy(result).to(device)

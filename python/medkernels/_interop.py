"""Arrays of any framework in, zero-copy views for the kernels, the same kind of array out.

A framework is touched only when one of its arrays arrives.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

#: Frameworks whose arrays are recognised by the package that their type comes from.
_BY_PACKAGE = {"numpy": "numpy", "torch": "torch", "cupy": "cupy", "jax": "jax", "jaxlib": "jax"}


def framework_of(array: Any) -> str:
    """``"numpy"``, ``"torch"``, ``"cupy"``, ``"jax"``, ``"dlpack"`` or ``"python"``.

    ``"dlpack"`` is anything else that speaks it. ``"python"`` is for numbers and nested sequences, which take
    the kind of the other arguments.
    """
    for base in type(array).__mro__:
        found = _BY_PACKAGE.get(base.__module__.partition(".")[0])
        if found is not None:
            return found
    return "dlpack" if hasattr(array, "__dlpack__") else "python"


def common_framework(arrays: Mapping[str, Any]) -> str:
    """The one framework that all named arrays belong to (``"numpy"`` when all are plain Python).

    Raises
    ------
    TypeError
        If arrays of two frameworks are mixed.
    """
    first: tuple[str, str] | None = None
    for name, array in arrays.items():
        framework = framework_of(array)
        if framework == "python":
            continue
        if first is None:
            first = (name, framework)
        elif first[1] != framework:
            raise TypeError(
                f"{name} is a {framework} array, but {first[0]} is a {first[1]} array: use one kind"
            )
    return first[1] if first is not None else "numpy"


def numpy_view(array: Any, name: str) -> npt.NDArray[Any]:
    """A NumPy array on the same memory wherever that is possible; never written to.

    Raises
    ------
    TypeError
        If `array` is not numeric or does not live on the CPU.
    """
    framework = framework_of(array)
    if framework == "torch":
        return np.asarray(array.detach().numpy())
    if framework == "jax":
        return np.asarray(array)
    if framework == "dlpack":
        try:
            return np.from_dlpack(array)
        except (BufferError, RuntimeError) as error:
            raise TypeError(
                f"{name}: this {type(array).__name__} cannot be read on the CPU ({error})"
            ) from error
    try:
        view = np.asarray(array)
    except ValueError as error:
        raise TypeError(f"{name} must be an array of numbers ({error})") from error
    if view.dtype.kind not in "fiu":
        raise TypeError(f"{name} must be an array of numbers, not of dtype {view.dtype}")
    return view


def kernel_array(array: npt.NDArray[Any], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """`array` as the C++ core wants it: C-contiguous, aligned, native. Copies only when it must."""
    if array.dtype == dtype and array.flags.c_contiguous and array.flags.aligned:
        return array
    return np.require(array, dtype=dtype, requirements=["C", "A"])


def restorer(array: Any) -> Callable[[npt.NDArray[Any]], Any]:
    """A function that turns a NumPy result into the kind of `array`, without a copy if it can."""
    framework = framework_of(array)
    if framework == "torch":
        import torch

        return torch.from_numpy
    if framework == "jax":
        import jax.numpy as jnp

        return jnp.asarray
    if framework == "dlpack" and hasattr(type(array), "from_dlpack"):
        from_dlpack: Callable[[npt.NDArray[Any]], Any] = type(array).from_dlpack
        return from_dlpack
    return lambda result: result

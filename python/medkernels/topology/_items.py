"""One array, a batch of them, or a list of different sizes: what an op goes through item by item."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from medkernels import _interop


class Items(NamedTuple):
    """Two-dimensional arrays of one framework, and how they came.

    `arrays` are NumPy arrays where `like`, the first of those that came, is of a framework that only speaks
    DLPack.
    """

    arrays: list[Any]
    names: list[str]
    many: bool
    framework: str
    like: Any


def split(name: str, value: Any, shape: str, sparse: bool = False) -> Items:
    """Take apart one array of `shape` (as ``"P D"``), a batch with one more dimension in front, or a list.

    Nested lists of plain numbers become NumPy arrays. SciPy's sparse matrices pass where `sparse` allows
    them.

    Raises
    ------
    TypeError
        For mixed frameworks or what is no array.
    ValueError
        For another shape.
    """
    came = list(value) if isinstance(value, (list, tuple)) and not _is_plain(value, levels=2) else None
    many = came is not None
    if came is None:
        came, names = [value], [name]
        arrays = [_array(value, name, sparse)]
        if arrays[0].ndim == 3:
            arrays, many = list(arrays[0]), True
    else:
        names = [f"{name}[{i}]" for i in range(len(came))]
        arrays = [_array(item, label, sparse) for item, label in zip(came, names, strict=True)]
    # Plain Python and SciPy go with NumPy.
    known = [np.empty(0) if _interop.framework_of(each) == "python" else each for each in came]
    framework = _interop.common_framework(dict(zip(names, known, strict=True)))
    if many:
        names = [f"{name}[{i}]" for i in range(len(arrays))]
    arrays = [_checked(a, n, shape, many) for a, n in zip(arrays, names, strict=True)]
    return Items(arrays, names, many, framework, known[0] if known else np.empty(0))


def _checked(array: Any, name: str, shape: str, many: bool) -> Any:
    """`array` if it has two dimensions, and as many columns as `shape` may say."""
    width = shape.split()[1]
    if width.isdigit() and tuple(array.shape) == (0,):
        return array.reshape(0, int(width))
    if array.ndim != 2 or (width.isdigit() and array.shape[1] != int(width)):
        text = ", ".join(shape.split())
        more = "" if many else f" or [B, {text}], or be a list of [{text}]"
        raise ValueError(f"{name} must have shape [{text}]{more}, but has shape {list(array.shape)}")
    return array


def is_sparse(value: Any) -> bool:
    """Whether this is one of SciPy's sparse matrices or arrays; SciPy itself is not imported."""
    return hasattr(value, "tocoo") and hasattr(value, "nnz")


def _is_plain(value: Any, levels: int) -> bool:
    """Whether nested lists hold numbers `levels` deep, and so are one array written out."""
    if levels == 0:
        return not isinstance(value, (list, tuple)) and not hasattr(value, "shape")
    if not isinstance(value, (list, tuple)) or not value:
        return False
    return all(_is_plain(item, levels - 1) for item in value)


def _array(value: Any, name: str, sparse: bool) -> Any:
    """`value` as an array of its framework; what belongs to none becomes a NumPy array."""
    framework = _interop.framework_of(value)
    if framework == "torch" and str(value.layout) != "torch.strided":
        raise TypeError(f"{name} must be a dense tensor, not one of layout {value.layout}: use to_dense()")
    if framework == "python" and is_sparse(value):
        if not sparse:
            raise TypeError(f"{name} must be a dense array, not a sparse matrix: use toarray()")
        return value
    if framework == "python":
        array = _interop.numpy_view(value, name)
        return array.astype(np.float64) if isinstance(value, (list, tuple)) else array
    if framework == "dlpack":
        return _interop.numpy_view(value, name)
    return value

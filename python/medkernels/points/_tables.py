"""Arguments that go together point by point: clouds, tables of neighbours and what belongs to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from medkernels import _backends, _checks, _interop
from medkernels._items import Items, common_kind, dtype_name, split, to_numpy
from medkernels.points._clouds import DTYPES, positions

#: NumPy's names of the dtypes that hold indices; uint64 might not fit.
INDEX_DTYPES = ("int64", "int32", "int16", "int8", "uint32", "uint16", "uint8")

Arrays = list[npt.NDArray[Any]]


class Call(NamedTuple):
    """The arrays of a call by the name of their argument, ready for the core.

    Attributes
    ----------
    arrays, names
        As many for each argument; what messages call them.
    sizes
        For each item, the size of each letter of the shapes.
    whole
        Whether results are an array for all items.
    """

    arrays: dict[str, Arrays]
    names: dict[str, list[str]]
    sizes: list[dict[str, int]]
    many: bool
    whole: bool
    restore: Callable[[npt.NDArray[Any]], Any]

    def results(self, shapes: Sequence[tuple[int, ...]], dtype: Any) -> tuple[Arrays, Any]:
        """Arrays to be filled, one an item, and what gives them back in the kind that came in."""
        if self.whole and shapes:
            batch = np.empty((len(shapes), *shapes[0]), dtype)
            return list(batch), lambda: self.restore(batch)
        parts = [np.empty(shape, dtype) for shape in shapes]
        if self.many:
            return parts, lambda: [self.restore(part) for part in parts]
        return parts, lambda: self.restore(parts[0])


def take(op: str, arguments: Mapping[str, Any], shapes: Mapping[str, str], indices: Sequence[str]) -> Call:
    """Check that all arguments are one item, or batches or lists of as many, and make them ready.

    `shapes` are those of one item, with the letters of the documentation, and `indices` names the arguments
    that hold integers. The first argument holds numbers.

    Raises
    ------
    TypeError
        For other dtypes than float32 and float64, or than integers for indices, for two dtypes, and arrays of
        several kinds.
    ValueError
        For another shape, or not as many items.
    BackendError
        For arrays on a GPU, unless the fallback to the CPU is allowed.
    """
    items = {}
    for name, value in arguments.items():
        rank = len(shapes[name].split())
        items[name] = split(op, name, positions(value), lambda shape, rank=rank: len(shape) == rank + 1)  # type: ignore[misc]
    kind = common_kind(*items.values())
    _check_counts(items)
    first = next(iter(items))
    sizes = _check_arrays(items, shapes, indices)
    if kind.on_gpu:
        _backends.fall_back_to_cpu(op, "it has no kernel for GPUs yet")
    views, restore = to_numpy(op, kind, [array for each in items.values() for array in each.arrays])
    ready: dict[str, Arrays] = {}
    for name in items:
        mine, views = views[: len(items[name].arrays)], views[len(items[name].arrays) :]
        ready[name] = [
            _interop.kernel_array(view, np.int64 if name in indices else view.dtype.newbyteorder("="))
            for view in mine
        ]
    many = items[first].many
    whole = many and not isinstance(arguments[first], (list, tuple))
    return Call(ready, {name: each.names for name, each in items.items()}, sizes, many, whole, restore)


def _check_counts(items: Mapping[str, Items]) -> None:
    first, *others = items
    for name in others:
        if items[name].many != items[first].many:
            one, other = (name, first) if items[first].many else (first, name)
            raise ValueError(
                f"{one} is that of one cloud, but {other} is a batch or list: give as many of both"
            )
        if len(items[name].arrays) != len(items[first].arrays):
            raise ValueError(
                f"{name} holds {len(items[name].arrays)} items, "
                f"but {first} holds {len(items[first].arrays)}: give as many of both"
            )


def _check_arrays(
    items: Mapping[str, Items], shapes: Mapping[str, str], indices: Sequence[str]
) -> list[dict[str, int]]:
    """The sizes of the letters of each item."""
    sizes, dtype = [], None
    first = next(iter(items.values()))
    for i in range(len(first.arrays)):
        arrays = {each.names[i]: each.arrays[i] for each in items.values()}
        wanted = {each.names[i]: shapes[name] for name, each in items.items()}
        sizes.append(_checks.check_shapes(arrays, wanted))
        for name, each in items.items():
            came = dtype_name(each.arrays[i])
            if name in indices:
                check_index_dtype(each.names[i], each.arrays[i])
                continue
            if came not in DTYPES:
                raise TypeError(f"{each.names[i]} must be float32 or float64, not {came}")
            dtype = dtype or came
            if came != dtype:
                raise TypeError(f"{each.names[i]} is {came}, but {first.names[0]} is {dtype}: use one dtype")
        for letter, size in sizes[-1].items():
            if size > _checks.MAX_INDEX:
                raise ValueError(f"{first.names[i]}: {letter} is {size}, more than {_checks.MAX_INDEX}")
    return sizes


def check_index_dtype(name: str, array: Any) -> None:
    """Raise TypeError unless an array holds integers that int64 can hold."""
    came = dtype_name(array)
    if came not in INDEX_DTYPES:
        raise TypeError(f"{name} must hold integers (int64, or smaller ones), not {came}")


def dtype_of(arrays: Arrays) -> Any:
    """The dtype of arrays; float64 where there is none."""
    return arrays[0].dtype if arrays else np.dtype(np.float64)

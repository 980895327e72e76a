"""Arguments that go together point by point: clouds, tables of neighbours and what belongs to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate, pairwise
from math import prod
from typing import Any, NamedTuple, NoReturn

import numpy as np
import numpy.typing as npt

from medkernels import _checks, _device, _interop
from medkernels._items import Items, Kind, common_kind, dtype_name, split, to_numpy
from medkernels.points._clouds import DTYPES, positions
from medkernels.points._device import OnDevice, on_device

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


class DeviceCall(NamedTuple):
    """The arrays of a call in the memory of a CUDA device.

    Attributes
    ----------
    on_device
        All arrays, those of one argument after those of the one before.
    addresses
        Of the arrays of each argument.
    sizes, many, whole
        As those of a `Call`.
    """

    on_device: OnDevice
    addresses: dict[str, list[int]]
    sizes: list[dict[str, int]]
    many: bool
    whole: bool

    @property
    def doubles(self) -> bool:
        """Whether numbers are float64."""
        return dtype_name(self.on_device.arrays[0]) == "float64"

    def clouds(self) -> list[tuple[int, ...]]:
        """Points and neighbours of each cloud as the CUDA module takes them."""
        rows = "M" if "M" in self.sizes[0] else "N"
        places = zip(self.addresses["points"], self.addresses["neighbours"], self.sizes, strict=True)
        return [(points, size["N"], table, size[rows], size["k"]) for points, table, size in places]

    def results(self, shapes: Sequence[tuple[int, ...]], dtype: str) -> tuple[list[int], Any]:
        """Addresses of arrays to be filled, one an item, and the arrays as they are given back."""
        device = self.on_device.device
        ends = list(accumulate((prod(shape) for shape in shapes), initial=0))
        flat = device.empty((ends[-1],), dtype)
        first, width = device.pointer(flat), np.dtype(dtype).itemsize
        addresses = [first + begin * width for begin in ends[:-1]]
        if self.whole:
            return addresses, flat.reshape(len(shapes), *shapes[0])
        places = zip(pairwise(ends), shapes, strict=True)
        parts = [flat[begin:end].reshape(shape) for (begin, end), shape in places]
        return addresses, parts if self.many else parts[0]


class Arguments(NamedTuple):
    """The arguments of a call as they came, checked.

    Attributes
    ----------
    items
        By name.
    sizes
        For each item, the size of each letter of the shapes.
    indices
        Names of the arguments that hold integers.
    whole
        Whether results are an array for all items.
    """

    op: str
    items: dict[str, Items]
    kind: Kind
    sizes: list[dict[str, int]]
    indices: Sequence[str]
    whole: bool

    @property
    def many(self) -> bool:
        """Whether a batch or list came."""
        return next(iter(self.items.values())).many

    def for_core(self) -> Call:
        """Ready for the core; arrays on a GPU are copied."""
        arrays = [array for each in self.items.values() for array in each.arrays]
        views, restore = to_numpy(self.op, self.kind, arrays)
        ready: dict[str, Arrays] = {}
        for name in self.items:
            count = len(self.items[name].arrays)
            mine, views = views[:count], views[count:]
            native = np.dtype(np.int64) if name in self.indices else dtype_of(mine).newbyteorder("=")
            ready[name] = [_interop.kernel_array(view, native) for view in mine]
        names = {name: each.names for name, each in self.items.items()}
        return Call(ready, names, self.sizes, self.many, self.whole, restore)

    def on_device(self) -> DeviceCall | None:
        """Ready for the CUDA module, if a CUDA device has the arrays and it is to work on them there.

        Raises
        ------
        BackendError
            If there is no such module or no device, unless ``MEDKERNELS_CPU_FALLBACK`` is 1.
        """
        arrays = [array for each in self.items.values() for array in each.arrays]
        names = [name for each in self.items.values() for name in each.names]
        found = on_device(self.op, self.kind, arrays, names)
        if found is None:
            return None
        addresses: dict[str, list[int]] = {}
        ready: list[Any] = []
        for name, each in self.items.items():
            mine = found.arrays[len(ready) : len(ready) + len(each.arrays)]
            ready += [_device.as_dtype(a, "int64") for a in mine] if name in self.indices else mine
            addresses[name] = [found.device.pointer(array) for array in ready[-len(mine) :]]
        return DeviceCall(found._replace(arrays=ready), addresses, self.sizes, self.many, self.whole)


def read(
    op: str, arguments: Mapping[str, Any], shapes: Mapping[str, str], indices: Sequence[str]
) -> Arguments:
    """Check that all arguments are one item, or batches or lists of as many.

    `shapes` are those of one item, with the letters of the documentation, and `indices` names the arguments
    that hold integers. The first argument holds numbers.

    Raises
    ------
    TypeError
        For other dtypes than float32 and float64, or than integers for indices, for two dtypes, and arrays of
        several kinds.
    ValueError
        For another shape, or not as many items.
    """
    items = {}
    for name, value in arguments.items():
        rank = len(shapes[name].split())
        items[name] = split(op, name, positions(value), lambda shape, rank=rank: len(shape) == rank + 1)  # type: ignore[misc]
    kind = common_kind(*items.values())
    _check_counts(items)
    first = next(iter(items))
    batches = items[first].many and not any(isinstance(value, (list, tuple)) for value in arguments.values())
    sizes = _check_arrays(items, shapes, indices, batches)
    whole = items[first].many and not isinstance(arguments[first], (list, tuple))
    return Arguments(op, items, kind, sizes, indices, whole)


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
    items: Mapping[str, Items], shapes: Mapping[str, str], indices: Sequence[str], batches: bool
) -> list[dict[str, int]]:
    """The sizes of the letters of each item. In batches all items are like the first."""
    sizes, dtype = [], None
    first = next(iter(items.values()))
    for i in range(min(1, len(first.arrays)) if batches else len(first.arrays)):
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
    return sizes * len(first.arrays) if batches else sizes


def refuse_index(on_device: OnDevice, number: int, size: int, least: int) -> NoReturn:
    """Raise for the array in which a kernel has found what is no index from `least` to `size` - 1."""
    wanted = f"from {least} to {size - 1}"
    on_device.refuse(number, wanted, lambda indices: (indices >= least) & (indices < size))


def check_index_dtype(name: str, array: Any) -> None:
    """Raise TypeError unless an array holds integers that int64 can hold."""
    came = dtype_name(array)
    if came not in INDEX_DTYPES:
        raise TypeError(f"{name} must hold integers (int64, or smaller ones), not {came}")


def dtype_of(arrays: Arrays) -> Any:
    """The dtype of arrays; float64 where there is none."""
    return arrays[0].dtype if arrays else np.dtype(np.float64)

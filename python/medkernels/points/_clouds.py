"""Clouds of points, one or many, on their way to the core and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from medkernels import _checks, _interop
from medkernels._items import Items, Kind, common_kind, dtype_name, split, to_numpy
from medkernels.points._device import OnDevice, on_device

MOST_DIMENSIONS = 64
DTYPES = ("float32", "float64")


class Clouds(NamedTuple):
    """The clouds of a call, ready for the core.

    Attributes
    ----------
    points, names
        Arrays [N, D] of one dtype, and what messages call them.
    queries, query_names
        Arrays [Q, D], as many, or none where the call has no queries.
    """

    points: list[npt.NDArray[Any]]
    names: list[str]
    queries: list[npt.NDArray[Any]]
    query_names: list[str]
    many: bool
    batch: bool
    restore: Callable[[npt.NDArray[Any]], Any]

    @property
    def dtype(self) -> Any:
        """Of points and squared distances; that of the core where no cloud tells."""
        return self.points[0].dtype if self.points else np.dtype(np.float64)

    def results(self, shapes: Sequence[tuple[int, ...]], dtype: Any) -> Results:
        """Arrays to be filled, one for each cloud: parts of one array where all have one shape."""
        if self.many and len(set(shapes)) == 1:
            whole = np.empty((len(shapes), *shapes[0]), dtype)
            return Results(list(whole), whole)
        return Results([np.empty(shape, dtype) for shape in shapes], None)

    def given_back(self, results: Results) -> Any:
        """Results in the kind that came in: an array for one cloud or a batch, else a list."""
        if self.batch and results.whole is not None:
            return self.restore(results.whole)
        restored = [self.restore(part) for part in results.parts]
        return restored if self.many else restored[0]


class Results(NamedTuple):
    """Arrays that the core fills, and the one array that they are parts of, if they are."""

    parts: list[npt.NDArray[Any]]
    whole: npt.NDArray[Any] | None


class Argument(NamedTuple):
    """The clouds of a call as they came, checked: points, and queries where the call has them.

    Attributes
    ----------
    batch
        Whether the points came as an array [B, N, D].
    """

    op: str
    points: Items
    queries: Items
    kind: Kind
    batch: bool

    def for_core(self) -> Clouds:
        """Ready for the core; arrays on a GPU are copied."""
        views, restore = to_numpy(self.op, self.kind, [*self.points.arrays, *self.queries.arrays])
        ready = [_interop.kernel_array(view, view.dtype.newbyteorder("=")) for view in views]
        count = len(self.points.arrays)
        return Clouds(
            ready[:count],
            self.points.names,
            ready[count:],
            self.queries.names,
            self.points.many,
            self.batch,
            restore,
        )

    def on_device(self) -> OnDevice | None:
        """Points and then queries, if a CUDA device has them and the CUDA module is to work on them there.

        Raises
        ------
        BackendError
            If there is no such module or no device, unless ``MEDKERNELS_CPU_FALLBACK`` is 1.
        """
        arrays = [*self.points.arrays, *self.queries.arrays]
        return on_device(self.op, self.kind, arrays, [*self.points.names, *self.queries.names])


def read(op: str, points: Any, queries: Any = None) -> Argument:
    """The clouds [N, D], batches [B, N, D] or lists of clouds, checked.

    Raises
    ------
    TypeError
        For other dtypes than float32 and float64, two dtypes, or arrays of several kinds.
    ValueError
        For another shape, more than 64 coordinates, or not as many clouds of queries as of points.
    """
    first = split(op, "points", positions(points), _is_batch)
    asking = (
        Items([], [], first.many, None)
        if queries is None
        else split(op, "queries", positions(queries), _is_batch)
    )
    kind = common_kind(first, asking)
    _check(first, asking, queries is not None)
    return Argument(op, first, asking, kind, not isinstance(points, (list, tuple)))


def positions(value: Any) -> Any:
    """The positions of one of Open3D's point clouds; anything else as it is."""
    if type(value).__module__.partition(".")[0] == "open3d" and hasattr(value, "point"):
        return value.point.positions
    if isinstance(value, (list, tuple)):
        return [positions(item) for item in value]
    return value


def _is_batch(shape: tuple[int, ...]) -> bool:
    return len(shape) == 3


def _check(first: Items, asking: Items, with_queries: bool) -> None:
    if with_queries:
        if first.many != asking.many:
            one, other = ("queries", "points") if first.many else ("points", "queries")
            raise ValueError(f"{one} is one cloud, but {other} is a batch or list: give as many of both")
        if len(first.arrays) != len(asking.arrays):
            raise ValueError(
                f"queries holds {len(asking.arrays)} clouds, but points holds {len(first.arrays)}"
            )
    dtype = None
    for items, letter in ((first, "N"), (asking, "Q")):
        for i, (name, array) in enumerate(zip(items.names, items.arrays, strict=True)):
            sizes = _checks.check_shapes({name: array}, {name: f"{letter} D"})
            came = dtype_name(array)
            if came not in DTYPES:
                raise TypeError(f"{name} must be float32 or float64, not {came}")
            dtype = dtype or came
            if came != dtype:
                raise TypeError(f"{name} is {came}, but {first.names[0]} is {dtype}: use one dtype")
            if not 1 <= sizes["D"] <= MOST_DIMENSIONS:
                raise ValueError(
                    f"{name} must have from 1 to {MOST_DIMENSIONS} coordinates a point, not {sizes['D']}"
                )
            if sizes["D"] != first.arrays[i].shape[1]:
                raise ValueError(
                    f"{name} has {sizes['D']} coordinates a point, "
                    f"but {first.names[i]} has {first.arrays[i].shape[1]}"
                )
            if sizes[letter] > _checks.MAX_INDEX:
                raise ValueError(f"{name} has {sizes[letter]} points, more than {_checks.MAX_INDEX}")

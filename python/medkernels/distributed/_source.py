"""The series of a cohort, cut into what each task is handed, and read where the task runs."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medkernels import _interop

Load = Callable[[Any], Any]


class Source:
    """Series of all subjects, in memory, on disk or by name.

    Parameters
    ----------
    series
        An array [N, R, T] of any kind that gives a slice as numbers, or a sequence with one item a subject.
    load
        Turns one item of a sequence into an array [R, T].
    """

    def __init__(self, series: Any, load: Load | None) -> None:
        self.load = load
        self.is_array = hasattr(series, "shape") and hasattr(series, "__getitem__")
        if self.is_array:
            if load is not None:
                raise ValueError("load is for a list of subjects, but series is an array")
            if len(series.shape) != 3:
                raise ValueError(f"series must have shape [N, R, T], but has shape {list(series.shape)}")
            self.items: Any = series
            self.subjects = int(series.shape[0])
        elif isinstance(series, Sequence) and not isinstance(series, (str, bytes)):
            # Workers may have another working directory.
            self.items = [_absolute(item) if load is None else item for item in series]
            self.subjects = len(self.items)
        else:
            raise TypeError(
                "series must be an array [N, R, T] or a list with one item a subject, "
                f"not {type(series).__name__}"
            )
        if not self.subjects:
            raise ValueError("series must hold at least one subject")
        first = read(self.part(slice(0, 1)), load, 0, None)[0]
        self.rois = first.shape[0]
        self.samples = first.shape[1]
        self.dtype = first.dtype.name
        if not self.rois:
            raise ValueError("series must hold at least one series a subject, but has R = 0")

    def part(self, subjects: slice) -> Any:
        """What the task of these subjects is handed: numbers of an array, else the items."""
        if not self.is_array:
            return self.items[subjects]
        return np.ascontiguousarray(_interop.numpy_view(self.items[subjects], "series"))


def read(part: Any, load: Load | None, first: int, like: tuple[int, str] | None) -> list[npt.NDArray[Any]]:
    """Series [R, T] of each subject of a part, in float32 if they came so and else in float64.

    Parameters
    ----------
    part
        From `Source.part`.
    load
        Reads an item; by default items are arrays or names of ``.npy`` files.
    first
        Number of the first subject, for messages.
    like
        R and dtype of the cohort's first subject, which the others must share.

    Raises
    ------
    ValueError
        For NaN, infinity, or another shape.
    TypeError
        For what are no numbers, or another dtype.
    """
    found = []
    for place, item in enumerate(part):
        name = f"series[{first + place}]"
        if load is not None:
            item = load(item)
        elif isinstance(item, (str, Path)):
            item = np.load(item, allow_pickle=False)
        array = _interop.numpy_view(item, name)
        array = np.ascontiguousarray(array, dtype=np.float32 if array.dtype == np.float32 else np.float64)
        if array.ndim != 2:
            raise ValueError(f"{name} must have shape [R, T], but has shape {list(array.shape)}")
        if like is not None and (array.shape[0], array.dtype.name) != like:
            raise ValueError(
                f"{name} has {array.shape[0]} series of {array.dtype}, "
                f"but series[0] has {like[0]} of {like[1]}"
            )
        bad = ~np.isfinite(array).all(axis=1)
        if bad.any():
            raise ValueError(f"{name} holds NaN or infinity in row {int(bad.argmax())}")
        found.append(array)
    return found


def digest(series: npt.NDArray[Any]) -> int:
    """A number of 64 bits that two different series hardly ever share."""
    code = hashlib.blake2b(f"{series.dtype} {series.shape}".encode(), digest_size=8)
    code.update(series.tobytes())
    return int.from_bytes(code.digest(), "big")


def _absolute(item: Any) -> Any:
    return os.path.abspath(item) if isinstance(item, (str, Path)) else item

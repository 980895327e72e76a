"""`Cohort`: the series of many subjects, from arrays, and which subjects cannot be used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from medkernels.zoo.topo_mci.atlas import Atlas
from medkernels.zoo.topo_mci.series import Floats

NAMED = 3  # most ROIs or subjects that one message names


@dataclass(frozen=True)
class Cohort:
    """Series of subjects.

    Attributes
    ----------
    series : sequence of [n,T] float64
        A row a ROI; the number of samples may differ between subjects.
    subjects : sequence of str
        Names; in a folder the path of the file.
    rois : sequence of str
    labels : [N] int64
        Class numbers; -1 without a class.
    classes : sequence of str
    skipped : sequence of (subject, reason)
        Those that were left out.
    atlas : Atlas or None
        Of the folder, with all its networks.
    """

    series: tuple[Floats, ...]
    subjects: tuple[str, ...]
    rois: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    classes: tuple[str, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()
    atlas: Atlas | None = None

    def __len__(self) -> int:
        return len(self.subjects)

    def of_classes(self, classes: Sequence[str]) -> Cohort:
        """The subjects of these classes, which are numbered in the order given.

        Raises
        ------
        ValueError
            If a class has no subject.
        """
        numbers = [self.classes.index(name) if name in self.classes else -2 for name in classes]
        for name, number in zip(classes, numbers, strict=True):
            if number not in self.labels:
                raise ValueError(
                    f"data: no subject of class {name!r}; there are: {', '.join(self.classes) or 'none'}"
                )
        kept = np.flatnonzero(np.isin(self.labels, numbers))
        return replace(
            self,
            series=tuple(self.series[i] for i in kept),
            subjects=tuple(self.subjects[i] for i in kept),
            labels=np.array([numbers.index(self.labels[i]) for i in kept], np.int64),
            classes=tuple(classes),
        )


def from_arrays(
    series: Sequence[npt.ArrayLike] | npt.NDArray[Any],
    labels: Sequence[int] | npt.NDArray[Any] | None = None,
    classes: Sequence[str] = (),
    *,
    subjects: Sequence[str] | None = None,
    rois: Sequence[str] | None = None,
) -> Cohort:
    """Take series [N,n,T], or a list of N series [n,T], as a cohort.

    Parameters
    ----------
    series : array or sequence of arrays
        Subjects that `flaw` finds fault with are left out.
    labels : [N], optional
        Class numbers; -1 without a class.
    classes, subjects, rois : sequence of str, optional
        Names.

    Returns
    -------
    Cohort

    Raises
    ------
    ValueError
        If shapes do not fit together, or no subject is left.
    """
    arrays = [np.array(one, np.float64) for one in series]
    for number, array in enumerate(arrays):
        if array.ndim != 2 or 0 in array.shape or len(array) != len(arrays[0]):
            raise ValueError(
                f"series: want arrays [ROIs, time] with as many ROIs each, got shape {list(array.shape)} "
                f"for subject {number}"
            )
    if not arrays:
        raise ValueError("series: want at least one subject, got none")
    numbers = np.full(len(arrays), -1) if labels is None else np.asarray(labels, np.int64)
    if numbers.shape != (len(arrays),) or (numbers < -1).any():
        raise ValueError(f"labels: want a class number, or -1, for each of {len(arrays)} subjects")
    known = tuple(classes) or tuple(f"class {i}" for i in range(int(numbers.max()) + 1))
    if numbers.max() >= len(known):
        raise ValueError(f"labels: there are {len(known)} classes, got the number {numbers.max()}")
    people = _names("subjects", subjects, len(arrays), "subject")
    regions = _names("rois", rois, len(arrays[0]), "ROI")
    flaws = [flaw(array, regions) for array in arrays]
    kept = [i for i, reason in enumerate(flaws) if reason is None]
    skipped = [(name, reason) for name, reason in zip(people, flaws, strict=True) if reason is not None]
    if not kept:
        raise ValueError(f"series: no subject is left ({listed(skipped)})")
    return Cohort(
        series=tuple(arrays[i] for i in kept),
        subjects=tuple(people[i] for i in kept),
        rois=regions,
        labels=numbers[kept],
        classes=known,
        skipped=tuple(skipped),
    )


def flaw(series: Floats, rois: Sequence[str]) -> str | None:
    """Why the series [n,T] of a subject cannot be used, or None: not finite, constant, or with a zero."""
    for what, bad in (
        ("is not finite", ~np.isfinite(series).all(axis=1)),
        ("is zero in whole or in part", (series == 0).any(axis=1)),
        (
            "does not change",
            np.ptp(series, axis=1) == 0 if series.shape[1] > 1 else np.zeros(len(series), bool),
        ),
    ):
        where = np.flatnonzero(bad)
        if len(where):
            named = ", ".join(rois[i] for i in where[:NAMED])
            more = f" and {len(where) - NAMED} more" if len(where) > NAMED else ""
            return f"the series of {named}{more} {what}"
    return None


def listed(skipped: Sequence[tuple[str, str]]) -> str:
    """The first few skipped subjects with their reasons."""
    more = f"; and {len(skipped) - NAMED} more" if len(skipped) > NAMED else ""
    return "; ".join(f"{name}: {reason}" for name, reason in skipped[:NAMED]) + more


def numbered(count: int) -> tuple[str, ...]:
    """Names of ROIs without an atlas."""
    return tuple(f"ROI {i}" for i in range(count))


def _names(what: str, given: Sequence[str] | None, count: int, word: str) -> tuple[str, ...]:
    names = tuple(f"{word} {i}" for i in range(count)) if given is None else tuple(given)
    if len(names) != count:
        raise ValueError(f"{what}: want {count} names, got {len(names)}")
    return names

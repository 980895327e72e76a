"""The Zarr group of a cohort.

Results mark their own completion, since Zarr fills what was not written: ``counts`` with -1, matrices with
NaN. Of what belongs together the mark is written last, so a process may be killed at any time.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medkernels._backends import __version__
from medkernels.distributed._plan import Plan

FORMAT = 1
KEY = "medkernels"

#: Bars in one Zarr chunk of ``bars/<chunk>``: 512 KiB or 1 MiB, the least that is read for one region.
ROWS = 65536

Diagrams = list[list[npt.NDArray[Any]]]  # by region (or subject) and dimension


def prepare(plan: Plan) -> None:
    """Create what is missing of the group and its arrays.

    Raises
    ------
    ValueError
        If `plan.path` holds something else, or results of other options.
    """
    import zarr

    _refuse_foreign(plan.path)
    group = zarr.open_group(plan.path, mode="a")
    root = {
        "format": FORMAT,
        "subjects": plan.subjects,
        "rois": plan.rois,
        "dtype": plan.dtype,
        "chunk": plan.chunk,
        "tile": plan.tile,
        **plan.diagram_options,
    }
    found: Any = group.attrs.get(KEY)
    if found is None:
        group.attrs[KEY] = {**root, "version": __version__}
    else:
        _compare(plan.path, found, root)

    n, r, d, t = plan.subjects, plan.rois, plan.dims, plan.tile
    _create(plan, "counts", (n, r, d), (plan.chunk, r, d), "int32", -1, {})
    _create(plan, "digests", (n,), (plan.chunk,), "uint64", 0, {})
    options = plan.distance_options
    if plan.roi:
        _create(plan, "roi_matrices", (n, d, r, r), (plan.chunk, d, r, r), "float64", np.nan, options)
    if plan.subject:
        _create(plan, "subject_matrices", (r, d, n, n), (1, d, t, t), "float64", np.nan, options)


def settings(path: str) -> dict[str, Any] | None:
    """The sizes and options of the cohort in `path`, or None where there is none.

    Raises
    ------
    ValueError
        If this version cannot read it.
    """
    place = _existing(path)
    found = None if place is None else place.attrs.get(KEY)
    if found is None:
        return None
    if found.get("format") != FORMAT:
        raise ValueError(f"store {path} was written by medkernels {found.get('version')}: use another path")
    return dict(found)


def array(path: str, name: str, mode: str = "r") -> Any:
    """An array of the group."""
    import zarr

    return zarr.open_array(path, path=name, mode=mode)


def has_diagrams(plan: Plan, number: int) -> bool:
    """Whether the diagrams of a chunk are there."""
    return _written(array(plan.path, "counts"), (number * plan.chunk, 0, 0))


def has_roi_matrices(plan: Plan, number: int) -> bool:
    """Whether the matrices over the regions are there for a chunk of subjects."""
    return _written(array(plan.path, "roi_matrices"), (number * plan.chunk, 0, 0, 0))


def has_subject_tile(plan: Plan, roi: int, row: int, column: int) -> bool:
    """Whether a block of the matrix of a region, and the one that mirrors it, are there."""
    place = (roi, 0, column * plan.tile, row * plan.tile)
    return _written(array(plan.path, "subject_matrices"), place)


def chunks_with_diagrams(plan: Plan) -> list[int]:
    """The chunks whose diagrams are there."""
    counts = array(plan.path, "counts")
    return [n for n in range(plan.chunks) if _written(counts, (n * plan.chunk, 0, 0))]


def is_complete(plan: Plan, name: str) -> bool:
    """Whether `set_complete` was called for an array."""
    return bool(array(plan.path, name).attrs[KEY].get("complete"))


def set_complete(plan: Plan, name: str) -> None:
    """Note that nothing is missing in an array, so that nobody has to look again."""
    found = array(plan.path, name, "r+")
    if not found.attrs[KEY].get("complete"):
        found.attrs[KEY] = {**found.attrs[KEY], "complete": True}


def write_diagrams(plan: Plan, number: int, diagrams: list[Diagrams], digests: list[int]) -> None:
    """Write the diagrams of a chunk, by subject, region and dimension."""
    counts = [[[len(bars) for bars in roi] for roi in subject] for subject in diagrams]
    # Region by region, so that all subjects' bars of one region lie together.
    bars = [bars for rois in zip(*diagrams, strict=True) for roi in rois for bars in roi]
    _write_bars(plan.path, _bars_name(number), np.concatenate(bars).astype(plan.dtype, copy=False))
    chosen = plan.chunk_of(number)
    array(plan.path, "digests", "r+")[chosen] = np.array(digests, np.uint64)
    array(plan.path, "counts", "r+")[chosen] = np.array(counts, np.int32)


def read_diagrams(plan: Plan, number: int, rois: slice) -> list[list[list[npt.NDArray[Any]]]]:
    """Diagrams of the subjects of a chunk, by region, subject and dimension."""
    counts = np.asarray(array(plan.path, "counts")[plan.chunk_of(number)]).transpose(1, 0, 2)
    if counts.size and counts.min() < 0:
        raise ValueError(f"store {plan.path} does not hold the diagrams of these subjects yet")
    ends = np.cumsum(counts.ravel(), dtype=np.int64)
    begins = np.concatenate([[0], ends])[:-1].reshape(counts.shape)
    chosen = counts[rois]
    begin = int(begins[rois].min())
    rows = np.asarray(array(plan.path, _bars_name(number))[begin : begin + int(chosen.sum())])
    parts = iter(np.split(rows, np.cumsum(chosen.ravel())[:-1]))
    return [[[next(parts) for _ in range(plan.dims)] for _ in subjects] for subjects in chosen]


def read_regions(plan: Plan, rois: slice, subjects: slice) -> list[list[list[npt.NDArray[Any]]]]:
    """Diagrams of some subjects, by region, dimension and subject."""
    found: list[list[Any]] = [[] for _ in range(rois.start, rois.stop)]
    for number in range(subjects.start // plan.chunk, -(-subjects.stop // plan.chunk)):
        first = number * plan.chunk
        inside = slice(max(0, subjects.start - first), subjects.stop - first)
        for region, chunk in zip(found, read_diagrams(plan, number, rois), strict=True):
            region += chunk[inside]
    return [[list(diagrams) for diagrams in zip(*region, strict=True)] for region in found]


def _bars_name(number: int) -> str:
    return f"bars/{number:06d}"


def _write_bars(path: str, name: str, rows: npt.NDArray[Any]) -> None:
    """Write an array of its own.

    If an equal one is there its content is replaced piece by piece and never missing: two workers may do
    the same chunk when the scheduler has lost sight of one of them.
    """
    import zarr

    kind: dict[str, Any] = {
        "shape": rows.shape,
        "chunks": (max(1, min(len(rows), ROWS)), 2),
        "dtype": rows.dtype,
        "fill_value": np.nan,
    }
    try:
        place = zarr.open_array(path, path=name, mode="a", **kind)
        usable = place.shape == rows.shape and place.dtype == rows.dtype
    except Exception:  # what a killed process left, in the words of whatever codec reads it
        usable = False
    if not usable:
        place = zarr.open_array(path, path=name, mode="w", **kind)
    place[:] = rows


def _written(found: Any, place: tuple[int, ...]) -> bool:
    """Whether a value was written; one that cannot be read counts as missing."""
    try:
        value = found[place]
    except Exception:  # each codec raises its own
        return False
    return bool(value >= 0)


def _create(
    plan: Plan,
    name: str,
    shape: tuple[int, ...],
    chunks: tuple[int, ...],
    dtype: str,
    fill: float,
    options: dict[str, Any],
) -> None:
    import zarr

    found: Any = zarr.open_array(
        plan.path, path=name, mode="a", shape=shape, chunks=chunks, dtype=dtype, fill_value=fill
    )
    if KEY in found.attrs:
        _compare(plan.path, found.attrs[KEY], options)
    else:
        found.attrs[KEY] = options


def _compare(path: str, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    for name, value in wanted.items():
        if found.get(name) != value:
            raise ValueError(
                f"store {path} was begun with {name}={found.get(name)!r}, and now {name} is {value!r}: "
                "use another store, or what it was begun with"
            )


def _existing(path: str) -> Any:
    """The Zarr group or array in `path`, or None."""
    import zarr

    try:
        return zarr.open(path, mode="r")
    except (OSError, ValueError):  # in the words of Zarr 3 and Zarr 2
        return None


def _refuse_foreign(path: str) -> None:
    """Refuse a file, an array, or a folder with other content, before anything is written there."""
    found = _existing(path)
    if found is None:
        foreign = "://" not in path and os.path.lexists(path) and not _is_empty(path)
    else:
        foreign = hasattr(found, "shape") or (KEY not in found.attrs and next(iter(found), None) is not None)
    if foreign:
        raise ValueError(f"store {path} holds something else than a cohort: use another path")


def _is_empty(path: str) -> bool:
    """Whether this is a folder without content, but for what a killed process left behind."""
    return os.path.isdir(path) and all(name.endswith(".partial") for name in os.listdir(path))


def local_path(store: Any) -> str:
    """`store` as a string that means the same to every worker.

    Raises
    ------
    TypeError
        If it is no path.
    """
    if not isinstance(store, (str, Path)) or not str(store):
        raise TypeError(f"store must be a path or URL, not {store!r}")
    return str(store) if "://" in str(store) else os.path.abspath(store)

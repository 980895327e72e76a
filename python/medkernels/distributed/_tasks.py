"""What workers run. Each task reads its part, computes it and writes it, and may be run again at any time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from medkernels._backends import get_num_threads, set_num_threads
from medkernels.distributed import _archive, _source
from medkernels.distributed._plan import Plan


class OtherSeriesError(ValueError):
    """A store was computed from other series than it is to go on with."""


def attempt(task: Callable[..., None], plan: Plan, *arguments: Any) -> Exception | None:
    """Run a task; what would go wrong again is returned instead of raised, so that nobody tries it again."""
    threads = get_num_threads()
    set_num_threads(plan.threads or threads)
    try:
        task(plan, *arguments)
    except (ValueError, TypeError, FileNotFoundError) as error:
        return error
    finally:
        set_num_threads(threads)
    return None


def check_chunk(plan: Plan, number: int, part: Any, load: _source.Load | None) -> None:
    """Compare the series of a chunk with those that its diagrams were computed from."""
    chosen = plan.chunk_of(number)
    series = _source.read(part, load, chosen.start, (plan.rois, plan.dtype))
    before = _archive.array(plan.path, "digests")[chosen]
    for place, (array, known) in enumerate(zip(series, before, strict=True)):
        if _source.digest(array) != int(known):
            raise OtherSeriesError(
                f"series[{chosen.start + place}] is not what store {plan.path} was computed from: "
                "use another store, or the same series"
            )


def compute_chunk(plan: Plan, number: int, part: Any, load: _source.Load | None) -> None:
    """Diagrams of the subjects of a chunk, and their matrices over the regions."""
    if not _archive.has_diagrams(plan, number):
        series = _source.read(part, load, plan.chunk_of(number).start, (plan.rois, plan.dtype))
        _archive.write_diagrams(
            plan, number, _embed(plan, series), [_source.digest(array) for array in series]
        )
    if plan.roi and not _archive.has_roi_matrices(plan, number):
        chosen = plan.chunk_of(number)
        diagrams = _archive.read_diagrams(plan, number, slice(0, plan.rois))
        matrices = np.empty((chosen.stop - chosen.start, plan.dims, plan.rois, plan.rois))
        for subject in range(len(matrices)):
            for dim in range(plan.dims):
                matrices[subject, dim] = plan.distances([roi[subject][dim] for roi in diagrams])
        _archive.array(plan.path, "roi_matrices", "r+")[chosen] = matrices


def compute_tiles(plan: Plan, rois: slice, row: int, column: int) -> None:
    """Distances between two blocks of subjects in some regions, and the same seen from the other side."""
    numbers = range(rois.start, rois.stop)
    missing = [roi for roi in numbers if not _archive.has_subject_tile(plan, roi, row, column)]
    if not missing:
        return
    rows, columns = plan.tile_of(row), plan.tile_of(column)
    mine = _archive.read_regions(plan, rois, rows)
    others = mine if row == column else _archive.read_regions(plan, rois, columns)
    place = _archive.array(plan.path, "subject_matrices", "r+")
    for roi in missing:
        pairs = zip(mine[roi - rois.start], others[roi - rois.start], strict=True)
        block = np.stack([plan.distances(a, None if a is b else b) for a, b in pairs])
        place[roi, :, rows, columns] = block
        if row != column:
            place[roi, :, columns, rows] = block.transpose(0, 2, 1)


def _embed(plan: Plan, series: list[Any]) -> list[_archive.Diagrams]:
    """Diagrams by subject, region and dimension; all clouds in one call, which spreads over them."""
    if len({array.shape for array in series}) > 1:  # series of different lengths
        return [plan.embed(array) for array in series]
    found = plan.embed(np.stack(series))
    return [found[i : i + plan.rois] for i in range(0, len(found), plan.rois)]

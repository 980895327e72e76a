"""What is computed of a cohort, with which options, and how it is cut into chunks."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from medkernels import _checks, topology

MATRICES = ("roi", "subject")

#: A chunk holds about so many series, some seconds of work; a cohort has about so many chunks at least.
SERIES_OF_A_CHUNK = 512
CHUNKS_AT_LEAST = 16

#: Subjects on a side of a block of a matrix: 128 x 128 distances in 3 dimensions are a file of 384 KiB.
TILE = 128

#: Regions for which a task compares two blocks of subjects: their diagrams lie together and are read at once.
ROIS_OF_A_TASK = 8


@dataclass(frozen=True)
class Plan:
    """A cohort; all that a task must know beside its part of the series."""

    path: str
    subjects: int
    rois: int
    dtype: str
    dimension: int
    delay: int
    max_dim: int
    metric: str
    threshold: float | None
    order: float
    ground: float
    essential: str
    chunk: int
    tile: int
    roi: bool = False  # matrices of each subject are wanted
    subject: bool = False  # matrices of each region are wanted
    threads: int | None = None  # of a task; None leaves that to the process it runs in

    @property
    def dims(self) -> int:
        """Number of homology dimensions."""
        return self.max_dim + 1

    @property
    def chunks(self) -> int:
        """Number of chunks of subjects."""
        return -(-self.subjects // self.chunk)

    @property
    def tiles(self) -> int:
        """Number of blocks along a side of a matrix over subjects."""
        return -(-self.subjects // self.tile)

    def chunk_of(self, number: int) -> slice:
        """The subjects of a chunk."""
        return slice(number * self.chunk, min((number + 1) * self.chunk, self.subjects))

    def tile_of(self, number: int) -> slice:
        """The subjects of a block."""
        return slice(number * self.tile, min((number + 1) * self.tile, self.subjects))

    @property
    def roi_groups(self) -> list[slice]:
        """The regions that tasks go through together."""
        firsts = range(0, self.rois, ROIS_OF_A_TASK)
        return [slice(first, min(first + ROIS_OF_A_TASK, self.rois)) for first in firsts]

    @property
    def diagram_options(self) -> dict[str, Any]:
        """What diagrams depend on, as JSON has it."""
        return {
            "dimension": self.dimension,
            "delay": self.delay,
            "max_dim": self.max_dim,
            "metric": self.metric,
            "threshold": self.threshold,
        }

    @property
    def distance_options(self) -> dict[str, Any]:
        """What distances depend on beside the diagrams, as JSON has it, which knows no infinity."""
        return {
            "order": "inf" if np.isinf(self.order) else self.order,
            "ground": "inf" if np.isinf(self.ground) else self.ground,
            "essential": self.essential,
        }

    def embed(self, series: Any) -> list[list[Any]]:
        """Diagrams of the series [..., T] of one array, by series and dimension."""
        clouds = topology.sliding_window(series, dimension=self.dimension, delay=self.delay)
        found: list[list[Any]] = topology.vietoris_rips(
            list(clouds.reshape(-1, *clouds.shape[-2:])),
            max_dim=self.max_dim,
            metric=self.metric,
            threshold=self.threshold,
        )
        return found

    def distances(self, diagrams: list[Any], others: list[Any] | None = None) -> Any:
        """Matrix of the distances of diagrams among themselves, or to others."""
        return topology.wasserstein_matrix(
            diagrams, others, order=self.order, ground=self.ground, essential=self.essential
        )


def checked(plan: Plan, matrices: Collection[str]) -> Plan:
    """The plan with `matrices` and plain numbers; options are tried on two points before work is given out.

    Raises
    ------
    ValueError, TypeError
        Where the ops do, and for unknown matrices.
    """
    if isinstance(matrices, str) or not isinstance(matrices, Collection):
        raise TypeError(f"matrices must be a tuple of names, as ('roi', 'subject'), not {matrices!r}")
    for name in matrices:
        _checks.check_choice("matrices", name, MATRICES)
    window = (_checks.check_count("dimension", plan.dimension) - 1) * _checks.check_count("delay", plan.delay)
    diagrams = plan.embed(np.arange(window + 2, dtype=plan.dtype)[None])[0]
    plan.distances(diagrams[:1])
    return replace(
        plan,
        dimension=int(plan.dimension),
        delay=int(plan.delay),
        max_dim=int(plan.max_dim),
        threshold=None if plan.threshold is None or np.isinf(plan.threshold) else float(plan.threshold),
        order=float(plan.order),
        ground=float(plan.ground),
        chunk=_checks.check_count("chunk", plan.chunk),
        tile=_checks.check_count("tile", plan.tile),
        roi="roi" in matrices,
        subject="subject" in matrices,
    )


def default_chunk(subjects: int, rois: int) -> int:
    """Subjects of a chunk; depends on nothing else, so that a run can be resumed on another machine."""
    return max(1, min(-(-subjects // CHUNKS_AT_LEAST), SERIES_OF_A_CHUNK // rois))

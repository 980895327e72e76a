"""From series to distance matrices: sliding windows, Vietoris-Rips persistence, Wasserstein distances."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.progress import track

from medkernels import topology
from medkernels.zoo.engine.files import replacing
from medkernels.zoo.engine.logs import console

# Part of the name under which matrices are kept: to be raised when the same series would give others.
FORMAT = 1

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Diagrams = list[list[Array]]  # [ROI][dimension] of [bars,2]


@dataclass(frozen=True)
class Chain:
    """How series become distances.

    Attributes
    ----------
    max_dim : int
        Greatest dimension of holes, 0 to 2.
    dimension, delay : int
        Of the sliding window.
    zscore : bool
        Bring each series to mean 0 and standard deviation 1 first.
    order : float
        Of the Wasserstein distance; infinity for the bottleneck distance.
    ground : 2 or infinity
        Norm in the plane of births and deaths.
    """

    max_dim: int = 1
    dimension: int = 3
    delay: int = 1
    zscore: bool = False
    order: float = 1.0
    ground: float = 2.0

    def __post_init__(self) -> None:
        for name, least, most in (("max_dim", 0, 2), ("dimension", 1, None), ("delay", 1, None)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool):
                raise TypeError(f"{name} must be an integer, got {value!r}")
            if value < least or (most is not None and value > most):
                span = f"at least {least}" if most is None else f"{least} to {most}"
                raise ValueError(f"{name} must be {span}, got {value}")
        if not self.order >= 1:
            raise ValueError(f"order must be at least 1, got {self.order}")
        if self.ground not in (2, math.inf):
            raise ValueError(f"ground must be 2 or infinity, got {self.ground}")

    def check_length(self, samples: int, subject: str = "") -> None:
        """Raise ValueError if series of so many samples, perhaps of a named subject, give under 2 points."""
        points = samples - (self.dimension - 1) * self.delay
        if points < 2:
            whose = f" of {subject}" if subject else ""
            raise ValueError(
                f"data: the series{whose} are too short: from {samples} samples, windows of dimension="
                f"{self.dimension} and delay={self.delay} give {max(points, 0)} points, and two are needed"
            )

    def embed(self, series: Array) -> Array:
        """Series [n,T] -> clouds [n,P,dimension] float32.

        Raises
        ------
        ValueError
            If the series give fewer than two points.
        """
        self.check_length(series.shape[-1])
        if self.zscore:
            series = standardise(series, axes=(-1,))
        clouds: Array = topology.sliding_window(
            np.ascontiguousarray(series, np.float32), dimension=self.dimension, delay=self.delay
        )
        return clouds

    def diagrams(self, series: Array) -> Diagrams:
        """Diagrams of each of the series [n,T]: for each a list of max_dim + 1 arrays [bars,2]."""
        found: Diagrams = topology.vietoris_rips(self.embed(series), max_dim=self.max_dim)
        return found

    def distances(self, diagrams: Sequence[Array]) -> Floats:
        """All distances [n,n] between diagrams of one dimension; infinite bars are left out."""
        matrix: Floats = topology.wasserstein_matrix(
            list(diagrams), order=self.order, ground=self.ground, essential="drop"
        )
        return matrix

    def matrices(self, series: Array) -> Floats:
        """PR matrices [max_dim + 1, n, n] of a subject with series [n,T], one for each dimension."""
        diagrams = self.diagrams(series)
        return np.stack([self.distances([one[k] for one in diagrams]) for k in range(self.max_dim + 1)])


def pr_matrices(
    series: Sequence[Array], chain: Chain, *, keep: Path | None = None, progress: bool = True
) -> Floats:
    """PR matrices of all subjects: distances between the ROIs of one subject.

    Parameters
    ----------
    series : sequence of [n,T]
    chain : Chain
    keep : Path, optional
        Folder in which each subject's matrices are kept, under a name that stands for its series and the
        chain. What is found there is not computed again, so a run that was stopped goes on where it was.
    progress : bool
        Show a bar if the error stream is a terminal.

    Returns
    -------
    array
        [N, max_dim + 1, n, n] float64.
    """
    shown = track(
        series,
        "persistence",
        console=console,
        disable=not (progress and console.is_interactive),
    )
    return np.stack([_kept(one, chain, keep) for one in shown])


def ps_matrix(series: Sequence[Array], roi: int, homology: int, chain: Chain) -> Floats:
    """PS matrix [N,N] of one ROI: distances between subjects, in one dimension."""
    diagrams = [chain.diagrams(one[roi : roi + 1])[0][homology] for one in series]
    return chain.distances(diagrams)


def pearson_matrices(series: Sequence[Array]) -> Floats:
    """Correlations [N,n,n] between the series of each subject."""
    return np.stack([np.corrcoef(one) for one in series])


def standardise(values: Array, axes: tuple[int, ...] = (-2, -1)) -> Floats:
    """Bring values to mean 0 and standard deviation 1 over some axes; equal values become 0."""
    centred = values - values.mean(axis=axes, keepdims=True, dtype=np.float64)
    spread = np.sqrt(np.square(centred).mean(axis=axes, keepdims=True))
    result: Floats = centred / np.where(spread > 0, spread, 1)
    return result


def _kept(series: Array, chain: Chain, keep: Path | None) -> Floats:
    if keep is None:
        return chain.matrices(series)
    told = repr((FORMAT, series.shape, str(series.dtype), sorted(asdict(chain).items())))
    digest = hashlib.blake2b(told.encode() + np.ascontiguousarray(series).tobytes(), digest_size=16)
    path = keep / f"{digest.hexdigest()}.npy"
    if path.is_file():
        matrices: Floats = np.load(path, allow_pickle=False)
        return matrices
    matrices = chain.matrices(series)
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.save(file, matrices)
    return matrices

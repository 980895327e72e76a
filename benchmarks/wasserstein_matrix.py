"""`medkernels.topology.wasserstein_matrix` beside GUDHI with POT, Hera and persim.

All pairs of the diagrams of a resting brain's series, infinite bars left out beforehand. The peers take
pairs, so each gets every pair once, on all threads: processes for those that hold Python's lock.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
from medkernels.benchmarks.runner.cases import (
    BEST,
    FORWARD,
    Case,
    Inputs,
    Outputs,
    Provider,
    Target,
    Work,
)
from medkernels.benchmarks.runner.topology import fmri_clouds, in_processes, in_threads

import medkernels

TITLE = "Wasserstein distances of all pairs of diagrams, order 1, Euclidean ground distance, float64"
UNITS = "pairs of bars"
DIRECTIONS = (FORWARD,)
DEVICES = ("cpu",)

SERIES, POINTS = 34, 184
H0, H1, H2 = (f"{SERIES} series, {POINTS} points, H{dimension}" for dimension in range(3))
HERA_ERROR = 0.01  # the relative error that GUDHI asks of Hera unless told otherwise

Pair = tuple[np.ndarray, np.ndarray]


def cases(sizes: str) -> list[Case]:
    """The comparison, then curves over diagrams and threads."""
    if sizes == "small":
        return [
            *(_series(f"4 series, 30 points, H{dimension}", 4, 30, dimension) for dimension in range(2)),
            *(_series(f"diagrams, H1 {n}", n, 30, 1, "diagrams, H1", n) for n in (4, 8)),
        ]
    return [
        *(_series(name, SERIES, POINTS, dimension) for dimension, name in enumerate((H0, H1, H2))),
        *(_series(f"diagrams, H0 {n}", n, POINTS, 0, "diagrams, H0", n) for n in (8, 16, 32, 64, 128, 256)),
        *(_series(f"diagrams, H1 {n}", n, POINTS, 1, "diagrams, H1", n) for n in (8, 16, 32, 64, 128, 256)),
        *(_series(f"threads {n}", 64, POINTS, 1, "threads", n) for n in (1, 2, 4)),
    ]


def _series(name: str, count: int, points: int, dimension: int, curve: str = "", at: int = 0) -> Case:
    def inputs(device: str, seed: int) -> Inputs:
        found = medkernels.topology.vietoris_rips(fmri_clouds(count, points, seed), max_dim=dimension)
        diagrams = [item[dimension].astype(np.float64) for item in found]
        return {"diagrams": [bars[np.isfinite(bars).all(1)] for bars in diagrams]}

    return Case(name, inputs, _work, curve, at, at if curve == "threads" else None)


def _work(inputs: Inputs, backward: bool) -> Work:
    """Pairs of bars only: how few operations a matching can do with is not known."""
    sizes = [len(bars) for bars in inputs["diagrams"]]
    return Work(sum(m * n for m, n in combinations(sizes, 2)))


def _ours(inputs: Inputs, backward: bool) -> Outputs:
    return {"result": medkernels.topology.wasserstein_matrix(inputs["diagrams"])}


def _by_pairs(
    distance: Callable[[Pair], float],
    spread: Callable[[Callable[[Any], Any], list[Any]], list[Any]],
    inputs: Inputs,
    backward: bool,
) -> Outputs:
    diagrams = inputs["diagrams"]
    matrix = np.zeros((len(diagrams), len(diagrams)))
    upper = np.triu_indices(len(diagrams), 1)
    matrix[upper] = spread(distance, list(combinations(diagrams, 2)))
    return {"result": matrix + matrix.T}


def gudhi_pot(pair: Pair) -> float:
    """GUDHI's exact distance, by POT's network simplex."""
    from gudhi.wasserstein import wasserstein_distance

    return float(wasserstein_distance(*pair, order=1.0, internal_p=2.0))


def gudhi_hera(pair: Pair) -> float:
    """Hera's distance, by auctions, within a relative error."""
    from gudhi.hera import wasserstein_distance

    return float(wasserstein_distance(*pair, order=1.0, internal_p=2.0, delta=HERA_ERROR))


def persim(pair: Pair) -> float:
    """persim's distance, by SciPy's assignment."""
    from persim import wasserstein

    return float(wasserstein(*pair))


PROVIDERS = (
    Provider("medkernels", _ours),
    Provider("GUDHI + POT", partial(_by_pairs, gudhi_pot, in_processes), 1e-6, 1e-9, library="ot"),
    Provider("GUDHI Hera", partial(_by_pairs, gudhi_hera, in_threads), 10.0, HERA_ERROR, library="gudhi"),
    Provider("persim", partial(_by_pairs, persim, in_processes), 1e-5, 1e-6, library="persim"),
)
TARGETS = (
    Target(H0, FORWARD, "persim", 100),
    Target(H1, FORWARD, "persim", 30),
    Target(H2, FORWARD, "persim", 30),
    *(Target(name, FORWARD, BEST, 1) for name in (H0, H1, H2)),
)

"""`medkernels.points.ball_query` beside the trees of SciPy and scikit-learn.

The peers work on the CPU, also where ours does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from medkernels.benchmarks.farthest_point_sampling import cloud, on_device
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
from medkernels.benchmarks.runner.compare import Differences

import medkernels
from medkernels import get_num_threads

TITLE = "The first 32 points within a radius of each point of a cloud, float32"
UNITS = "neighbours"
DIRECTIONS = (FORWARD,)

ATOMS = "30000 points, 3-D, 32 within reach"
MOST = 32


def cases(sizes: str) -> list[Case]:
    """Clouds in which as many points as are wanted are within reach on average, then a curve."""
    if sizes == "small":
        return [_case("70 points, 3-D", 70), *(_case(f"points {n}", n, "points") for n in (64, 128))]
    return [
        _case(ATOMS, 30_000),
        *(_case(f"points {n}", n, "points") for n in (1000, 3000, 10_000, 30_000, 100_000)),
    ]


def _case(name: str, count: int, curve: str = "") -> Case:
    def inputs(device: str, seed: int) -> Inputs:
        points = cloud(seed, count, 3)
        sample = medkernels.points.knn(points, k=min(MOST, count))[1][:, -1]
        return {**on_device(points, device), "radius": float(np.sqrt(np.median(sample)))}

    return Case(name, inputs, _work, curve, count if curve else 0)


def _work(inputs: Inputs, backward: bool) -> Work:
    """How few distances suffice is not known."""
    return Work(len(inputs["points"]) * MOST)


def compare_neighbours(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Differences:
    """For how many points the lowest indices within reach are not the same; theirs come in any order."""
    rows, own = theirs["result"], np.asarray(torch.as_tensor(ours["result"]).cpu())
    wrong = abs(len(rows) - len(own))
    for mine, row in zip(own, rows, strict=False):
        found = np.sort(np.asarray(row, np.int64))[: len(mine)]
        wrong += not np.array_equal(mine[mine >= 0], found)
    return {"largest": float(wrong)}


def _ours(inputs: Inputs, backward: bool) -> Outputs:
    points = inputs["points"]
    return {"result": medkernels.points.ball_query(points, points, radius=inputs["radius"], k=MOST)[0]}


def _scipy(inputs: Inputs, backward: bool) -> Outputs:
    from scipy.spatial import cKDTree

    points = inputs["host"]
    tree = cKDTree(points)
    found = tree.query_ball_point(points, inputs["radius"], workers=get_num_threads(), return_sorted=False)
    return {"result": found}


def _sklearn(inputs: Inputs, backward: bool) -> Outputs:
    from sklearn.neighbors import NearestNeighbors

    points = inputs["host"]
    search = NearestNeighbors(radius=inputs["radius"], n_jobs=get_num_threads()).fit(points)
    return {"result": search.radius_neighbors(points, return_distance=False)}


# A point at the radius but for rounding may be in or out.
PROVIDERS = (
    Provider("medkernels", _ours),
    Provider("SciPy cKDTree", _scipy, 3, compare=compare_neighbours, library="scipy"),
    Provider("scikit-learn", _sklearn, 3, compare=compare_neighbours, library="sklearn"),
)
TARGETS = (Target(ATOMS, FORWARD, BEST, 3.0),)

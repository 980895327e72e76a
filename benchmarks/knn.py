"""`medkernels.points.knn` beside the trees of SciPy, scikit-learn and nanoflann and FAISS's flat index.

The peers work on the CPU, also where ours does not.
"""

from __future__ import annotations

import numpy as np
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

import medkernels
from medkernels import get_num_threads

TITLE = "The k nearest neighbours of every point of a cloud, float32"
UNITS = "neighbours"
DIRECTIONS = (FORWARD,)

SIZES = (1000, 3000, 10_000, 30_000, 100_000)
ATOMS, CELLS = "30000 points, 3-D, k = 32", "50000 points, 11-D, k = 10"


def cases(sizes: str) -> list[Case]:
    """Clouds as of atoms and of cells, then curves over the points."""
    if sizes == "small":
        return [
            _case("70 points, 3-D, k = 5", 70, 3, 5),
            _case("90 points, 11-D, k = 4", 90, 11, 4),
            *(_case(f"points {n}", n, 3, 8, "points, 3-D") for n in (64, 128)),
        ]
    return [
        _case(ATOMS, 30000, 3, 32),
        _case(CELLS, 50000, 11, 10),
        *(_case(f"3-D, points {n}", n, 3, 32, "points, 3-D") for n in SIZES),
        *(
            _case(f"11-D, points {n}", n, 11, 10, "points, 11-D")
            for n in (1000, 3000, 10_000, 30_000, 100_000)
        ),
    ]


def _case(name: str, count: int, dimensions: int, k: int, curve: str = "") -> Case:
    return Case(
        name,
        lambda device, seed: {**on_device(cloud(seed, count, dimensions), device), "k": k},
        _work,
        curve,
        count if curve else 0,
    )


def _work(inputs: Inputs, backward: bool) -> Work:
    """How few distances suffice is not known."""
    return Work(len(inputs["points"]) * inputs["k"])


def _ours(inputs: Inputs, backward: bool) -> Outputs:
    return {"result": medkernels.points.knn(inputs["points"], k=inputs["k"])[1]}


def _scipy(inputs: Inputs, backward: bool) -> Outputs:
    from scipy.spatial import cKDTree

    points = inputs["host"]
    return {"result": cKDTree(points).query(points, inputs["k"], workers=get_num_threads())[0] ** 2}


def _sklearn(inputs: Inputs, backward: bool) -> Outputs:
    from sklearn.neighbors import NearestNeighbors

    points = inputs["host"]
    search = NearestNeighbors(n_neighbors=inputs["k"], n_jobs=get_num_threads()).fit(points)
    return {"result": search.kneighbors(points)[0] ** 2}


def _nanoflann(inputs: Inputs, backward: bool) -> Outputs:
    import pynanoflann

    points = inputs["host"]
    tree = pynanoflann.KDTree(n_neighbors=inputs["k"], metric="L2", leaf_size=32)
    tree.fit(points)
    return {"result": np.asarray(tree.kneighbors(points, n_jobs=get_num_threads())[0]) ** 2}


def _faiss(inputs: Inputs, backward: bool) -> Outputs:
    import faiss

    faiss.omp_set_num_threads(get_num_threads())
    index = faiss.IndexFlatL2(inputs["host"].shape[1])
    index.add(inputs["host"])
    return {"result": index.search(inputs["host"], inputs["k"])[0]}


# FAISS takes |a|^2 + |b|^2 - 2 a.b in float32.
PROVIDERS = (
    Provider("medkernels", _ours),
    Provider("SciPy cKDTree", _scipy, 1e-5, 1e-5, library="scipy"),
    Provider("scikit-learn", _sklearn, 1e-5, 1e-5, library="sklearn"),
    Provider("nanoflann", _nanoflann, 1e-5, 1e-5, library="pynanoflann"),
    Provider("FAISS", _faiss, 1e-3, 1e-3, library="faiss"),
)
TARGETS = (Target(ATOMS, FORWARD, BEST, 2.0), Target(CELLS, FORWARD, BEST, 2.0))

"""`medkernels.topology.vietoris_rips` beside giotto-ph, GUDHI, Ripser.py and Oineus.

Every peer is set up as its specialists would have it on this work: GUDHI's and giotto-ph's edge collapse only
where it pays (from dimension 2), coefficients in Z/2, and the clouds of a batch side by side on all threads.
The peers that hold Python's lock get processes for that. All peers work on the CPU, also where ours does not.
"""

from __future__ import annotations

import os
from functools import partial

import numpy as np
import torch
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
from medkernels.benchmarks.runner.compare import compare_diagrams
from medkernels.benchmarks.runner.topology import fmri_clouds, in_processes, in_threads, torus_clouds

import medkernels
from medkernels import get_num_threads

TITLE = "Persistence diagrams of Vietoris-Rips filtrations, Z/2, float32"
UNITS = "pairs of points"
DIRECTIONS = (FORWARD,)

SERIES_H2, SERIES_H1 = "34 series, 184 points, H0-H2", "34 series, 184 points, H0-H1"
TORUS_H1, TORUS_H2 = "torus, 2000 points, H0-H1", "torus, 400 points, H0-H2"
COLLAPSE_FROM = 2  # dimension: below it, removing edges costs the peers more than it saves
TOLERANCE = 1e-6  # lengths are below 8, where neighbouring float32 numbers lie 4.8e-7 apart

SLOW = "it lists every simplex: 20 million in each of these clouds, over a minute for one"
LARGE = "it lists every simplex: hundreds of millions here, more than fits in memory"


def cases(sizes: str) -> list[Case]:
    """The comparison, then curves over points, clouds and threads."""
    if sizes == "small":
        return [
            _series("3 series, 24 points, H0-H2", 3, 24, 2),
            _torus("torus, 60 points, H0-H1", 60, 1),
            *(_torus(f"points, H1 {n}", n, 1, curve="points, H1") for n in (20, 40)),
            *(_series(f"threads {n}", 3, 24, 2, curve="threads", at=n) for n in _thread_counts()),
        ]
    return [
        _series(SERIES_H2, 34, 184, 2, excluded={"Oineus": SLOW}),
        _series(SERIES_H1, 34, 184, 1),
        _torus(TORUS_H1, 2000, 1, excluded={"Oineus": LARGE}),
        _torus(TORUS_H2, 400, 2, excluded={"Oineus": LARGE}),
        *(_torus(f"points, H1 {n}", n, 1, curve="points, H1") for n in (50, 100, 200, 500, 1000, 2000)),
        *(_torus(f"points, H2 {n}", n, 2, curve="points, H2") for n in (50, 100, 200, 400, 800)),
        *(_series(f"clouds {n}", n, 184, 2, curve="clouds", at=n) for n in (1, 2, 4, 8, 16, 32, 64, 128)),
        *(_series(f"threads {n}", 34, 184, 2, curve="threads", at=n) for n in _thread_counts()),
    ]


def _series(
    name: str,
    count: int,
    points: int,
    max_dim: int,
    *,
    curve: str = "",
    at: int = 0,
    excluded: dict[str, str] | None = None,
) -> Case:
    def inputs(device: str, seed: int) -> Inputs:
        return _placed(fmri_clouds(count, points, seed), max_dim, device)

    return Case(name, inputs, _work, curve, at, at if curve == "threads" else None, excluded or {})


def _torus(
    name: str, points: int, max_dim: int, *, curve: str = "", excluded: dict[str, str] | None = None
) -> Case:
    def inputs(device: str, seed: int) -> Inputs:
        return _placed(torus_clouds(1, points, seed), max_dim, device)

    return Case(name, inputs, _work, curve, points, excluded=excluded or {})


def _placed(clouds: np.ndarray, max_dim: int, device: str) -> Inputs:
    """Clouds where ours works, and "host" where the peers do."""
    points = clouds if device == "cpu" else torch.from_numpy(clouds).to(device)
    return {"points": points, "host": clouds, "max_dim": max_dim}


def _thread_counts() -> list[int]:
    """1, 2, 4 and so on, up to the processors there are."""
    return [1 << power for power in range(len(os.sched_getaffinity(0)).bit_length())]


def _work(inputs: Inputs, backward: bool) -> Work:
    """Pairs only: how few operations the reduction of the boundary matrix can do with is not known."""
    count, points, _ = inputs["host"].shape
    return Work(count * points * (points - 1) // 2)


def _ours(inputs: Inputs, backward: bool) -> Outputs:
    return {"result": medkernels.topology.vietoris_rips(inputs["points"], max_dim=inputs["max_dim"])}


def _giotto(inputs: Inputs, backward: bool) -> Outputs:
    from gph import ripser_parallel

    clouds, top = inputs["host"], inputs["max_dim"]
    diagrams = partial(ripser_parallel, maxdim=top, collapse_edges=top >= COLLAPSE_FROM)
    if len(clouds) == 1:
        return {"result": [diagrams(clouds[0], n_threads=get_num_threads())["dgms"]]}
    return {"result": [found["dgms"] for found in in_processes(diagrams, clouds)]}


def _ripser(inputs: Inputs, backward: bool) -> Outputs:
    from ripser import ripser

    found = in_processes(partial(ripser, maxdim=inputs["max_dim"]), inputs["host"])
    return {"result": [item["dgms"] for item in found]}


def _gudhi(inputs: Inputs, backward: bool) -> Outputs:
    from gudhi.sklearn.rips_persistence import RipsPersistence

    # By itself it collapses edges from dimension 2, and takes its port of Ripser rather than a simplex tree.
    # Its own `n_jobs` would look for answers only every hundredth of a second.
    rips = RipsPersistence(list(range(inputs["max_dim"] + 1)), homology_coeff_field=2).fit([])
    return {"result": in_threads(lambda cloud: rips.transform([cloud])[0], inputs["host"])}


def _oineus(inputs: Inputs, backward: bool) -> Outputs:
    import oineus

    clouds, top = inputs["host"], inputs["max_dim"]
    options = oineus.ReductionParams()
    options.n_threads = get_num_threads() if len(clouds) == 1 else 1

    def diagrams(cloud: np.ndarray) -> list[np.ndarray]:
        # Its dimension is that of the simplices, one more than that of the homology they bound.
        found = oineus.compute_diagrams_vr(cloud, max_dim=top + 1, params=options)
        return [found.in_dimension(dimension) for dimension in range(top + 1)]

    return {"result": in_threads(diagrams, clouds)}


def _one(inputs: Inputs, backward: bool) -> int:
    return 1


def _all_threads(inputs: Inputs, backward: bool) -> int:
    return min(get_num_threads(), len(inputs["host"]))


_peer = partial(Provider, largest=TOLERANCE, compare=compare_diagrams)
PROVIDERS = (
    Provider("medkernels", _ours),
    _peer("giotto-ph", _giotto, at_once=_one, library="gph"),
    _peer("GUDHI", _gudhi, at_once=_all_threads, library="gudhi"),
    _peer("Ripser.py", _ripser, at_once=_one, library="ripser"),
    _peer("Oineus", _oineus, at_once=_all_threads, library="oineus"),
)
TARGETS = (
    Target(SERIES_H2, FORWARD, BEST, 5),
    Target(SERIES_H2, FORWARD, "Ripser.py", 100),
    Target(SERIES_H1, FORWARD, BEST, 5),
    Target(TORUS_H1, FORWARD, BEST, 1.5),
    Target(TORUS_H2, FORWARD, BEST, 1.5),
)

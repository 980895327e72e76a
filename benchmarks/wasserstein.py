"""`medkernels.topology.wasserstein` beside GUDHI with POT, Hera and persim: one pair, growing.

Two kinds of diagrams: births anywhere and short bars, as of the loops of a noisy cloud, and bars that are all
born together, as of its components.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

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
from medkernels.benchmarks.wasserstein_matrix import HERA_ERROR, Pair, gudhi_hera, gudhi_pot, persim

import medkernels

TITLE = "Wasserstein distance of two diagrams, order 1, Euclidean ground distance, float64"
UNITS = "pairs of bars"
DIRECTIONS = (FORWARD,)
DEVICES = ("cpu",)

LOOPS, COMPONENTS = "loops, 1000 bars", "components, 1000 bars"
LENGTH = 0.03  # mean length of a loop, in units of the range of births


def cases(sizes: str) -> list[Case]:
    """The comparison, then curves over the number of bars."""
    if sizes == "small":
        return [
            _pair("loops, 40 bars", 40, False),
            _pair("components, 40 bars", 40, True),
            *(_pair(f"bars, loops {n}", n, False, "bars, loops") for n in (20, 60)),
        ]
    return [
        _pair(LOOPS, 1000, False),
        _pair(COMPONENTS, 1000, True),
        *(_pair(f"bars, loops {n}", n, False, "bars, loops") for n in (100, 300, 1000, 3000, 10000)),
        *(_pair(f"bars, components {n}", n, True, "bars, components") for n in (100, 1000, 10000, 100000)),
    ]


def _pair(name: str, bars: int, one_birth: bool, curve: str = "") -> Case:
    def inputs(device: str, seed: int) -> Inputs:
        random = np.random.default_rng(seed)
        return {"a": _diagram(bars, one_birth, random), "b": _diagram(bars, one_birth, random)}

    return Case(name, inputs, _work, curve, bars)


def _diagram(bars: int, one_birth: bool, random: np.random.Generator) -> np.ndarray:
    birth = np.zeros(bars) if one_birth else random.random(bars)
    length = random.lognormal(0.0, 0.5, bars) if one_birth else random.exponential(LENGTH, bars)
    return np.stack([birth, birth + length], axis=1)


def _work(inputs: Inputs, backward: bool) -> Work:
    """Pairs of bars only: how few operations a matching can do with is not known."""
    return Work(len(inputs["a"]) * len(inputs["b"]))


def _ours(inputs: Inputs, backward: bool) -> Outputs:
    return {"result": np.asarray(medkernels.topology.wasserstein(inputs["a"], inputs["b"]))}


def _peer(distance: Callable[[Pair], float], inputs: Inputs, backward: bool) -> Outputs:
    return {"result": np.asarray(distance((inputs["a"], inputs["b"])))}


PROVIDERS = (
    Provider("medkernels", _ours),
    Provider("GUDHI + POT", partial(_peer, gudhi_pot), 1e-6, 1e-9, library="ot"),
    Provider("GUDHI Hera", partial(_peer, gudhi_hera), 100.0, HERA_ERROR, library="gudhi"),
    Provider("persim", partial(_peer, persim), 1e-5, 1e-6, library="persim"),
)
TARGETS = tuple(Target(name, FORWARD, BEST, 1) for name in (LOOPS, COMPONENTS))

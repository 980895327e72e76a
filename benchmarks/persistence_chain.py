"""The whole chain from a subject's series to matrices of distances, beside the script of its paper.

"Leveraging Persistent Homology for Differential Diagnosis of Mild Cognitive Impairment" (ICPR 2024): the
series of one network of regions are embedded by windows of three volumes; Ripser.py gives the diagrams of
each series in dimensions 0 to 2, and persim the distance of every region to every region, itself included and
both ways round, one pair after the other. The case is the default mode network: 34 regions, 187 volumes.
"""

from __future__ import annotations

import warnings
from functools import partial

import numpy as np
from medkernels.benchmarks.runner.cases import FORWARD, Case, Inputs, Outputs, Provider, Target, Work
from medkernels.benchmarks.runner.topology import WINDOW, fmri_series

import medkernels

TITLE = "One subject, one network: series to distance matrices in dimensions 0-2, float64"
UNITS = "pairs of regions"
DIRECTIONS = (FORWARD,)
DEVICES = ("cpu",)

DEFAULT_MODE = "34 regions, 187 volumes"
TOP = 2  # dimension of homology
# Ripser computes in float32: every end of a bar is off by up to 3e-7, and a distance sums over 200 bars.
LARGEST, RELATIVE = 1e-5, 1e-5


def cases(sizes: str) -> list[Case]:
    """The comparison, then a curve over the regions of the network."""
    if sizes == "small":
        return [
            _case("4 regions, 40 volumes", 4, 40),
            *(_case(f"regions {n}", n, 40, "regions") for n in (2, 4)),
        ]
    return [
        _case(DEFAULT_MODE, 34, 187),
        *(_case(f"regions {n}", n, 187, "regions") for n in (10, 20, 40, 80, 160)),
    ]


def _case(name: str, regions: int, volumes: int, curve: str = "") -> Case:
    return Case(name, partial(_inputs, regions, volumes), partial(_work, regions), curve, regions)


def _inputs(regions: int, volumes: int, device: str, seed: int) -> Inputs:
    return {"series": fmri_series(regions, volumes, seed)}


def _work(regions: int, inputs: Inputs, backward: bool) -> Work:
    return Work(regions * (regions - 1) // 2)


def _ours(inputs: Inputs, backward: bool) -> Outputs:
    topology = medkernels.topology
    # The script ends one window early; so the last volume goes unused here too.
    clouds = topology.sliding_window(inputs["series"][:, :-1], dimension=WINDOW)
    found = topology.vietoris_rips(clouds, max_dim=TOP)
    matrices = [
        topology.wasserstein_matrix([item[dimension] for item in found], essential="drop")
        for dimension in range(TOP + 1)
    ]
    return {"result": np.stack(matrices)}


def _published(inputs: Inputs, backward: bool) -> Outputs:
    from persim import wasserstein
    from ripser import Rips

    found = []
    for series in inputs["series"]:
        windows = [series[t : t + WINDOW] for t in range(len(series) - WINDOW)]
        found.append(Rips(maxdim=TOP, verbose=False).fit_transform(np.array(windows)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one for every infinite bar that is left out
        matrices = [
            [[wasserstein(a[dimension], b[dimension]) for b in found] for a in found]
            for dimension in range(TOP + 1)
        ]
    return {"result": np.array(matrices)}


PROVIDERS = (
    Provider("medkernels", _ours),
    Provider("published script", _published, LARGEST, RELATIVE, library="persim"),
)
TARGETS = (Target(DEFAULT_MODE, FORWARD, "published script", 200),)

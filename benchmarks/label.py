"""`medkernels.regions.label` beside SciPy, cc3d and OpenCV.

The peers work on the CPU, also where ours does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
from medkernels.benchmarks.runner.compare import Differences

import medkernels
from medkernels import get_num_threads

TITLE = "Connected components of masks, 8 neighbours in pictures and 26 in volumes"
UNITS = "elements"
DIRECTIONS = (FORWARD,)

DENSITIES = (0.1, 0.5, 0.9)
NO_VOLUMES = "it labels pictures only"


def _picture_name(density: float) -> str:
    return f"4096 x 4096, {density:.0%} set"


def _volume_name(density: float) -> str:
    return f"256 x 256 x 256, {density:.0%} set"


def cases(sizes: str) -> list[Case]:
    """Pictures and volumes of three densities, then a curve over the number of elements."""
    if sizes == "small":
        return [
            _case("32 x 32, 50% set", (32, 32), 0.5),
            _case("9 x 9 x 9, 50% set", (9, 9, 9), 0.5),
            *(_case(f"elements {n * n}", (n, n), 0.5, "elements") for n in (16, 32)),
        ]
    return [
        *(_case(_picture_name(density), (4096, 4096), density) for density in DENSITIES),
        *(_case(_volume_name(density), (256, 256, 256), density) for density in DENSITIES),
        *(_case(f"elements {n * n}", (n, n), 0.5, "elements") for n in (256, 512, 1024, 2048, 4096, 8192)),
    ]


def _case(name: str, shape: tuple[int, ...], density: float, curve: str = "") -> Case:
    def inputs(device: str, seed: int) -> Inputs:
        host = np.random.default_rng(seed).random(shape) < density
        return {"mask": host if device == "cpu" else torch.from_numpy(host).to(device), "host": host}

    elements = float(np.prod(shape))
    excluded = {"OpenCV": NO_VOLUMES} if len(shape) == 3 else {}
    return Case(name, inputs, _work, curve, elements if curve else 0.0, None, excluded)


def _work(inputs: Inputs, backward: bool) -> Work:
    """A byte of mask is read and four bytes of label are written."""
    size = inputs["host"].size
    return Work(size, 0.0, 5.0 * size)


def compare_labels(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Differences:
    """How many labels of either side do not go with exactly one of the other."""
    a, b = (np.asarray(torch.as_tensor(x["result"]).cpu()).ravel().astype(np.int64) for x in (ours, theirs))
    if a.shape != b.shape:
        raise ValueError(f"result: {a.size} and {b.size} elements cannot be compared")
    pairs = np.unique(a * (b.max(initial=0) + 1) + b).size
    return {"largest": float(2 * pairs - np.unique(a).size - np.unique(b).size)}


def _ours(inputs: Inputs, backward: bool) -> Outputs:
    mask = inputs["mask"]
    return {"result": medkernels.regions.label(mask, connectivity=8 if mask.ndim == 2 else 26)[0]}


def _scipy(inputs: Inputs, backward: bool) -> Outputs:
    from scipy import ndimage

    mask = inputs["host"]
    return {"result": ndimage.label(mask, np.ones((3,) * mask.ndim))[0]}


def _cc3d(inputs: Inputs, backward: bool) -> Outputs:
    import cc3d

    mask = inputs["host"]
    return {"result": cc3d.connected_components(mask, connectivity=8 if mask.ndim == 2 else 26)}


def _opencv(inputs: Inputs, backward: bool) -> Outputs:
    import cv2

    if cv2.getNumThreads() != get_num_threads():
        cv2.setNumThreads(get_num_threads())
    return {"result": cv2.connectedComponents(inputs["host"].view(np.uint8), connectivity=8)[1]}


PROVIDERS = (
    Provider("medkernels", _ours),
    Provider("SciPy", _scipy, compare=compare_labels, library="scipy"),
    Provider("cc3d", _cc3d, compare=compare_labels, library="cc3d"),
    Provider("OpenCV", _opencv, compare=compare_labels, library="cv2"),
)
_LARGE = [name(density) for name in (_picture_name, _volume_name) for density in DENSITIES]
TARGETS = tuple(
    Target(case, FORWARD, peer, faster) for case in _LARGE for peer, faster in (("SciPy", 3), (BEST, 1))
)

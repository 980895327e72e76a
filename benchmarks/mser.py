"""`medkernels.regions.mser` beside OpenCV's detector."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from medkernels.benchmarks.runner.cases import FORWARD, Case, Inputs, Outputs, Provider, Target, Work
from medkernels.benchmarks.runner.compare import Differences
from medkernels.benchmarks.runner.images import blurred_noise, retina

import medkernels
from medkernels import get_num_threads

TITLE = "Maximally stable extremal regions of both polarities, with their pixels"
UNITS = "pixels"
DIRECTIONS = (FORWARD,)
DEVICES = ("cpu",)

SIDES = ((288, 384), (576, 720), (1411, 1411))
RETINA = "1411 x 1411, retina"  # where hardly a region is stable
SMOOTHING = 2.0  # pixels
#: Share of the regions, of the side that has fewer, that may be missing on the other: the two define the
#: variation differently, see the docstring of `mser`. In small pictures it is half of them.
MISSING = 0.6


def _name(shape: tuple[int, int]) -> str:
    return f"{shape[1]} x {shape[0]}"


def cases(sizes: str) -> list[Case]:
    """Three sizes of frames and a photograph, then a curve over the number of pixels."""
    if sizes == "small":
        return [_case((160, 200)), *(_case((n, n), "pixels") for n in (32, 64))]
    return [
        *(_case(shape) for shape in SIDES),
        Case(RETINA, lambda device, seed: {"image": retina(seed)}, _work),
        *(_case((n, n), "pixels") for n in (128, 256, 512, 1024, 2048, 4096)),
    ]


def _case(shape: tuple[int, int], curve: str = "") -> Case:
    def inputs(device: str, seed: int) -> Inputs:
        return {"image": blurred_noise(shape, "uint8", SMOOTHING, seed)}

    pixels = float(np.prod(shape))
    return Case(
        f"{curve} {pixels:g}" if curve else _name(shape), inputs, _work, curve, pixels if curve else 0.0
    )


def _work(inputs: Inputs, backward: bool) -> Work:
    """How many pixels are written depends on what is found."""
    return Work(inputs["image"].size)


def compare_regions(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Differences:
    """The share of regions that are not the same pixels in both."""
    a, b = ours["result"](), theirs["result"]()
    fewer = min(len(a), len(b))
    return {"largest": 1 - len(a & b) / fewer if fewer else 0.0}


def _ours(inputs: Inputs, backward: bool) -> Outputs:
    found = medkernels.regions.mser(inputs["image"], min_diversity=0)

    def sets() -> set[bytes]:
        parts = np.split(found.elements, found.offsets[1:-1])
        return {np.sort(part).astype(np.int64).tobytes() for part in parts if len(part)}

    return {"result": sets}


def _opencv(inputs: Inputs, backward: bool) -> Outputs:
    import cv2

    if cv2.getNumThreads() != get_num_threads():
        cv2.setNumThreads(get_num_threads())
    image = inputs["image"]
    points, _ = cv2.MSER_create(min_diversity=0).detectRegions(image)

    def sets() -> set[bytes]:
        places = (part[:, 1].astype(np.int64) * image.shape[1] + part[:, 0] for part in points)
        return {np.sort(part).tobytes() for part in places}

    return {"result": sets}


PROVIDERS = (
    Provider("medkernels", _ours),
    Provider("OpenCV", _opencv, largest=MISSING, compare=compare_regions, library="cv2"),
)
TARGETS = tuple(Target(_name(shape), FORWARD, "OpenCV", 3) for shape in SIDES)

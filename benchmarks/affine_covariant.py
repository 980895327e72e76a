"""`medkernels.features.affine_covariant` beside OpenCV's affine SIFT and Kornia.

They are different methods for the same job. OpenCV's simulates 43 views and runs SIFT on each, so it lists
places many times over; Kornia's adapts a shape in one step, for as many features as ours. What is compared is
that they find the same places; what is timed is a whole image.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from medkernels.benchmarks.runner.cases import (
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

TITLE = "Affine-covariant features with SIFT descriptors"
UNITS = "pixels"
DIRECTIONS = (FORWARD,)
DEVICES = ("cpu",)

FRAME = "720 x 576, 5000 features"
STRONGEST = 200  # of ours, which a peer should have too
NEAR = 3.0  # pixels
PEAK = 0.01


def cases(sizes: str) -> list[Case]:
    """The comparison, then a curve over the side of the image."""
    if sizes == "small":
        return [_case("96 x 80, 100 features", (80, 96), 100), _case("side 64", (64, 64), 50, 64)]
    return [
        _case(FRAME, (576, 720), 5000),
        *(_case(f"side {side}", (side, side), side * side // 80, side) for side in (256, 512, 1024, 2048)),
    ]


def _case(name: str, size: tuple[int, int], count: int, side: int = 0) -> Case:
    def inputs(device: str, seed: int) -> Inputs:
        return {"image": _texture(size, seed), "count": count}

    return Case(name, inputs, _work, "side" if side else "", side)


def _texture(size: tuple[int, int], seed: int) -> np.ndarray:
    """Noise with as much in each octave as natural images have, from 0 to 255: [H, W] uint8."""
    noise = np.fft.rfft2(np.random.default_rng(seed).normal(size=size))
    frequency = np.hypot(np.fft.fftfreq(size[0])[:, None], np.fft.rfftfreq(size[1]))
    image = np.fft.irfft2(noise / np.maximum(frequency, 1 / max(size)) * (frequency < 0.25), size)
    return np.rint((image - image.min()) * (255 / (image.max() - image.min()))).astype(np.uint8)


def _work(inputs: Inputs, backward: bool) -> Work:
    """Pixels only: how few operations describe a feature is not known."""
    return Work(inputs["image"].size)


def _ours(inputs: Inputs, backward: bool) -> Outputs:
    found = medkernels.features.affine_covariant(
        inputs["image"], peak_threshold=PEAK, max_features=inputs["count"]
    )
    return {"result": found.frames[:, :, 2]}


def _opencv(inputs: Inputs, backward: bool) -> Outputs:
    import cv2

    if cv2.getNumThreads() != get_num_threads():
        cv2.setNumThreads(get_num_threads())
    points, _ = cv2.AffineFeature_create(cv2.SIFT_create()).detectAndCompute(inputs["image"], None)
    return {"result": np.array([point.pt for point in points])}


@cache
def _kornia_modules(count: int) -> tuple[Any, Any]:
    from kornia import feature, geometry

    detector = feature.ScaleSpaceDetector(
        count,
        scale_pyr_module=geometry.ScalePyramid(3, 1.6, 16, double_image=True, extra_levels=3),
        resp_module=feature.BlobDoG(),
        aff_module=feature.LAFAffineShapeEstimator(41),
        minima_are_also_good=True,
        scale_space_response=True,
    )
    return detector, feature.LAFDescriptor(feature.SIFTDescriptor(31, rootsift=False), 31)


def _kornia(inputs: Inputs, backward: bool) -> Outputs:
    import torch

    detector, descriptor = _kornia_modules(inputs["count"])
    image = torch.from_numpy(inputs["image"])[None, None] / 255
    with torch.no_grad():
        frames, _ = detector(image)
        descriptor(image, frames)
    return {"result": frames[0, :, :, 2].numpy()}


def _missing(ours: Outputs, theirs: Outputs) -> dict[str, float]:
    """The share of our strongest places that are none of theirs."""
    places = ours["result"][:STRONGEST, None]
    gaps = np.hypot(*np.moveaxis(places - theirs["result"][None], -1, 0))
    return {"largest": float((gaps.min(axis=1, initial=np.inf) > NEAR).mean())}


PROVIDERS = (
    Provider("medkernels", _ours),
    Provider("OpenCV AffineFeature", _opencv, 0.1, compare=_missing, library="cv2"),
    # It ranks by another response, so of few features it keeps others.
    Provider("Kornia", _kornia, 0.4, compare=_missing, library="kornia"),
)
TARGETS = (
    Target(FRAME, FORWARD, "OpenCV AffineFeature", 5),
    Target(FRAME, FORWARD, "Kornia", 5),
)

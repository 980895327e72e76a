"""`medkernels.features.affine_covariant` beside OpenCV's affine SIFT and Kornia.

They are different methods for the same job, and find different amounts. OpenCV's simulates 43 views and runs
SIFT on each, so it lists most places many times; Kornia's adapts a shape in one step, for as many features as
ours. So each is told by what it finds: features as listed; distinct ones, of those within 2 pixels and a
factor of sqrt(2) in scale; and matches with a slanted view of the same picture that are right. All three turn
frames along the gradients, as OpenCV's always does. The peers work on the CPU, also where ours does not. A
machine for GPUs may lack SciPy and scikit-image: then nothing is counted, and noise is all there is to see.

What bounds ours, counted on the picture of tissue: the ellipse of a blob takes 8 rounds of adaptation on
average and each round 2,700 bilinear samples (41 x 41, and a margin for the blur), two blurs of 19 taps
together and the moments of 41 x 41 gradients; the patch that is described takes 3,000 samples more, so that
24,000 make a feature. With AVX-512 on one thread at about 3.6 GHz a blob takes 50 us with its share of scale
space: samples 22, blurs 10, moments 2, gradients and histogram of the descriptor 4. A sample reads four
pixels by two gathers of pairs; these alone take 0.3 ns from the first-level cache, with places and
interpolation 0.6 ns, and 0.9 ns among real pictures. The blurs run at one multiply-add of a vector a cycle,
as unaligned loads allow. OpenCV's takes about as long for each feature that it lists, without any adaptation.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from medkernels.benchmarks.runner.cases import (
    FORWARD,
    Case,
    Inputs,
    Outputs,
    Provider,
    Target,
    Work,
)
from medkernels.benchmarks.runner.places import distinct, right_matches, slanted

import medkernels
from medkernels import get_num_threads

TITLE = "Affine-covariant features with SIFT descriptors"
UNITS = "pixels"
DIRECTIONS = (FORWARD,)

TISSUE = "tissue, 512 x 512, 5000 features"
STRONGEST = 200  # of ours, which a peer should have too
NEAR = 3.0  # pixels
PEAK = 0.01
AMOUNTS = ("features", "distinct features", "right matches")


def cases(sizes: str) -> list[Case]:
    """A stained section of tissue, if it is there, and noise; then a curve over the side of the image."""
    if sizes == "small":
        return [_noise("96 x 80, 100 features", (80, 96), 100), _noise("side 64", (64, 64), 50, 64)]
    tissue = Case(TISSUE, lambda device, seed: _placed(_tissue(seed), device) | {"count": 5000}, _work)
    return [
        *([tissue] if find_spec("skimage") else []),
        _noise("noise, 720 x 576, 5000 features", (576, 720), 5000),
        *(_noise(f"side {side}", (side, side), side * side // 80, side) for side in (256, 512, 1024, 2048)),
    ]


def _noise(name: str, size: tuple[int, int], count: int, side: int = 0) -> Case:
    def inputs(device: str, seed: int) -> Inputs:
        return _placed(_texture(size, seed), device) | {"count": count}

    return Case(name, inputs, _work, "side" if side else "", side)


def _placed(image: np.ndarray, device: str) -> Inputs:
    """The image where ours works, and "host" where the peers do."""
    return {"image": image if device == "cpu" else torch.from_numpy(image).to(device), "host": image}


def _tissue(seed: int) -> np.ndarray:
    """scikit-image's section with immunohistochemical staining, turned: [512, 512] uint8."""
    from skimage.data import immunohistochemistry

    grey = np.rint(immunohistochemistry().mean(axis=2)).astype(np.uint8)
    return np.ascontiguousarray(np.rot90(grey, seed))


def _texture(size: tuple[int, int], seed: int) -> np.ndarray:
    """Noise with as much in each octave as natural images have, from 0 to 255: [H, W] uint8."""
    noise = np.fft.rfft2(np.random.default_rng(seed).normal(size=size))
    frequency = np.hypot(np.fft.fftfreq(size[0])[:, None], np.fft.rfftfreq(size[1]))
    image = np.fft.irfft2(noise / np.maximum(frequency, 1 / max(size)) * (frequency < 0.25), size)
    return np.rint((image - image.min()) * (255 / (image.max() - image.min()))).astype(np.uint8)


def _work(inputs: Inputs, backward: bool) -> Work:
    """Pixels only: how few operations describe a feature is not known."""
    return Work(inputs["host"].size)


def _ours(inputs: Inputs, backward: bool) -> Outputs:
    found = medkernels.features.affine_covariant(
        inputs["image"], peak_threshold=PEAK, max_features=inputs["count"], orient=True
    )
    return _outputs(found.frames, found.descriptors)


def _outputs(frames: Any, descriptors: Any) -> Outputs:
    areas = frames[:, 0, 0] * frames[:, 1, 1] - frames[:, 0, 1] * frames[:, 1, 0]
    return {"result": frames[:, :, 2], "scales": abs(areas) ** 0.5, "descriptors": descriptors}


def _host(found: Outputs) -> Outputs:
    return {name: torch.as_tensor(value).cpu().numpy() for name, value in found.items()}


def _opencv(inputs: Inputs, backward: bool) -> Outputs:
    import cv2

    if cv2.getNumThreads() != get_num_threads():
        cv2.setNumThreads(get_num_threads())
    points, descriptors = cv2.AffineFeature_create(cv2.SIFT_create()).detectAndCompute(inputs["host"], None)
    order = np.argsort([-point.response for point in points], kind="stable")
    return {
        "result": np.array([points[i].pt for i in order]),
        "scales": np.array([points[i].size for i in order]),  # in the simulated view: all there is
        "descriptors": descriptors[order].astype(np.uint8),  # they are whole numbers
    }


@cache
def _kornia_modules(count: int) -> tuple[Any, Any]:
    from kornia import feature, geometry

    detector = feature.ScaleSpaceDetector(
        count,
        scale_pyr_module=geometry.ScalePyramid(3, 1.6, 16, double_image=True, extra_levels=3),
        resp_module=feature.BlobDoG(),
        ori_module=feature.LAFOrienter(32),
        aff_module=feature.LAFAffineShapeEstimator(41),
        minima_are_also_good=True,
        scale_space_response=True,
    )
    return detector, feature.LAFDescriptor(feature.SIFTDescriptor(31, rootsift=False), 31)


def _kornia(inputs: Inputs, backward: bool) -> Outputs:
    detector, descriptor = _kornia_modules(inputs["count"])
    image = torch.from_numpy(inputs["host"])[None, None] / 255
    with torch.no_grad():
        frames, _ = detector(image)
        descriptors = descriptor(image, frames)
    return _outputs(frames[0].numpy(), descriptors[0].numpy())


def _missing(ours: Outputs, theirs: Outputs) -> dict[str, float]:
    """The share of our strongest places that are none of theirs."""
    places = _host(ours)["result"][:STRONGEST, None]
    gaps = np.hypot(*np.moveaxis(places - _host(theirs)["result"][None], -1, 0))
    return {"largest": float((gaps.min(axis=1, initial=np.inf) > NEAR).mean())}


def _provider(name: str, run: Any, missing: float = 0.0, library: str = "") -> Provider:
    def amounts(inputs: Inputs, found: Outputs) -> dict[str, int]:
        image, device = inputs["host"], "cpu" if inputs["image"] is inputs["host"] else "cuda"
        seen = _host(run({**inputs, **_placed(slanted(image), device)}, False))
        found = _host(found)
        places, scales = found["result"], found["scales"]
        right = right_matches(
            image, places, scales, found["descriptors"], seen["result"], seen["descriptors"]
        )
        counts = (len(places), int(distinct(places, scales).sum()), right)
        return dict(zip(AMOUNTS, counts, strict=True))

    countable = amounts if find_spec("scipy") else None
    return Provider(name, run, missing, compare=_missing, library=library, amounts=countable)


OPENCV, KORNIA = "OpenCV AffineFeature", "Kornia"
PROVIDERS = (
    _provider("medkernels", _ours),
    _provider(OPENCV, _opencv, 0.1, "cv2"),
    # It ranks by another response, so of few features it keeps others.
    _provider(KORNIA, _kornia, 0.4, "kornia"),
)
TARGETS = tuple(
    Target(TISSUE, FORWARD, peer, 5, per=amount) for peer in (OPENCV, KORNIA) for amount in AMOUNTS
)

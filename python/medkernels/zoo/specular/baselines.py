"""What the detector is compared with: one threshold, bright pale pixels, and standard stable regions."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from medkernels.regions import mser, saturation_mask
from medkernels.zoo.specular.inpainting import Bools, Pixels
from medkernels.zoo.specular.metrics import Counts, from_totals, scores
from medkernels.zoo.specular.model import Detector

THRESHOLD, PALE = "best threshold", "bright and pale pixels"
STABLE, STABLE_SMALL = "MSER", "MSER, our areas"
LEVELS = 256

Levels = npt.NDArray[np.int64]


def intensity(rgb: Pixels) -> Pixels:
    """The rounded mean [H,W] of the three channels, as the detector takes it."""
    return np.asarray((rgb.sum(axis=2, dtype=np.uint16) + 1) // 3, np.uint8)


def threshold_mask(rgb: Pixels, level: int) -> Bools:
    """Pixels of this intensity or brighter."""
    return intensity(rgb) >= level


def pale_mask(rgb: Pixels) -> Bools:
    """Bright pixels of low saturation, without a limit of their patches' size."""
    found: Bools = saturation_mask(rgb)
    return found


def stable_mask(rgb: Pixels, detector: Detector | None = None) -> Bools:
    """Bright regions that the standard detector finds with its usual settings.

    With a detector, regions have areas between the same limits as that one's.
    """
    mask = np.zeros(rgb.shape[:2], np.bool_)
    limits = {}
    if detector is not None:
        limits = {"min_area": detector.min_area, "max_area": detector.max_area(mask.size) - 1}
    found = mser(intensity(rgb), polarity="bright", **limits)
    mask.reshape(-1)[found.elements] = True
    return mask


def counts_by_level(rgb: Pixels, truth: Bools) -> Counts:
    """What every global threshold, 0 to 255, would give: counts [256,4]."""
    levels = intensity(rgb)
    both, all_ = (_at_least(part) for part in (levels[truth], levels.reshape(-1)))
    return from_totals(both, all_, np.count_nonzero(truth), truth.size)


def best_level(counts: Iterable[Counts]) -> int:
    """The threshold with the greatest mean F1 of frames, each given by `counts_by_level`."""
    return int(np.argmax(np.mean([scores(frame)["f1"] for frame in counts], axis=0)))


def _at_least(levels: Pixels) -> Levels:
    """For each level the number of pixels that are as bright or brighter."""
    return np.cumsum(np.bincount(levels, minlength=LEVELS)[::-1])[::-1]

"""Highlights: the union of small bright regions and small pale patches, from the other references."""

from __future__ import annotations

import numpy as np

from tests.reference.area_open import area_open
from tests.reference.mmser import mmser
from tests.reference.saturation_mask import saturation_mask


def specular_mask(rgb: np.ndarray, delta: int, min_area: int, max_area: int, max_patch: int) -> np.ndarray:
    """The mask of one picture [H, W, 3]."""
    mask = area_open(saturation_mask(rgb), 1, max_patch, 8)
    intensity = np.rint(rgb.astype(float).mean(axis=2)).astype(np.uint8)
    for pixels in mmser(intensity, delta, min_area, max_area, intensity.max(initial=0) / 2, 8):
        mask.ravel()[list(pixels)] = True
    return mask

"""Bright pale pixels, by the equations in exact fractions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np


def saturation_mask(rgb: np.ndarray) -> np.ndarray:
    """The mask of one picture [H, W, 3]."""
    intensity, saturation = {}, {}
    for place in np.ndindex(*rgb.shape[:2]):
        r, g, b = (int(v) for v in rgb[place])
        m = Fraction(r + g + b, 3)
        intensity[place] = m
        saturation[place] = Fraction(3, 2) * (r - m if b + r >= 2 * g else m - b)
    mask = np.zeros(rgb.shape[:2], bool)
    for place in intensity:
        bright = intensity[place] >= max(intensity.values()) / 2
        mask[place] = bright and saturation[place] <= max(saturation.values()) / 3
    return mask

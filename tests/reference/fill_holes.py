"""Holes from the definition: background that no path of background joins with a ring around the array."""

from __future__ import annotations

import numpy as np

from tests.reference.label import label

BACKGROUND = {4: 8, 8: 4, 6: 26, 18: 6, 26: 6}


def fill_holes(mask: np.ndarray, connectivity: int) -> np.ndarray:
    """The mask and its holes."""
    if mask.size == 0:
        return mask.astype(bool)
    outside = np.pad(mask == 0, 1, constant_values=True)
    labels, _ = label(outside, BACKGROUND[connectivity])
    inner = tuple(slice(1, -1) for _ in range(mask.ndim))
    return (labels != 1)[inner]

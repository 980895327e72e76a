"""Components by area, from the labels of the definition."""

from __future__ import annotations

import numpy as np

from tests.reference.label import label


def area_open(mask: np.ndarray, least: int, most: float, connectivity: int) -> np.ndarray:
    """The elements of components whose area lies within the limits."""
    labels, count = label(mask, connectivity)
    areas = [(labels == number).sum() for number in range(count + 1)]
    kept = [number for number in range(1, count + 1) if least <= areas[number] <= most]
    return np.isin(labels, kept)

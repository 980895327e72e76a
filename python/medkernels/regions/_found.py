"""Regions that a detector found: their elements and the ellipses that fit them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

#: An even ellipse with semi-axes a has variance (a / 2)^2 along each of its axes.
AXES_OF_DEVIATIONS = 2.0


class Regions(NamedTuple):
    """n regions of one picture, entry i of each array being region i.

    Attributes
    ----------
    elements
        [P], int32: the pixels of all regions, one region after another, numbered in raster order.
    offsets
        [n + 1], integers: region i has the pixels ``elements[offsets[i]:offsets[i + 1]]``.
    level
        [n], integers: the grey level at which a region is cut off.
    score
        [n]: how much its area changes, as the detector defines it; less is more stable.
    polarity
        [n], integers: 1 for regions brighter than what is around them, -1 for darker ones.
    centers
        [n, 2], float64: the mean (x, y).
    axes
        [n, 2], float64: semi-axes of the ellipse with the region's second moments, in pixels, the longer
        first.
    angles
        [n], float64: direction of the first axis, in radians from +x towards +y, -pi/2 to pi/2.
    """

    elements: Any
    offsets: Any
    level: Any
    score: Any
    polarity: Any
    centers: Any
    axes: Any
    angles: Any


Found = tuple[npt.NDArray[Any], ...]


def regions(parts: list[tuple[int, Found]], restore: Callable[[npt.NDArray[Any]], Any]) -> Regions:
    """What the core found, joined: pairs of polarity and arrays."""
    elements, offsets, level, score, moments = zip(*(found for _, found in parts), strict=True)
    before = np.cumsum([0, *(len(part) for part in elements[:-1])])
    ends = [part[1:] + first for part, first in zip(offsets, before, strict=True)]
    polarity = [np.full(len(part), sign, np.int32) for (sign, _), part in zip(parts, level, strict=True)]
    all_moments = np.concatenate(moments)
    axes, angles = ellipses(*all_moments[:, 2:].T)
    arrays = (
        np.concatenate(elements),
        np.concatenate([np.zeros(1, np.int64), *ends]),
        np.concatenate(level),
        np.concatenate(score),
        np.concatenate(polarity),
        np.ascontiguousarray(all_moments[:, :2]),
        axes,
        angles,
    )
    return Regions(*map(restore, arrays))


def ellipses(
    xx: npt.NDArray[np.float64], xy: npt.NDArray[np.float64], yy: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Semi-axes [n, 2] and angles [n] of ellipses with these second moments."""
    middle, gap = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
    spread = np.stack([middle + gap, np.maximum(middle - gap, 0)], axis=1)
    return AXES_OF_DEVIATIONS * np.sqrt(spread), np.arctan2(2 * xy, xx - yy) / 2

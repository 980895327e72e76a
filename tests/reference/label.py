"""Connected components and their measures from the definitions, one element at a time."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

#: Axes along which a neighbour may differ, by connectivity.
CHANGES = {4: 1, 8: 2, 6: 1, 18: 2, 26: 3}


def neighbours(shape: tuple[int, ...], place: tuple[int, ...], connectivity: int) -> list[tuple[int, ...]]:
    """The neighbours of an element inside the array."""
    steps = itertools.product((-1, 0, 1), repeat=len(shape))
    near = [s for s in steps if 0 < sum(map(abs, s)) <= CHANGES[connectivity]]
    found = [tuple(p + d for p, d in zip(place, s, strict=True)) for s in near]
    return [f for f in found if all(0 <= p < n for p, n in zip(f, shape, strict=True))]


def label(mask: np.ndarray, connectivity: int) -> tuple[np.ndarray, int]:
    """Labels in the raster order of first elements, and their number."""
    labels = np.zeros(mask.shape, np.int32)
    count = 0
    for start in np.ndindex(*mask.shape):
        if not mask[start] or labels[start]:
            continue
        count += 1
        waiting = [start]
        labels[start] = count
        while waiting:
            place = waiting.pop()
            for other in neighbours(mask.shape, place, connectivity):
                if mask[other] and not labels[other]:
                    labels[other] = count
                    waiting.append(other)
    return labels, count


def measures(labels: np.ndarray, count: int) -> dict[str, np.ndarray]:
    """Area, box, centroid, perimeter and moments of each label."""
    dims = labels.ndim
    found: dict[str, Any] = {name: [] for name in ("area", "box", "centroid", "perimeter", "moments")}
    padded = np.pad(labels, 1)
    for number in range(1, count + 1):
        places = np.argwhere(labels == number)
        inside = padded == number
        found["area"].append(len(places))
        found["box"].append([*places.min(axis=0), *(places.max(axis=0) + 1)])
        found["centroid"].append(places.mean(axis=0))
        found["perimeter"].append(sum(np.diff(inside, axis=axis).sum() for axis in range(dims)))
        found["moments"].append(np.cov(places.T, bias=True).reshape(dims, dims))
    return {name: np.array(values) for name, values in found.items()}

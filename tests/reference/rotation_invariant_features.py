"""The definition of the eight numbers of each neighbour, one neighbour after the other."""

from __future__ import annotations

import numpy as np

EQUAL = 1e-10  # keys and directions that differ by less are the same


def unit(vector: np.ndarray) -> np.ndarray:
    """Length 1, or 0."""
    length = np.linalg.norm(vector)
    return vector / length if length > 0 else vector


def angle(a: np.ndarray, b: np.ndarray) -> float:
    """The arc cosine of the product."""
    return float(np.arccos(np.clip(a @ b, -1.0, 1.0)))


def rotation_invariant_features(
    points: np.ndarray, axes: np.ndarray, centers: np.ndarray, neighbours: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Features and ordered indices in float64."""
    points, axes = points.astype(np.float64), axes.astype(np.float64)
    features = np.zeros((*neighbours.shape, 8))
    ordered = np.full(neighbours.shape, -1)
    for row, (center, table) in enumerate(zip(centers, neighbours, strict=True)):
        n, present = axes[center], [int(j) for j in table if j >= 0]
        if not present:
            continue
        offsets = [points[j] - points[center] for j in present]
        flat = [y - (y @ n) * n for y in offsets]
        for place, y in enumerate(offsets):
            if np.linalg.norm(flat[place]) <= EQUAL * np.linalg.norm(y):
                flat[place] = 0 * y
        start = unit(flat[int(np.argmax([q @ q for q in flat]))])
        keys = []
        for q in flat:
            cosine = float(np.clip(unit(q) @ start, -1, 1))
            keys.append(cosine if np.cross(unit(q), start) @ n >= -EQUAL else -cosine - 2)
        order = sorted(range(len(present)), key=lambda j: (-round(keys[j] / EQUAL), j))
        for place, j in enumerate(order):
            before = order[place - 1]
            y, own, previous = offsets[j], axes[present[j]], axes[present[before]]
            step = unit(y - offsets[before])
            ordered[row, place] = present[j]
            height, other = unit(y) @ n, unit(y) @ own
            along, behind = step @ own, step @ previous
            features[row, place] = [
                np.linalg.norm(y),
                (keys[j] if place else -3) - keys[before],
                height,
                other,
                (1 if height + EQUAL < other else -1) * angle(own, n),
                along,
                behind,
                (1 if along + EQUAL < behind else -1) * angle(own, previous),
            ]
    return features, ordered

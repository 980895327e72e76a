"""The definition of the k nearest points: all distances, sorted."""

from __future__ import annotations

import numpy as np


def knn(
    points: np.ndarray, queries: np.ndarray | None, k: int, include_self: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Indices and squared distances in float64; -1 and infinity where there are fewer than k."""
    asking = points if queries is None else queries
    indices, squared = np.full((len(asking), k), -1), np.full((len(asking), k), np.inf)
    for row, query in enumerate(asking.astype(np.float64)):
        ranked = []
        for index, point in enumerate(points.astype(np.float64)):
            if queries is None and not include_self and index == row:
                continue
            distance = 0.0
            for a, b in zip(point, query, strict=True):
                distance += (a - b) * (a - b)
            ranked.append((distance, index))
        for place, (distance, index) in enumerate(sorted(ranked)[:k]):
            indices[row, place], squared[row, place] = index, distance
    return indices, squared

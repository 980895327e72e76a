"""The definition of the points within a radius: all of them, by index."""

from __future__ import annotations

import numpy as np

from tests.reference.knn import knn


def ball_query(
    points: np.ndarray, queries: np.ndarray, radius: float, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Indices and squared distances in float64; -1 and infinity where there are fewer than k."""
    every, distances = knn(points, queries, max(len(points), 1))
    indices, squared = np.full((len(queries), k), -1), np.full((len(queries), k), np.inf)
    for row in range(len(queries)):
        within = sorted(
            (int(index), distance)
            for index, distance in zip(every[row], distances[row], strict=True)
            if distance <= radius**2
        )
        for place, (index, distance) in enumerate(within[:k]):
            indices[row, place], squared[row, place] = index, distance
    return indices, squared

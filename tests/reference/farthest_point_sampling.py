"""The definition of farthest point sampling."""

from __future__ import annotations

import numpy as np


def farthest_point_sampling(points: np.ndarray, n_samples: int, start: int = 0) -> list[int]:
    """Distances to all picks, the farthest point, and again; in float64."""
    rows = points.astype(np.float64)
    picks = [start]
    while len(picks) < n_samples:
        nearest = []
        for row in rows:
            squared = []
            for pick in picks:
                distance = 0.0
                for a, b in zip(row, rows[pick], strict=True):
                    distance += (a - b) * (a - b)
                squared.append(distance)
            nearest.append(min(squared))
        picks.append(nearest.index(max(nearest)))
    return picks

"""The definition of the ratio test, pair by pair."""

from __future__ import annotations

import math

import numpy as np


def match(
    d1: np.ndarray, d2: np.ndarray, ratio: float, mutual: bool = False
) -> tuple[list[list[int]], list[float]]:
    """Matches and distances in float64; differences that are whole numbers, or few digits, are exact."""
    a, b = d1.astype(np.float64), d2.astype(np.float64)
    matches, distances = [], []
    for i, row in enumerate(a):
        order = sorted((math.fsum((row - other) ** 2), j) for j, other in enumerate(b))
        if not order:
            continue
        nearest, j = order[0]
        second = order[1][0] if len(order) > 1 else math.inf
        stands_out = ratio >= 1 if nearest == second else nearest <= ratio**2 * second
        if mutual:
            back = min((math.fsum((other - b[j]) ** 2), k) for k, other in enumerate(a))
            stands_out = stands_out and back[1] == i
        if stands_out:
            matches.append([i, j])
            distances.append(math.sqrt(nearest))
    return matches, distances

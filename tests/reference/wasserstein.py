"""Wasserstein distances from the definition: all bars and their projections in one square matrix of costs."""

from __future__ import annotations

import math
from bisect import bisect_left
from itertools import permutations

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import maximum_bipartite_matching


def wasserstein(
    a: np.ndarray, b: np.ndarray, order: float = 1, ground: float = 2, essential: str = "match"
) -> float:
    costs = [] if essential == "drop" else _endless_costs(a, b, order)
    if math.inf in costs:
        return math.inf
    square = augmented(a[np.isfinite(a).all(1)], b[np.isfinite(b).all(1)], ground)
    return norm([*costs, *_least(square, order)], order)


def augmented(a: np.ndarray, b: np.ndarray, ground: float) -> np.ndarray:
    """Costs of [bars of a, a projection of each bar of b] with [bars of b, a projection of each of a]."""
    m, n = len(a), len(b)
    costs = np.full((m + n, n + m), math.inf)
    costs[:m, :n] = np.linalg.norm(a[:, None] - b[None], ord=ground, axis=2)
    costs[:m, n:][np.diag_indices(m)] = to_diagonal(a, ground)
    costs[m:, :n][np.diag_indices(n)] = to_diagonal(b, ground)
    costs[m:, n:] = 0
    return costs


def to_diagonal(a: np.ndarray, ground: float) -> np.ndarray:
    """Distance of each point from its projection ((birth + death) / 2, (birth + death) / 2)."""
    middle = a.mean(axis=1, keepdims=True)
    return np.linalg.norm(a - middle, ord=ground, axis=1) if len(a) else np.zeros(0)


def norm(costs: list[float], order: float) -> float:
    if order == math.inf:
        return max(costs, default=0.0)
    largest = max(costs, default=0.0) or 1.0
    return float(largest * sum((c / largest) ** order for c in costs) ** (1 / order))


def brute_force(a: np.ndarray, b: np.ndarray, order: float, ground: float) -> float:
    """The least over all permutations, for a handful of finite bars."""
    square = augmented(a, b, ground)
    rows = range(len(square))
    return min(
        norm([square[i, j] for i, j in zip(rows, columns, strict=True)], order)
        for columns in permutations(rows)
        if all(math.isfinite(square[i, j]) for i, j in zip(rows, columns, strict=True))
    )


def _least(square: np.ndarray, order: float) -> list[float]:
    """The costs of a best matching of all rows."""
    if len(square) == 0:
        return []
    if order == math.inf:
        radii = np.unique(square[np.isfinite(square)])
        return [float(radii[bisect_left(radii, True, key=lambda radius: _suffices(square, radius))])]
    largest = square[np.isfinite(square)].max() or 1.0
    rows, columns = linear_sum_assignment((square / largest) ** order)
    return [float(c) for c in square[rows, columns]]


def _suffices(square: np.ndarray, radius: float) -> bool:
    """Whether all rows can be matched at costs up to `radius`."""
    return bool((maximum_bipartite_matching(csr_matrix(square <= radius), perm_type="column") >= 0).all())


def _endless_costs(a: np.ndarray, b: np.ndarray, order: float) -> list[float]:
    """The best way to match endless bars of each kind, by trying all."""
    costs: list[float] = []
    for birth_ends, death_ends in ((True, False), (False, True), (False, False)):
        ends = []
        for bars in (a, b):
            kind = (np.isfinite(bars[:, 0]) == birth_ends) & (np.isfinite(bars[:, 1]) == death_ends)
            kind &= bars[:, 0] != bars[:, 1]
            ends.append([row[0] if birth_ends else row[1] if death_ends else 0.0 for row in bars[kind]])
        if len(ends[0]) != len(ends[1]):
            return [math.inf]
        ways = ([abs(x - y) for x, y in zip(ends[0], way, strict=True)] for way in permutations(ends[1]))
        costs += min(ways, key=lambda way: norm(way, order))
    return costs

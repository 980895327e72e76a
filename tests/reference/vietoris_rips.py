"""Persistent homology from its definition: every simplex, the boundary matrix over Z/2, column by column."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def pairwise(points: Floats, metric: str = "euclidean") -> Floats:
    """Distances [P, P] between points [P, D]."""
    difference = points[:, None, :] - points[None, :, :]
    if metric == "euclidean":
        return np.sqrt((difference**2).sum(-1))
    if metric == "manhattan":
        return np.abs(difference).sum(-1)
    if metric == "chebyshev":
        return np.abs(difference).max(-1, initial=0)
    raise ValueError(metric)


def filtration(distances: Floats, max_dim: int, threshold: float) -> list[tuple[float, tuple[int, ...]]]:
    """All simplices of dimension up to `max_dim` + 1 with their diameters, faces before cofaces."""
    simplices = []
    for size in range(1, max_dim + 3):
        for simplex in combinations(range(len(distances)), size):
            diameter = max((float(distances[i, j]) for i, j in combinations(simplex, 2)), default=0.0)
            if diameter <= threshold and diameter < np.inf:
                simplices.append((diameter, simplex))
    return sorted(simplices, key=lambda entry: (entry[0], len(entry[1]), entry[1]))


def vietoris_rips(distances: Floats, max_dim: int = 1, threshold: float = np.inf) -> list[Floats]:
    """Diagrams [n, 2] of dimensions 0..max_dim, sorted by birth and death, without bars of length zero."""
    simplices = filtration(distances, max_dim, threshold)
    place = {simplex: index for index, (_, simplex) in enumerate(simplices)}
    column_of_pivot: dict[int, set[int]] = {}
    unpaired = set(range(len(simplices)))
    bars: list[list[tuple[float, float]]] = [[] for _ in range(max_dim + 1)]
    for index, (death, simplex) in enumerate(simplices):
        faces = combinations(simplex, len(simplex) - 1) if len(simplex) > 1 else ()
        column = {place[face] for face in faces}
        while column and max(column) in column_of_pivot:
            column ^= column_of_pivot[max(column)]
        if column:
            pivot = max(column)
            column_of_pivot[pivot] = column
            unpaired -= {index, pivot}
            birth, creator = simplices[pivot]
            if birth < death:
                bars[len(creator) - 1].append((birth, death))
    for index in unpaired:
        birth, creator = simplices[index]
        if len(creator) <= max_dim + 1:
            bars[len(creator) - 1].append((birth, np.inf))
    return [np.array(sorted(dimension), dtype=np.float64).reshape(-1, 2) for dimension in bars]

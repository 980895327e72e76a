"""Means of features in cells, point by point."""

from __future__ import annotations

import math

import numpy as np


def voxelize(points: np.ndarray, features: np.ndarray, resolution: int, subtract_mean: bool) -> np.ndarray:
    """[C, R, R, R] of one cloud, in float64."""
    held: dict[tuple[int, ...], list[np.ndarray]] = {}
    for point, feature in zip(placed(points, subtract_mean), features.astype(np.float64), strict=True):
        cell = tuple(round(min(max((x + 1) / 2 * resolution, 0), resolution - 1)) for x in point)
        held.setdefault(cell, []).append(feature)
    grid = np.zeros((features.shape[1], resolution, resolution, resolution))
    for cell, those in held.items():
        grid[(slice(None), *cell)] = sum(those) / len(those)
    return grid


def placed(points: np.ndarray, subtract_mean: bool) -> list[list[float]]:
    """Points with their mean at 0, if that is subtracted."""
    rows = points.astype(np.float64).tolist()
    if not subtract_mean:
        return rows
    means = [math.fsum(row[d] for row in rows) / max(1, len(rows)) for d in range(3)]
    return [[x - mean for x, mean in zip(row, means, strict=True)] for row in rows]

"""The definition of the axis of a point: the covariance of its neighbours, by LAPACK."""

from __future__ import annotations

import numpy as np


def local_reference_axis(points: np.ndarray, neighbours: np.ndarray, weighted: bool = True) -> np.ndarray:
    """Axes in float64, for clouds in which every axis is distinguished."""
    points = points.astype(np.float64)
    axes = np.zeros_like(points)
    for i, point in enumerate(points):
        offsets = np.array([points[j] - point for j in neighbours[i] if j >= 0])
        distances = np.linalg.norm(offsets, axis=1)
        weights = distances.max() - distances if weighted else np.ones(len(distances))
        spread = sum(w * np.outer(y, y) for w, y in zip(weights, offsets, strict=True)) / weights.sum()
        axis = np.linalg.eigh(spread)[1][:, 0]
        axes[i] = -axis if axis @ (point - points.mean(axis=0)) < 0 else axis
    return axes

"""The definition of sums over neighbours."""

from __future__ import annotations

import numpy as np


def gather_sum(features: np.ndarray, neighbours: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """[N, H, C], [M, k] and [M, k, H] to [M, H, C], in float64."""
    sums = np.zeros((len(neighbours), *features.shape[1:]))
    for i, row in enumerate(neighbours):
        for j, source in enumerate(row):
            if source >= 0:
                weight = 1.0 if weights is None else weights[i, j].astype(np.float64)[:, None]
                sums[i] += weight * features[source].astype(np.float64)
    return sums

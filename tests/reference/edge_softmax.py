"""The definition of the softmax over the edges that enter a node."""

from __future__ import annotations

import numpy as np


def edge_softmax(scores: np.ndarray, neighbours: np.ndarray) -> np.ndarray:
    """[M, k, H] and [M, k] to [M, k, H], in float64."""
    weights = np.zeros(scores.shape)
    for i, row in enumerate(neighbours):
        present = row >= 0
        if present.any():
            exponentials = np.exp(scores[i, present].astype(np.float64))
            weights[i, present] = exponentials / exponentials.sum(axis=0)
    return weights

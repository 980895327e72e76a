"""All pairs, one after the other."""

from __future__ import annotations

import numpy as np

from tests.reference.wasserstein import wasserstein


def wasserstein_matrix(
    diagrams: list[np.ndarray], others: list[np.ndarray], order: float = 1, ground: float = 2
) -> np.ndarray:
    found = [[wasserstein(a, b, order, ground) for b in others] for a in diagrams]
    return np.array(found).reshape(len(diagrams), len(others))

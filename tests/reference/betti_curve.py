"""Number of bars alive, counted one by one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def betti_curve(diagram: npt.NDArray[np.float64], grid: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """[n, 2] and [G] -> [G]."""
    return np.array([sum(1 for birth, death in diagram if birth <= t < death) for t in grid], dtype=np.int64)

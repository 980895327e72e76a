"""Delay embedding, one number at a time."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def sliding_window(series: npt.NDArray[np.float64], dimension: int, delay: int) -> npt.NDArray[np.float64]:
    """[..., T] -> [..., T - (dimension - 1) delay, dimension]."""
    count = series.shape[-1] - (dimension - 1) * delay
    windows = np.empty((*series.shape[:-1], count, dimension))
    for t in range(count):
        for j in range(dimension):
            windows[..., t, j] = series[..., t + j * delay]
    return windows

"""Persistence image, pixel by pixel: the surface of weighted Gaussians, integrated."""

from __future__ import annotations

from collections.abc import Callable
from math import erf, isinf, sqrt

import numpy as np
import numpy.typing as npt


def mass(center: float, bandwidth: float, low: float, high: float) -> float:
    """Integral of a normal density from `low` to `high`."""
    upper, lower = (erf((edge - center) / (bandwidth * sqrt(2.0))) for edge in (high, low))
    return (upper - lower) / 2.0


def persistence_image(
    diagram: npt.NDArray[np.float64],
    birth_range: tuple[float, float],
    persistence_range: tuple[float, float],
    resolution: tuple[int, int],
    bandwidth: float,
    weight: Callable[[float, float], float],
) -> npt.NDArray[np.float64]:
    """[n, 2] -> [rows, columns]; rows go up in persistence, columns in birth."""
    rows = np.linspace(*persistence_range, resolution[0] + 1)
    columns = np.linspace(*birth_range, resolution[1] + 1)
    image = np.zeros(resolution)
    for birth, death in diagram:
        if isinf(death):
            continue
        persistence = death - birth
        for i in range(resolution[0]):
            for j in range(resolution[1]):
                image[i, j] += (
                    weight(birth, persistence)
                    * mass(persistence, bandwidth, rows[i], rows[i + 1])
                    * mass(birth, bandwidth, columns[j], columns[j + 1])
                )
    return image

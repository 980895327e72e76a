"""Clouds for the tests of points: random, on a lattice, with points that coincide, on a line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

import medkernels as mk


@st.composite
def clouds(draw: Any, dimensions: int | None = None, least: int = 0) -> np.ndarray:
    """Up to 70 points, so more than two leaves; whole numbers, so that equal distances abound, or any."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    size = (draw(st.integers(least, 70)), dimensions or draw(st.sampled_from([1, 2, 3, 5, 11, 25, 64])))
    kind = draw(st.sampled_from(["lattice", "random", "line", "copies"]))
    if kind == "lattice":
        points = rng.integers(0, 4, size).astype(np.float64)
    elif kind == "line":
        points = rng.integers(0, 9, (size[0], 1)) * rng.normal(size=(1, size[1]))
    else:
        points = rng.normal(size=size)
    if kind == "copies" and len(points):
        points = points[rng.integers(0, max(1, len(points) // 4), len(points))]
    return points.astype(draw(st.sampled_from([np.float32, np.float64])))


def with_threads(call: Callable[[], Any]) -> list[Any]:
    """The results of a call with one, two and five threads."""
    before = mk.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 5):
            mk.set_num_threads(threads)
            results.append(call())
    finally:
        mk.set_num_threads(before)
    return results

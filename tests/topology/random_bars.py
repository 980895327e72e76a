"""Diagrams for the tests of distances."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st


def random_diagram(
    count: int, seed: int, *, one_birth: bool = False, grid: int = 0, length: float = 0.5
) -> np.ndarray:
    """`count` finite bars; ends on a lattice of `grid` steps if asked, so that many tie or coincide."""
    random = np.random.default_rng(seed)
    if grid:
        birth = random.integers(0, grid, count) * float(not one_birth)
        return np.stack([birth, birth + random.integers(1, grid + 1, count)], 1).astype(float)
    birth = random.uniform(0, 1, count) * float(not one_birth)
    return np.stack([birth, birth + random.exponential(length, count) + 1e-3], 1)


@st.composite
def diagrams(draw: st.DrawFn, most: int = 8, endless: bool = False) -> np.ndarray:
    """Diagrams with ties, duplicates and bars on the diagonal; sometimes all born together."""
    end = draw(st.sampled_from([st.integers(0, 6).map(float), st.floats(-100, 100, width=32)]))
    count = draw(st.integers(0, most))
    bars = np.array([sorted((draw(end), draw(end))) for _ in range(count)]).reshape(count, 2)
    if draw(st.booleans()):
        bars[:, 1] += 1.5 - bars[:, 0]
        bars[:, 0] = 1.5
    if endless:
        for row in range(count):
            never = draw(st.sampled_from(["", "", "", "dies", "born", "both"]))
            bars[row, 0] = -np.inf if never in ("born", "both") else bars[row, 0]
            bars[row, 1] = np.inf if never in ("dies", "both") else bars[row, 1]
    return bars

"""Logits, labels and sizes that tests draw."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st


class Case(NamedTuple):
    """Logits in float64, and the size to upsample to."""

    logits: np.ndarray
    size: tuple[int, ...]

    def labels(self, seed: int) -> np.ndarray:
        """Of random classes, int64."""
        random = np.random.default_rng(seed)
        return random.integers(0, self.logits.shape[1], (len(self.logits), *self.size))


def scene(
    items: int,
    classes: int,
    from_size: tuple[int, ...],
    size: tuple[int, ...],
    seed: int,
    kind: str = "noise",
) -> Case:
    """Noise; whole numbers, of which many are equal; or regions where one class is far above the others."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=(items, classes, *from_size))
    if kind == "ties":
        logits = logits.round()
    if kind == "regions":
        places = sum(np.ogrid[tuple(slice(n) for n in from_size)]) // 3
        logits += 30.0 * (places % classes == np.arange(classes).reshape(-1, *[1] * places.ndim))
    return Case(logits, size)


@st.composite
def cases(draw: Any, most_classes: int = 40) -> Case:
    """In two or three dimensions; each axis grows, stays or shrinks."""
    dims = draw(st.integers(2, 3))
    ends = st.tuples(st.integers(1, 9), st.integers(1, 24))
    axes = [draw(ends) for _ in range(dims - 1)]
    # Rows are what vectors go over: some are longer than these.
    axes.append(draw(st.tuples(st.integers(1, 40), st.integers(1, 90))))
    from_size, size = zip(*axes, strict=True)
    kind = draw(st.sampled_from(["noise", "ties", "regions"]))
    return scene(
        draw(st.integers(1, 2)), draw(st.integers(1, most_classes)), from_size, size,
        draw(st.integers(0, 10**6)), kind,
    )  # fmt: skip

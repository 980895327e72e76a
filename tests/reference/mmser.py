"""Small bright regions from the components of every level set."""

from __future__ import annotations

import numpy as np

from tests.reference.mser import Component, components, family


def mmser(
    image: np.ndarray, delta: int, min_area: int, max_area: int, min_level: float, connectivity: int
) -> dict[frozenset[int], int]:
    """The growth of each region that is kept."""
    found = components(image, connectivity)
    parents, children = family(found)

    def growth(c: Component) -> int:
        outer = c
        while (up := parents[outer]) is not None and up.level >= c.level - delta:
            outer = up
        return len(outer.pixels) - len(c.pixels)

    def kept(c: Component) -> bool:
        up, g = parents[c], growth(c)
        return (
            up is not None
            and c.level >= min_level
            and min_area <= len(c.pixels) < max_area
            and g <= len(c.pixels)
            and g <= growth(up)
            and all(g <= growth(o) for o in children[c])
        )

    return {c.pixels: growth(c) for c in found if kept(c) and not any(kept(o) for o in children[c])}

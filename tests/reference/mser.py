"""Stable regions from the components of every level set."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tests.reference.label import label


class Component(NamedTuple):
    """A component of the elements at `level` or brighter that holds an element of that level."""

    level: int
    first: int  # in raster order, of the elements of that level
    pixels: frozenset[int]


def components(image: np.ndarray, connectivity: int) -> list[Component]:
    """All components, darkest level first."""
    found = []
    for level in np.unique(image):
        labels, count = label(image >= level, connectivity)
        for number in range(1, count + 1):
            members = np.flatnonzero(labels.ravel() == number)
            own = members[image.ravel()[members] == level]
            if own.size:
                found.append(Component(int(level), int(own[0]), frozenset(members.tolist())))
    return found


def family(
    found: list[Component],
) -> tuple[dict[Component, Component | None], dict[Component, list[Component]]]:
    """The next larger component of each, and the next smaller ones."""
    parents: dict[Component, Component | None] = {}
    for c in found:
        larger = [o for o in found if c.pixels < o.pixels]
        parents[c] = min(larger, key=lambda o: len(o.pixels)) if larger else None
    children: dict[Component, list[Component]] = {c: [] for c in found}
    for c, parent in parents.items():
        if parent is not None:
            children[parent].append(c)
    return parents, children


def mser(
    image: np.ndarray, delta: int, min_area: int, max_area: int, max_variation: float, connectivity: int
) -> dict[frozenset[int], float]:
    """The variation of each stable bright region, before regions that differ little are left out."""
    found = components(image, connectivity)
    parents, children = family(found)

    def variation(c: Component) -> float:
        outer = inner = c
        while (up := parents[outer]) is not None and up.level >= c.level - delta:
            outer = up
        while children[inner]:
            down = min(children[inner], key=lambda o: (-len(o.pixels), o.level, o.first))
            if down.level > c.level + delta:
                break
            inner = down
        return (len(outer.pixels) - len(inner.pixels)) / len(c.pixels)

    stable = {}
    for c in found:
        v, up = variation(c), parents[c]
        if up is None:  # the whole picture
            continue
        smaller = [variation(o) for o in children[c] if len(o.pixels) >= min_area]
        if not min_area <= len(c.pixels) <= max_area or v > max_variation:
            continue
        if all(v <= s for s in smaller) and (parents[up] is None or v < variation(up)):
            stable[c.pixels] = v
    return stable

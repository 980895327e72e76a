"""The max-tree from its definition: the components of every upper level set."""

from __future__ import annotations

import numpy as np

from tests.reference.label import label


def max_tree(image: np.ndarray, connectivity: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Parent, order and area of each element, flat."""
    flat = image.ravel()
    # Of each element, per level that it reaches: the elements of the component that it is in.
    parent = np.zeros(flat.size, np.int64)
    area = np.ones(flat.size, np.int64)
    below = np.full(flat.size, -1)  # the canonical element of the next larger component that holds an element
    for level in np.unique(flat):
        labels, count = label(image >= level, connectivity)
        for number in range(1, count + 1):
            members = np.flatnonzero(labels.ravel() == number)
            at_level = members[flat[members] == level]
            if at_level.size == 0:  # no component of its own: the same elements as one level higher
                continue
            canonical = at_level[0]
            parent[at_level] = canonical
            parent[canonical] = canonical if below[canonical] < 0 else below[canonical]
            area[canonical] = members.size
            below[members] = canonical
    return parent, np.argsort(flat, kind="stable"), area

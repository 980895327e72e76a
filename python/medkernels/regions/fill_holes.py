"""Holes of masks."""

from __future__ import annotations

from typing import Any

from medkernels import _core
from medkernels.regions._images import DIMENSIONS, check_connectivity, check_room, read_masks

#: The neighbourhood of the background that goes with one of the mask, so that a closed curve separates inside
#: and outside (T. Y. Kong and A. Rosenfeld, "Digital topology: introduction and survey", 1989).
BACKGROUND = {4: 8, 8: 4, 6: 26, 18: 6, 26: 6}


def fill_holes(mask: Any, *, connectivity: int = 8) -> Any:
    """Fill the holes of masks: components of the background that do not reach the border.

    Parameters
    ----------
    mask
        Booleans or integers, of which all but 0 are set: pictures [H, W] or [B, H, W] where `connectivity` is
        4 or 8, volumes [D, H, W] or [B, D, H, W] where it is 6, 18 or 26.
    connectivity
        Neighbours of an element of the mask: 4 (sides) or 8 (corners too); 6 (faces), 18 (edges too), 26
        (corners too). The background has the neighbourhood that goes with it: 8 with 4 and 4 with 8, 26 with
        6, and 6 with 18 and 26.

    Returns
    -------
    array
        Booleans, of the shape, kind and device of `mask`.

    Raises
    ------
    ValueError
        For another shape or connectivity, or 2^31 elements or more in one item.
    TypeError
        If `mask` is no array of booleans or integers.
    medkernels.BackendError
        For arrays on a GPU, unless ``MEDKERNELS_CPU_FALLBACK=1`` allows a copy through the CPU.

    Notes
    -----
    O(N) for N elements, as :func:`label`. Results do not depend on the number of threads. With connectivity
    8, 18 or 26 they equal those of ``scipy.ndimage.binary_fill_holes``.

    Neighbourhoods that go together: T. Y. Kong and A. Rosenfeld, "Digital topology: introduction and survey"
    (1989).

    Examples
    --------
    >>> import numpy as np
    >>> import medkernels as mk
    >>> ring = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]])
    >>> mk.regions.fill_holes(ring).astype(int)
    array([[0, 1, 0],
           [1, 1, 1],
           [0, 1, 0]])
    >>> mk.regions.fill_holes(ring, connectivity=4).astype(int)
    array([[0, 1, 0],
           [1, 0, 1],
           [0, 1, 0]])
    """
    connectivity = check_connectivity(connectivity)
    images = read_masks("mask", mask, DIMENSIONS[connectivity], "fill_holes")
    check_room("mask", images, 1)
    return images.masks(_core.regions.fill_holes(images.array, BACKGROUND[connectivity]))

"""Components of masks by their area."""

from __future__ import annotations

from typing import Any

from medkernels import _checks, _core
from medkernels.regions._images import DIMENSIONS, check_connectivity, check_room, read_masks


def area_open(mask: Any, min_area: int = 0, *, max_area: int | None = None, connectivity: int = 8) -> Any:
    """Keep the connected components of masks whose area lies within limits.

    With `min_area` alone this is the area opening, which removes specks; with `max_area` alone it leaves
    small components only.

    Parameters
    ----------
    mask
        Booleans or integers, of which all but 0 are set: pictures [H, W] or [B, H, W] where `connectivity` is
        4 or 8, volumes [D, H, W] or [B, D, H, W] where it is 6, 18 or 26.
    min_area
        Least number of elements of a component that stays.
    max_area
        Greatest number of elements of a component that stays; by default there is none.
    connectivity
        Neighbours of an element: 4 (sides) or 8 (corners too); 6 (faces), 18 (edges too), 26 (corners too).

    Returns
    -------
    array
        Booleans, of the shape, kind and device of `mask`.

    Raises
    ------
    ValueError
        For another shape or connectivity, negative areas, or 2^31 elements or more in one item.
    TypeError
        If `mask` is no array of booleans or integers, or an area no integer.
    medkernels.BackendError
        For arrays on a GPU, unless ``MEDKERNELS_CPU_FALLBACK=1`` allows a copy through the CPU.

    Notes
    -----
    O(N) for N elements, as :func:`label`. Results do not depend on the number of threads.

    L. Vincent, "Grayscale area openings and closings, their efficient implementation and applications"
    (1993).

    Examples
    --------
    >>> import numpy as np
    >>> import medkernels as mk
    >>> mask = np.array([[1, 1, 0, 1], [1, 0, 0, 0]])
    >>> mk.regions.area_open(mask, 2).astype(int)
    array([[1, 1, 0, 0],
           [1, 0, 0, 0]])
    >>> mk.regions.area_open(mask, max_area=2).astype(int)
    array([[0, 0, 0, 1],
           [0, 0, 0, 0]])
    """
    connectivity = check_connectivity(connectivity)
    least = _checks.check_count("min_area", min_area, 0)
    most = _checks.MAX_INDEX if max_area is None else _checks.check_count("max_area", max_area, 0)
    images = read_masks("mask", mask, DIMENSIONS[connectivity], "area_open")
    check_room("mask", images, 1)
    return images.masks(_core.regions.area_open(images.array, connectivity, least, most))

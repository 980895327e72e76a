"""Small bright regions: modified maximally stable extremal regions."""

from __future__ import annotations

from typing import Any

import numpy as np

from medkernels import _checks, _core
from medkernels.regions._found import regions
from medkernels.regions._images import Images, check_room
from medkernels.regions.mser import BYTES, WHITE, check_picture_connectivity, read_pictures

#: Share of a picture that a region may take, where the paper gives no number.
LARGEST_SHARE = 0.005


def mmser(
    image: Any,
    *,
    delta: int = 25,
    min_area: int = 3,
    max_area: int | None = None,
    min_level: int | None = None,
    connectivity: int = 8,
) -> Any:
    """Detect small bright regions whose area grows least as the level falls: specular highlights.

    A region is a component of the pixels at level g or brighter, and its growth is the number of pixels it
    gains until level g - delta. Kept are regions that grow by no more than their own area, no more than the
    next larger region and no more than any of the next smaller ones; of nested ones that grow alike, the
    smallest.

    Parameters
    ----------
    image
        uint8, pictures [H, W] or [B, H, W]: intensity.
    delta
        Grey levels, at least 1.
    min_area
        Least number of pixels of a region.
    max_area
        A region has fewer pixels than this; by default 0.5 % of the picture, at least `min_area` + 1.
    min_level
        Least level of a region; by default half of the largest value in the picture.
    connectivity
        Neighbours of a pixel: 4 (sides) or 8 (corners too).

    Returns
    -------
    mask : array
        Booleans, of the shape, kind and device of `image`: the pixels of all regions.
    regions : Regions
        A named tuple of arrays as :func:`mser` returns it, where `score` is the growth in pixels; for a batch
        a list of them. Regions come before those inside them.

    Raises
    ------
    ValueError
        For another shape, options out of range, or 2^31 pixels or more in one item.
    TypeError
        For another dtype.
    medkernels.BackendError
        For arrays on a GPU, unless ``MEDKERNELS_CPU_FALLBACK=1`` allows a copy through the CPU.

    Notes
    -----
    O(N) for N pixels as :func:`max_tree`, and O(delta) for each component. Results do not depend on the
    number of threads. The whole picture is never a region.

    "Specular Region Detection and Covariant Feature Extraction", ICPR 2024 (LNCS 15312): bright regions only,
    growth instead of relative variation, an upper limit of the area. The paper gives no numbers for `delta`
    and the areas and does not say which regions are neighbours; here these are the next larger and the next
    smaller ones.

    Examples
    --------
    >>> import numpy as np
    >>> import medkernels as mk
    >>> image = np.full((60, 80), 90, np.uint8)
    >>> image[10:13, 20:24] = 250
    >>> mask, found = mk.regions.mmser(image)
    >>> np.array_equal(mask, image == 250)
    True
    >>> found.score, found.centers
    (array([0]), array([[21.5, 11. ]]))
    """
    delta = _checks.check_count("delta", delta, 1, WHITE)
    connectivity = check_picture_connectivity(connectivity)
    min_area = _checks.check_count("min_area", min_area, 1)
    images = read_pictures(image, "mmser")
    limit = check_max_area(max_area, min_area, images.array[0].size if len(images.array) else 0)
    check_room("image", images, BYTES)
    levels = _levels(images, min_level)
    masks, found = _core.regions.mmser(images.array, connectivity, delta, min_area, limit, levels)
    return images.masks(masks), images.items([regions([(1, part)], images.restore) for part in found])


def check_max_area(max_area: Any, min_area: int, pixels: int) -> int:
    """The area that regions stay below."""
    if max_area is None:
        return max(round(LARGEST_SHARE * pixels), min_area + 1)
    return _checks.check_count("max_area", max_area, min_area + 1)


def _levels(images: Images, min_level: Any) -> Any:
    """The least level of a region in each item."""
    if min_level is not None:
        level = _checks.check_count("min_level", min_level, 0, WHITE)
        return np.full(len(images.array), level, np.int32)
    brightest = images.array.reshape(len(images.array), -1).max(axis=1, initial=0)
    return (brightest.astype(np.int32) + 1) // 2

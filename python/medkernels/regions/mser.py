"""Maximally stable extremal regions."""

from __future__ import annotations

from typing import Any

import numpy as np

from medkernels import _checks, _core
from medkernels.regions._found import Found, regions
from medkernels.regions._images import Images, check_connectivity, check_room, read_images

POLARITIES = ("both", "bright", "dark")
#: Bytes of a pixel on the way, of both polarities: levels, stacks, order, and up to 0.6 components.
BYTES = 96
#: Levels of a picture.
WHITE = 255


def mser(
    image: Any,
    *,
    delta: int = 5,
    min_area: int = 60,
    max_area: int = 14400,
    max_variation: float = 0.25,
    min_diversity: float = 0.2,
    polarity: str = "both",
    connectivity: int = 4,
) -> Any:
    """Detect maximally stable extremal regions: those whose area changes least with the grey level.

    The variation of a region at level g is (area at g - delta - area at g + delta) / area at g, for regions
    brighter than what is around them; between levels where nothing changes the nearest level inside counts,
    and where a region splits, its largest part. Stable is what varies less than the next larger region and no
    more than the next smaller ones of at least `min_area`. The whole picture is no region, and no region is
    compared with it.

    Parameters
    ----------
    image
        uint8, pictures [H, W] or [B, H, W].
    delta
        Grey levels to either side, at least 1.
    min_area, max_area
        Least and greatest number of pixels of a region, both included.
    max_variation
        Greatest variation, a fraction.
    min_diversity
        Of two nested regions that differ in less than this fraction of the larger one's area, the one with
        the larger variation is left out. 0 keeps all.
    polarity
        ``"bright"`` for regions brighter than what is around them, ``"dark"`` for darker ones, ``"both"``.
    connectivity
        Neighbours of a pixel: 4 (sides) or 8 (corners too).

    Returns
    -------
    Regions
        A named tuple of arrays of the kind of `image`: `elements` [P] and `offsets` [n + 1] (the pixels),
        `level` [n], `score` [n] (the variation), `polarity` [n], `centers` [n, 2], `axes` [n, 2] and `angles`
        [n] (the ellipses, as :func:`medkernels.render.ellipses` draws them); for a batch a list of them.
        Dark regions come before bright ones, and regions before those inside them.

    Raises
    ------
    ValueError
        For another shape, options out of range, 2^31 pixels or more in one item, counted with a border of
        one, or images too large for the memory that is free.
    TypeError
        For another dtype.
    medkernels.BackendError
        For arrays on a GPU, unless ``MEDKERNELS_CPU_FALLBACK=1`` allows a copy through the CPU.

    Notes
    -----
    O(N) for N pixels as :func:`max_tree`, and O(delta) for each component. Results do not depend on the
    number of threads.

    Defaults and neighbourhood are those of OpenCV's detector, and with ``min_diversity=0`` in both about
    three quarters of the regions are the same, pixel by pixel. What differs: OpenCV takes (area at g - area
    at g + delta) / area at g + delta for the variation, this function both sides, as the paper does; OpenCV
    compares a region with the largest of the next smaller ones only, this function with all; of nested
    regions that differ little OpenCV keeps the smaller one, this function the one that varies less.

    J. Matas et al., "Robust wide-baseline stereo from maximally stable extremal regions" (2004).

    Examples
    --------
    >>> import numpy as np
    >>> import medkernels as mk
    >>> image = np.full((40, 60), 50, np.uint8)
    >>> image[10:30, 20:50] = 200
    >>> found = mk.regions.mser(image, polarity="bright")
    >>> found.centers, found.polarity
    (array([[34.5, 19.5]]), array([1], dtype=int32))
    >>> pixels = found.elements[found.offsets[0] : found.offsets[1]]
    >>> len(pixels), bool((image.ravel()[pixels] == 200).all())
    (600, True)
    """
    _checks.check_choice("polarity", polarity, POLARITIES)
    delta = _checks.check_count("delta", delta, 1, WHITE)
    min_area = _checks.check_count("min_area", min_area, 1)
    max_area = _checks.check_count("max_area", max_area, min_area)
    options = (
        check_picture_connectivity(connectivity),
        delta,
        min_area,
        max_area,
        _checks.check_number("max_variation", max_variation),
        _checks.check_number("min_diversity", min_diversity),
    )
    images = read_pictures(image, "mser")
    check_room("image", images, BYTES)
    signs = {"both": (-1, 1), "dark": (-1,), "bright": (1,)}[polarity]
    found = iter(_core.regions.mser(images.array, [sign < 0 for sign in signs], *options))
    items = []
    for _ in images.array:
        parts = [(sign, _upright(sign, next(found))) for sign in signs]
        items.append(regions(parts, images.restore))
    return images.items(items)


def _upright(sign: int, found: Found) -> Found:
    """Levels of the picture, where a dark region was found in the negative."""
    elements, offsets, level, *rest = found
    return (elements, offsets, level if sign > 0 else WHITE - level, *rest)


def read_pictures(image: Any, op: str) -> Images:
    """Pictures of 8 bits."""
    images = read_images("image", image, 2, op)
    if images.array.dtype != np.uint8:
        raise TypeError(f"image must be uint8, not {images.array.dtype}")
    check_border("image", images)
    return images


def check_border(name: str, images: Images) -> None:
    """Refuse pictures that are too large with the border that they are worked on with."""
    height, width = images.array.shape[-2:]
    if (height + 2) * (width + 2) > _checks.MAX_INDEX:
        raise ValueError(
            f"{name} must have at most {_checks.MAX_INDEX} pixels with a border of one, "
            f"but has {height} x {width} without"
        )


def check_picture_connectivity(connectivity: Any) -> int:
    """`connectivity`, 4 or 8."""
    checked = check_connectivity(connectivity)
    if checked not in (4, 8):
        raise ValueError(f"connectivity must be 4 or 8, not {connectivity}")
    return checked

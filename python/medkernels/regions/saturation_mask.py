"""Bright pale pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from medkernels import _core
from medkernels.regions._images import Images, check_room, read_images

SHAPES = "[H, W, 3] or [B, H, W, 3]"


def saturation_mask(rgb: Any) -> Any:
    """Mark pixels that are bright and of low saturation, as highlights are and white tissue too.

    With the intensity I = (r + g + b) / 3 and the saturation S = 3/2 (r - I) where b + r >= 2 g, else 3/2 (I
    - b), these are the pixels with I >= max I / 2 and S <= max S / 3, the maxima being those of the picture.

    Parameters
    ----------
    rgb
        uint8, pictures [H, W, 3] or [B, H, W, 3] of red, green and blue.

    Returns
    -------
    array
        Booleans [H, W] or [B, H, W], of the kind and device of `rgb`.

    Raises
    ------
    ValueError
        For another shape, or 2^31 pixels or more in one item.
    TypeError
        For another dtype.
    medkernels.BackendError
        For arrays on a GPU, unless ``MEDKERNELS_CPU_FALLBACK=1`` allows a copy through the CPU.

    Notes
    -----
    O(N) for N pixels, in two passes and in whole numbers, so without rounding.

    "Specular Region Detection and Covariant Feature Extraction", ICPR 2024 (LNCS 15312), from the
    bidirectional histograms of intensity and saturation.

    Examples
    --------
    >>> import numpy as np
    >>> import medkernels as mk
    >>> rgb = np.array([[[200, 60, 40], [250, 245, 240], [90, 80, 80]]], dtype=np.uint8)
    >>> mk.regions.saturation_mask(rgb)
    array([[False,  True, False]])
    """
    images, shape = read_rgb(rgb, "saturation_mask")
    check_room("rgb", images, 1)
    found: npt.NDArray[np.uint8] = _core.regions.saturation_mask(images.array)
    return images.restore(found.reshape(shape).view(np.bool_))


def read_rgb(rgb: Any, op: str) -> tuple[Images, tuple[int, ...]]:
    """Pictures [B, H, W, 3] of 8 bits, and the shape of their masks."""
    images = read_images("rgb", rgb, 3, op, SHAPES)
    if images.array.dtype != np.uint8:
        raise TypeError(f"rgb must be uint8, not {images.array.dtype}")
    if images.shape[-1] != 3:
        raise ValueError(f"rgb must have shape {SHAPES}, but has shape {list(images.shape)}")
    return images, images.shape[:-1]

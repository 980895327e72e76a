"""Specular highlights."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from medkernels import _checks, _core
from medkernels.regions._images import check_room
from medkernels.regions.mmser import check_max_area
from medkernels.regions.mser import BYTES, WHITE
from medkernels.regions.saturation_mask import read_rgb

#: Largest pale patch that is a highlight: the paper has 20 pixels for frames of a size that it does not give,
#: taken to be 384 x 288 here, and adapts the number to the size.
PATCH_SHARE = 20 / (384 * 288)


def specular_mask(
    rgb: Any,
    *,
    delta: int = 25,
    min_area: int = 3,
    max_area: int | None = None,
    max_patch: int | None = None,
) -> Any:
    """Mark specular highlights, but not white tissue.

    Highlights are the small bright regions that :func:`mmser` finds in the intensity (r + g + b) / 3,
    rounded, and the small components of :func:`saturation_mask`.

    Parameters
    ----------
    rgb
        uint8, pictures [H, W, 3] or [B, H, W, 3] of red, green and blue.
    delta, min_area, max_area
        Of the bright regions, as :func:`mmser` takes them.
    max_patch
        Greatest number of pixels of a component that is bright and pale; by default 20 in a picture of 384 x
        288 pixels and in proportion in others, at least 1. 0 leaves these components out.

    Returns
    -------
    array
        Booleans [H, W] or [B, H, W], of the kind and device of `rgb`.

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
    O(N) for N pixels, as :func:`max_tree`. Results do not depend on the number of threads, which share the
    pictures of a batch.

    "Specular Region Detection and Covariant Feature Extraction", ICPR 2024 (LNCS 15312): the union of both
    masks. Its constants are 20 pixels, half of the greatest intensity and a third of the greatest saturation;
    `delta` and the areas are ours.

    Examples
    --------
    >>> import numpy as np
    >>> import medkernels as mk
    >>> rgb = np.full((60, 80, 3), (170, 70, 60), np.uint8)  # tissue
    >>> rgb[30:50, 40:70] = 180, 170, 160  # white tissue
    >>> rgb[10:13, 20:24] = rgb[40:42, 50:53] = 255  # highlights
    >>> mask = mk.regions.specular_mask(rgb)
    >>> np.array_equal(mask, rgb.min(axis=2) == 255)
    True
    """
    delta = _checks.check_count("delta", delta, 1, WHITE)
    min_area = _checks.check_count("min_area", min_area, 1)
    images, shape = read_rgb(rgb, "specular_mask")
    pixels = int(np.prod(shape[-2:]))
    limit = check_max_area(max_area, min_area, pixels)
    if max_patch is None:
        patch = max(round(PATCH_SHARE * pixels), 1)
    else:
        patch = _checks.check_count("max_patch", max_patch, 0)
    check_room("rgb", images, BYTES // 3)
    found: npt.NDArray[np.uint8] = _core.regions.specular_mask(images.array, delta, min_area, limit, patch)
    return images.restore(found.reshape(shape).view(np.bool_))

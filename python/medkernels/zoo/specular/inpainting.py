"""Highlights replaced by what surrounds them."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt, find_objects, gaussian_filter

from medkernels.regions import label

METHODS = ("navier-stokes", "blend")
GROWN = 1  # px by which a mask is widened: the rim of a highlight is half highlight
NEAR = 3  # px from which a value is taken, for Navier-Stokes
RING = 2  # px, width of the rim whose mean colour fills a component, for the blend
BLUR = 8.0  # px, standard deviation of the blurred filling
FADE = 10.0  # px over which the blend goes over into the picture

Pixels = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]


def inpaint(rgb: Pixels, mask: Bools, *, method: str = "navier-stokes", grow: int = GROWN) -> Pixels:
    """Fill the marked pixels of a picture from those around them.

    Parameters
    ----------
    rgb : [H,W,3] uint8
        Not changed.
    mask : [H,W] bool
        The pixels to fill.
    method : {"navier-stokes", "blend"}
        "navier-stokes" continues lines of equal brightness into the mask and changes nothing outside it.
        "blend" fills each component with the mean colour of its rim, blurs the result and fades it into the
        picture within 10 px of the mask, so pixels around it change too.
    grow : int
        Widen the mask by so many pixels first, 0 or more. The pixels at the line of a highlight are
        partly highlight; filling from them would leave it visible.

    Returns
    -------
    array [H,W,3] uint8
        A copy of the picture if nothing is marked, or if nothing is left to fill from.

    Raises
    ------
    TypeError, ValueError
        For other dtypes, shapes or options.

    Notes
    -----
    O(n) for n marked pixels, and for "blend" O(H W). "navier-stokes" is OpenCV's, after M. Bertalmio, A. L.
    Bertozzi and G. Sapiro, "Navier-Stokes, fluid dynamics, and image and video inpainting" (2001). "blend"
    follows M. Arnold et al., "Automatic segmentation and inpainting of specular highlights for endoscopic
    imaging" (2010).

    Examples
    --------
    >>> import numpy as np
    >>> rgb = np.full((40, 40, 3), (150, 70, 60), np.uint8)
    >>> mask = np.zeros((40, 40), bool)
    >>> mask[18:22, 18:22] = True
    >>> rgb[mask] = 255
    >>> np.unique(inpaint(rgb, mask), axis=None)
    array([ 60,  70, 150], dtype=uint8)
    """
    rgb, mask = check_picture(rgb), np.ascontiguousarray(mask)
    if mask.dtype != np.bool_:
        raise TypeError(f"mask must be bool, not {mask.dtype}")
    if mask.shape != rgb.shape[:2]:
        raise ValueError(f"mask must have shape {list(rgb.shape[:2])} as rgb, but has {list(mask.shape)}")
    check_options(method, grow)
    if grow and mask.any():
        widened = cv2.dilate(mask.view(np.uint8), np.ones((3, 3), np.uint8), iterations=int(grow))
        mask = np.asarray(widened).view(np.bool_)
    if mask.all() or not mask.any():
        return rgb.copy()
    if method == "blend":
        return _blend(rgb, mask)
    # Colours in any order: OpenCV fills the channels one by one.
    filled = cv2.inpaint(np.ascontiguousarray(rgb), mask.view(np.uint8), NEAR, cv2.INPAINT_NS)
    return np.asarray(filled, np.uint8)


def check_options(method: Any, grow: Any, name: str = "method") -> None:
    """Raise ValueError unless `inpaint` can take these; `name` is what the caller calls the first."""
    if method not in METHODS:
        raise ValueError(f"{name} must be {' or '.join(METHODS)}, not {method!r}")
    if isinstance(grow, bool) or not isinstance(grow, (int, np.integer)) or grow < 0:
        raise ValueError(f"grow must be a whole number of at least 0, not {grow!r}")


def check_picture(rgb: Any) -> Pixels:
    """`rgb` as an array [H,W,3] uint8; raises TypeError or ValueError for anything else."""
    array = np.asarray(rgb)
    if array.dtype != np.uint8:
        raise TypeError(f"rgb must be uint8, not {array.dtype}")
    if array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        raise ValueError(f"rgb must have shape [H, W, 3], but has shape {list(array.shape)}")
    return array


def _blend(rgb: Pixels, mask: Bools) -> Pixels:
    filled = fill(rgb, mask)
    blurred = gaussian_filter(filled, (BLUR, BLUR, 0), mode="nearest")
    away = distance_transform_edt(~mask)
    weight = np.where(away < FADE, (1 + np.cos(np.pi * away / FADE)) / 2, 0)[..., None]
    return np.asarray(np.rint(weight * blurred + (1 - weight) * rgb), np.uint8)


def fill(rgb: Pixels, mask: Bools) -> npt.NDArray[np.float32]:
    """The picture with each 8-connected component of `mask` in the mean colour of the 2 px around it."""
    filled = rgb.astype(np.float32)
    outside = filled[~mask].mean(axis=0)  # for components whose rim is marked too
    labels, _ = label(mask, connectivity=8)
    kernel = np.ones((2 * RING + 1,) * 2, np.uint8)
    for number, box in enumerate(find_objects(labels), 1):
        window = tuple(slice(max(part.start - RING, 0), part.stop + RING) for part in box)
        part = labels[window] == number
        rim = np.asarray(cv2.dilate(part.view(np.uint8), kernel)).view(np.bool_) & ~mask[window]
        filled[window][part] = rgb[window][rim].mean(axis=0) if rim.any() else outside
    return filled

"""Figures and arrays as PNG pictures inside a page."""

from __future__ import annotations

import base64
import io
import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

# Dots per inch of matplotlib figures: sharp on screens of double density at the usual page width.
_DPI = 160
# Pictures below this size are enlarged on the page without smoothing, so that pixels stay visible.
_SMALL = 128
# Longest side of an embedded picture, px; larger ones are reduced.
_LARGEST = 2400


@dataclass(frozen=True)
class Picture:
    """A picture as a page holds it."""

    source: str  # data URL
    alt: str
    width: int  # CSS px at natural size
    pixelated: bool


def embed(figure: Figure | Any, caption: str, alt: str | None) -> Picture:
    """Encode a matplotlib figure or an array (as `Report.figure` takes them) into a data URL."""
    buffer = io.BytesIO()
    if isinstance(figure, Figure):
        figure.savefig(buffer, format="png", dpi=_DPI, bbox_inches="tight")
        width, scale = Image.open(buffer).width, 96 / _DPI  # 96 CSS px an inch
        pixelated = False
    else:
        image = Image.fromarray(_pixels(figure))
        image.thumbnail((_LARGEST, _LARGEST), Image.Resampling.LANCZOS)
        image.save(buffer, format="png", optimize=True)
        width, pixelated = image.width, max(image.size) < _SMALL
        scale = math.ceil(_SMALL / max(image.size)) if pixelated else 1
    encoded = base64.b64encode(buffer.getvalue()).decode("ascii")
    return Picture(
        source=f"data:image/png;base64,{encoded}",
        alt=re.sub(r"[*_`]", "", caption) if alt is None else alt,
        width=round(width * scale),
        pixelated=pixelated,
    )


def _pixels(array: Any) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A picture as uint8, ``[H,W]`` or ``[H,W,3|4]``."""
    pixels = np.asarray(array)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (3, 4)) or 0 in pixels.shape:
        raise ValueError(f"picture: want shape [H,W], [H,W,3] or [H,W,4], got {list(np.shape(array))}")
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype == np.bool_:
        return pixels.astype(np.uint8) * 255
    if not np.issubdtype(pixels.dtype, np.floating):
        raise TypeError(f"picture: want uint8, bool or float, got {pixels.dtype}")
    # A hair beyond [0, 1] is rounding; more is a picture on another scale.
    if not (pixels.min() >= -1e-3 and pixels.max() <= 1 + 1e-3):
        raise ValueError(f"picture: floats must lie in [0, 1], got {pixels.min():.4g} to {pixels.max():.4g}")
    return np.round(pixels.clip(0, 1) * 255).astype(np.uint8)

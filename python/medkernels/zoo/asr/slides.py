"""Opening histology images of any size: RGB regions as uint8; of a large TIFF only those are decoded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import tifffile
import zarr
from PIL import Image, ImageOps

Pixels = npt.NDArray[np.uint8]

TIFF_SUFFIXES = (".tif", ".tiff", ".svs", ".ndpi", ".scn", ".btf")
PILLOW_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
SUFFIXES = TIFF_SUFFIXES + PILLOW_SUFFIXES


class Slide(Protocol):
    """An open image."""

    @property
    def height(self) -> int:
        """Rows."""

    @property
    def width(self) -> int:
        """Columns."""

    def read(self, top: int, left: int, height: int, width: int) -> Pixels:
        """A region [height,width,3] uint8."""
        ...


@dataclass(frozen=True)
class Picture:
    """An image that is in memory."""

    pixels: Pixels  # [H,W,3]

    @property
    def height(self) -> int:
        """Rows."""
        return len(self.pixels)

    @property
    def width(self) -> int:
        """Columns."""
        return int(self.pixels.shape[1])

    def read(self, top: int, left: int, height: int, width: int) -> Pixels:
        """A region [height,width,3] uint8."""
        return self.pixels[top : top + height, left : left + width]


@dataclass(frozen=True)
class TiffRegion:
    """The full-resolution level of a TIFF, decoded region by region.

    Attributes
    ----------
    array : zarr array
        Axes as in ``axes``.
    axes : str
        "YX", "YXS" or "SYX"; S are samples.
    photometric : int
        How values mean colours.
    colormap : array or None
        [3,N] uint16 of a palette image.
    """

    array: Any
    axes: str
    photometric: int
    colormap: npt.NDArray[np.uint16] | None

    @property
    def height(self) -> int:
        """Rows."""
        return int(self.array.shape[self.axes.index("Y")])

    @property
    def width(self) -> int:
        """Columns."""
        return int(self.array.shape[self.axes.index("X")])

    def read(self, top: int, left: int, height: int, width: int) -> Pixels:
        """A region [height,width,3] uint8."""
        rows, columns = slice(top, top + height), slice(left, left + width)
        if self.axes == "SYX":
            values = np.moveaxis(np.asarray(self.array[:, rows, columns]), 0, -1)
        else:
            values = np.asarray(self.array[rows, columns])
        if self.colormap is not None:
            return to_rgb(np.moveaxis(self.colormap, 0, -1)[values])
        values = to_uint8(values)
        return to_rgb(255 - values if self.photometric == tifffile.PHOTOMETRIC.MINISWHITE else values)


@contextmanager
def open_slide(path: Path) -> Iterator[Slide]:
    """Open an image file; grey, 16-bit, palette and transparent images come out as RGB on white.

    Parameters
    ----------
    path : Path
        PNG, JPEG, BMP, WebP, or TIFF (striped, tiled, pyramidal; of several images the largest).

    Raises
    ------
    ValueError
        If it is no image of a kind that can be read; says why.
    OSError
        If the file cannot be read.
    """
    if path.suffix.lower() in TIFF_SUFFIXES:
        with tifffile.TiffFile(path) as file:
            if not file.series:
                raise ValueError("no image in it; the file is damaged")
            series = max(file.series, key=lambda one: one.size)
            with series.aszarr(level=0) as store:
                yield _tiff_region(zarr.open(store, mode="r"), series.levels[0].axes, series.keyframe)
    elif path.suffix.lower() in PILLOW_SUFFIXES:
        with Image.open(path) as image:
            yield Picture(_pillow_pixels(image))
    else:
        raise ValueError(f"not an image file; want one of {', '.join(SUFFIXES)}")


def _tiff_region(opened: Any, axes: str, page: Any) -> TiffRegion:
    # A pyramid opens as a group of levels; the first is the full resolution.
    array: Any = opened["0"] if isinstance(opened, zarr.Group) else opened
    axes = "SYX" if axes == "CYX" and array.shape[0] in (3, 4) else axes
    if axes not in ("YX", "YXS", "SYX"):
        raise ValueError(f"axes are {axes} with shape {list(array.shape)}; want one flat image")
    if page.photometric in (tifffile.PHOTOMETRIC.SEPARATED, tifffile.PHOTOMETRIC.CIELAB):
        raise ValueError(f"colours are {page.photometric.name}; convert the file to RGB")
    colormap = page.colormap if page.photometric == tifffile.PHOTOMETRIC.PALETTE else None
    return TiffRegion(array, axes, int(page.photometric), colormap)


def _pillow_pixels(image: Image.Image) -> Pixels:
    image = ImageOps.exif_transpose(image)
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        values = np.asarray(image)
        # Pillow widens 16-bit grey to 32-bit integers.
        return to_rgb(to_uint8(values.astype(np.uint16) if image.mode == "I" else values))
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        return to_rgb(np.asarray(image.convert("RGBA")))
    return np.asarray(image.convert("RGB"))


def to_uint8(values: npt.NDArray[Any]) -> Pixels:
    """Full range of the type to 0..255; floats must lie in [0, 1].

    Raises
    ------
    ValueError
        If the values have another type or range.
    """
    if values.dtype == np.uint8:
        return values
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * 255
    if values.dtype == np.uint16:
        return np.round(values / 257).astype(np.uint8)
    if np.issubdtype(values.dtype, np.floating):
        if not (values.min() >= 0 and values.max() <= 1):
            raise ValueError(f"float pixels must lie in [0, 1], got {values.min():.4g} to {values.max():.4g}")
        return np.round(values * 255).astype(np.uint8)
    raise ValueError(f"pixels are {values.dtype}; want 8 or 16 bits a channel, or floats in [0, 1]")


def to_rgb(values: npt.NDArray[Any]) -> Pixels:
    """[H,W] or [H,W,1..4] -> [H,W,3] uint8; transparent pixels become white, as glass is.

    Raises
    ------
    ValueError
        If there are more than four samples a pixel.
    """
    values = to_uint8(values)
    if values.ndim == 2:
        values = values[..., None]
    samples = values.shape[2]
    if samples > 4:
        raise ValueError(f"{samples} channels; want grey or RGB")
    color = np.repeat(values[..., :1], 3, axis=2) if samples < 3 else values[..., :3]
    if samples in (1, 3):
        return np.ascontiguousarray(color)
    cover = values[..., -1:].astype(np.float32) / 255
    return np.round(color * cover + 255 * (1 - cover)).astype(np.uint8)

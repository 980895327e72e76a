"""Pictures and masks in files: PNG, JPEG, TIFF and BMP, in any of their usual kinds of pixels."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image, ImageOps

from medkernels.zoo.engine.files import replacing
from medkernels.zoo.specular.inpainting import Bools, Pixels

IMAGES = frozenset({".png", ".jpg", ".jpeg", ".jpe", ".tif", ".tiff", ".bmp"})
VIDEOS = frozenset({".mp4", ".avi", ".mov", ".mkv", ".m4v", ".mpg", ".mpeg", ".webm", ".wmv"})
TIFFS = frozenset({".tif", ".tiff"})
DAMAGED = (
    OSError,
    ValueError,
    KeyError,
    IndexError,
    SyntaxError,
    RuntimeError,
    tifffile.TiffFileError,
    Image.DecompressionBombError,
)

Array = npt.NDArray[Any]


def read_image(path: Path) -> Pixels:
    """Read a picture as [H,W,3] uint8.

    Grey pictures get three equal channels. Of 16 bits the upper 8 are kept, so 65535 is white whatever the
    greatest value in the picture; floating-point values are to lie in [0, 1]. What is transparent is laid
    over black. Pictures that say how they are to be turned are turned.

    Raises
    ------
    OSError, ValueError
        If there is no such file, or it is damaged, or not a single picture; see ``DAMAGED`` for all kinds.
    """
    pixels = _to_bytes(_read(path))
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    if pixels.ndim != 3 or pixels.shape[2] not in (2, 3, 4) or 0 in pixels.shape:
        raise ValueError(f"want a grey or colour picture, got an array of shape {list(pixels.shape)}")
    if pixels.shape[2] in (2, 4):
        cover = pixels[..., -1:].astype(np.uint16)
        pixels = ((pixels[..., :-1] * cover + 127) // 255).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))


def read_mask(path: Path) -> Bools:
    """Read a mask [H,W]: pixels of more than half of what is white in the file, or 1 if it holds 0 and 1.

    Raises
    ------
    OSError, ValueError
        As `read_image`; also if the greatest value is neither 0, 1 nor above half of white: these are no
        masks, but perhaps numbered labels.
    """
    values = _read(path)
    if values.ndim == 3:  # the alpha channel says nothing about a mask
        values = values[..., : 3 if values.shape[2] > 2 else 1].max(axis=2)
    if values.ndim != 2 or 0 in values.shape:
        raise ValueError(f"want a mask, got an array of shape {list(values.shape)}")
    if values.dtype == np.bool_:
        return np.ascontiguousarray(values)
    white = np.iinfo(values.dtype).max if np.issubdtype(values.dtype, np.integer) else 1
    greatest = values.max()
    if greatest <= 1:
        return np.asarray(values > 0.5)
    if greatest <= white / 2:
        raise ValueError(f"want a mask of 0 and 1, or 0 and {white}, but the greatest value is {greatest}")
    return np.asarray(values > white / 2)


def write_png(path: Path, pixels: Array) -> None:
    """Write [H,W,3] uint8 or a mask [H,W] bool, whole or not at all.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    stored = pixels.astype(np.uint8) * 255 if pixels.dtype == np.bool_ else pixels[..., ::-1]
    done, data = cv2.imencode(".png", np.ascontiguousarray(stored))
    if not done:
        raise OSError(f"{path}: OpenCV cannot encode a picture of shape {list(pixels.shape)}")
    with replacing(path) as temporary:
        temporary.write_bytes(data.tobytes())


def natural(text: str) -> list[tuple[int, str]]:
    """A key by which 2.png comes before 10.png."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", text.lower())]


def _read(path: Path) -> Array:
    if path.suffix.lower() in TIFFS:
        with tifffile.TiffFile(path) as file:
            if len(file.pages) != 1:
                raise ValueError(f"holds {len(file.pages)} pictures, want one")
            page: Any = file.pages[0]
            if page.photometric in (tifffile.PHOTOMETRIC.RGB, tifffile.PHOTOMETRIC.MINISBLACK):
                values: Array = page.asarray()
                planar = values.ndim == 3 and page.planarconfig == tifffile.PLANARCONFIG.SEPARATE
                return np.moveaxis(values, 0, 2) if planar else values
    with Image.open(path) as image:
        turned = ImageOps.exif_transpose(image)
        if turned.mode in ("1", "L", "LA", "RGB", "RGBA") or turned.mode.startswith(("I", "F")):
            return np.asarray(turned)
        return np.asarray(turned.convert("RGBA" if turned.has_transparency_data else "RGB"))


def _to_bytes(values: Array) -> Pixels:
    if values.dtype == np.uint8:
        return values
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * 255
    if np.issubdtype(values.dtype, np.floating):
        if not (values.min(initial=0) >= 0 and values.max(initial=0) <= 1):  # also catches NaN
            raise ValueError("floating-point values must lie in [0, 1]")
        return np.asarray(np.rint(values * 255), np.uint8)
    if not np.issubdtype(values.dtype, np.integer):
        raise ValueError(f"want 8 or 16 bits a channel, got {values.dtype}")
    if values.min(initial=0) < 0 or values.max(initial=0) > 65535:
        raise ValueError(f"want 8 or 16 bits a channel, got values {values.min()} to {values.max()}")
    return np.asarray(values >> 8, np.uint8)

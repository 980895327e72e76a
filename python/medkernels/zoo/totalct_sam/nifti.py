"""NIfTI and its kin: volumes in, labels out."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
from nibabel.spatialimages import SpatialImage

from medkernels.zoo.engine.files import replacing, write_text
from medkernels.zoo.totalct_sam.volume import Floats, Labels

ENDINGS = (".nii.gz", ".nii", ".mgz", ".mgh")
# Of the units that a header may name, in mm; images that name none are in mm.
MILLIMETRES = {"meter": 1e3, "mm": 1.0, "micron": 1e-3, "unknown": 1.0}


def is_nifti(path: Path) -> bool:
    """Whether the file's name says that it is such an image."""
    return path.name.lower().endswith(ENDINGS)


def stem(path: Path) -> str:
    """The file's name without its ending."""
    ending = next((end for end in ENDINGS if path.name.lower().endswith(end)), path.suffix)
    return path.name[: len(path.name) - len(ending)]


def read_nifti(path: Path) -> tuple[npt.NDArray[Any], Floats]:
    """Values [X,Y,Z], scaled as the header says, and the affine to mm.

    Raises
    ------
    OSError, ValueError
        If it is not a readable 3-D image, or does not say where its voxels lie.
    """
    try:
        image = nibabel.load(path)
    except nibabel.filebasedimages.ImageFileError as error:
        raise ValueError(f"not an image that can be read ({error})") from error
    if not isinstance(image, SpatialImage):
        raise ValueError(f"want a 3-D image, got {type(image).__name__}")
    shape = image.shape
    if len(shape) == 4 and shape[3] == 1:
        shape = shape[:3]
    if len(shape) != 3 or 0 in shape:
        raise ValueError(f"want a 3-D image, got shape {list(image.shape)}")
    header: Any = image.header
    if "qform_code" in header and not (header["qform_code"] or header["sform_code"]):
        raise ValueError("the header does not say where the voxels lie (sform_code and qform_code are 0)")
    affine = np.array(image.affine, np.float64)
    if hasattr(header, "get_xyzt_units"):
        affine[:3] *= MILLIMETRES[header.get_xyzt_units()[0]]
    try:
        values = np.asanyarray(image.dataobj).reshape(shape)
    except (zlib.error, gzip.BadGzipFile, EOFError, ValueError) as error:
        raise ValueError(f"the file is damaged ({error})") from error
    return values, affine


def read_mask(path: Path, shape: tuple[int, ...], affine: Floats) -> npt.NDArray[np.bool_]:
    """A mask, true above 0, on the grid of another image.

    Raises
    ------
    OSError, ValueError
        If it cannot be read, or lies on another grid.
    """
    values, own = read_nifti(path)
    _check_grid(path, values.shape, own, shape, affine)
    return values > 0


def read_labels(path: Path, shape: tuple[int, ...], affine: Floats, classes: int) -> Labels:
    """Numbers of structures, on the grid of another image.

    Raises
    ------
    OSError, ValueError
        If they cannot be read, lie on another grid, or are no whole numbers from 0 to `classes`.
    """
    values, own = read_nifti(path)
    _check_grid(path, values.shape, own, shape, affine)
    if values.dtype.kind == "f" and not (np.isfinite(values).all() and (values == np.rint(values)).all()):
        raise ValueError(f"{path.name} holds numbers that are not whole")
    if values.min() < 0 or values.max() > classes:
        raise ValueError(
            f"{path.name} holds labels from {values.min():g} to {values.max():g}; want 0 to {classes}"
        )
    return values.astype(np.uint8)


def write_labels(path: Path, labels: Labels, affine: Floats, classes: Sequence[str]) -> list[Path]:
    """Write labels as NIfTI, and the names of the numbers as JSON beside it; return both paths."""
    image = _image(labels, affine)
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    _write(path, image)
    names = {str(number): name for number, name in enumerate(classes, start=1)}
    table = path.with_name(f"{stem(path)}.json")
    write_text(table, json.dumps(names, indent=2) + "\n")
    return [path, table]


def write_volume(path: Path, values: npt.NDArray[Any], affine: Floats) -> None:
    """Write Hounsfield units as NIfTI, 16 bits a voxel."""
    _write(path, _image(np.rint(values).astype(np.int16), affine))


def _image(values: npt.NDArray[Any], affine: Floats) -> Any:
    create: Any = nibabel.Nifti1Image
    image = create(values, affine)
    image.header.set_xyzt_units("mm")
    return image


def _write(path: Path, image: Any) -> None:
    with replacing(path) as temporary, temporary.open("wb") as file:
        if path.name.endswith(".gz"):
            # No time and no name inside, so that equal labels make equal files.
            with gzip.GzipFile("", "wb", compresslevel=4, fileobj=file, mtime=0) as packed:
                image.to_stream(packed)
        else:
            image.to_stream(file)


def _check_grid(
    path: Path, shape: tuple[int, ...], affine: Floats, wanted: tuple[int, ...], other: Floats
) -> None:
    if shape != wanted:
        raise ValueError(f"{path.name} has shape {list(shape)}, but the scan has {list(wanted)}")
    corners = np.array(np.meshgrid(*[[0, n - 1] for n in wanted], indexing="ij")).reshape(3, -1)
    apart = np.abs((affine - other)[:3, :3] @ corners + (affine - other)[:3, 3:]).max()
    if apart > 0.1 * np.linalg.norm(other[:3, :3], axis=0).min():
        raise ValueError(f"{path.name} lies elsewhere: its corners are up to {apart:.3g} mm from the scan's")

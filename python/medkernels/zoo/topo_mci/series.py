"""Series of one subject: from an fMRI image and an atlas, or from a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
import scipy.io
from nibabel.spatialimages import SpatialImage

from medkernels.zoo.topo_mci.atlas import Atlas

IMAGES = (".nii", ".nii.gz", ".hdr", ".img", ".mgz", ".mgh")
TABLES = (".csv", ".tsv", ".txt", ".1d", ".npy", ".mat")
# Of the units that a NIfTI header may name, in mm; images that name none are in mm.
MILLIMETRES = {"meter": 1e3, "mm": 1.0, "micron": 1e-3, "unknown": 1.0}

Floats = npt.NDArray[np.float64]


def is_image(path: Path) -> bool:
    """Whether the file's name says that it is an image."""
    return path.name.lower().endswith(IMAGES)


def is_table(path: Path) -> bool:
    """Whether the file's name says that it holds series."""
    return path.name.lower().endswith(TABLES)


def read_image(path: Path, atlas: Atlas, radius: float) -> Floats:
    """Series [n,T] of an atlas's ROIs from a file that nibabel reads; see `sphere_means`.

    Raises
    ------
    OSError, ValueError
        If it is not a readable 4-D image, or as `sphere_means`.
    """
    try:
        image = nibabel.load(path)
    except nibabel.filebasedimages.ImageFileError as error:
        raise ValueError(f"not an image that can be read ({error})") from error
    if not isinstance(image, SpatialImage):
        raise ValueError(f"want a 4-D image, got {type(image).__name__}")
    return sphere_means(image, atlas, radius)


def sphere_means(image: SpatialImage, atlas: Atlas, radius: float = 5.0) -> Floats:
    """Mean over the voxels of a sphere around each ROI, at each time.

    A voxel belongs to a sphere if its centre, taken to mm by the image's affine, lies within the radius.

    Parameters
    ----------
    image : nibabel image
        4-D, its last axis time, in the space of the atlas.
    atlas : Atlas
    radius : float
        mm.

    Returns
    -------
    array
        [n,T] float64.

    Raises
    ------
    ValueError
        If the image is not 4-D or does not say where its voxels lie, or if the sphere of an ROI, which is
        named, holds no voxel.
    """
    if len(image.shape) != 4 or 0 in image.shape:
        raise ValueError(f"want a 4-D image (x, y, z, time), got shape {list(image.shape)}")
    affine = _affine(image)
    spheres = [_sphere(center, radius, affine, image.shape[:3]) for center in atlas.coordinates]
    empty = [n for n, voxels in enumerate(spheres) if not len(voxels[0])]
    if empty:
        where = ", ".join(f"{value:g}" for value in atlas.coordinates[empty[0]])
        more = f", nor do {len(empty) - 1} more" if len(empty) > 1 else ""
        raise ValueError(
            f"ROI {atlas.names[empty[0]]!r} at ({where}) mm has no voxel within {radius:g} mm{more}; "
            "is the image in the space of the atlas?"
        )
    values = image.get_fdata(dtype=np.float32, caching="unchanged")
    return np.stack([values[voxels].mean(axis=0, dtype=np.float64) for voxels in spheres])


def read_table(path: Path, *, roi_axis: int = 0, variable: str | None = None) -> Floats:
    """Series [n,T] from a file of numbers.

    Parameters
    ----------
    path : path
        CSV, TSV, TXT or 1D (numbers parted by commas, semicolons or blanks, perhaps below a line of names),
        NPY, or MAT up to version 7.2.
    roi_axis : {0, 1}
        0: a row a ROI; 1: a column a ROI.
    variable : str, optional
        Name of the matrix in a MAT file; needed if it holds several.

    Raises
    ------
    OSError, ValueError
        If it holds no matrix of real numbers.
    """
    kind = path.suffix.lower()
    if kind == ".npy":
        with path.open("rb") as file:
            values: Any = np.lib.format.read_array(file, allow_pickle=False)
    elif kind == ".mat":
        values = _read_mat(path, variable)
    else:
        values = _read_text(path)
    if values.ndim != 2 or 0 in values.shape:
        raise ValueError(f"want a matrix of series, got shape {list(values.shape)}")
    if values.dtype.kind not in "biuf":
        raise ValueError(f"want real numbers, got {values.dtype}")
    series: Floats = np.ascontiguousarray(values.T if roi_axis else values, np.float64)
    return series


def _affine(image: SpatialImage) -> Floats:
    """From voxel indices to mm."""
    header: Any = image.header
    if "qform_code" in header and not (header["qform_code"] or header["sform_code"]):
        raise ValueError("the header does not say where the voxels lie (sform_code and qform_code are 0)")
    affine = np.array(image.affine, np.float64)
    if hasattr(header, "get_xyzt_units"):
        affine[:3] *= MILLIMETRES[header.get_xyzt_units()[0]]
    if not np.isfinite(affine).all() or np.linalg.matrix_rank(affine[:3, :3]) < 3:
        raise ValueError("the affine of the image cannot be inverted")
    return affine


def _sphere(
    center: Floats, radius: float, affine: Floats, shape: tuple[int, ...]
) -> tuple[npt.NDArray[np.int64], ...]:
    """Indices (i, j, k) of the voxels whose centres lie within the radius."""
    inverse = np.linalg.inv(affine[:3, :3])
    middle = inverse @ (center - affine[:3, 3])
    reach = radius * np.linalg.norm(inverse, axis=1)  # half the box of voxels that holds the sphere
    low = np.maximum(np.ceil(middle - reach), 0)
    high = np.minimum(np.floor(middle + reach), np.array(shape) - 1)
    axes = [np.arange(first, last + 1, dtype=np.int64) for first, last in zip(low, high, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    away = np.linalg.norm(grid @ affine[:3, :3].T + affine[:3, 3] - center, axis=1)
    return tuple(grid[away <= radius].T)


def _read_text(path: Path) -> npt.NDArray[Any]:
    lines = [line for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    lines = [line for line in lines if not line.lstrip().startswith("#")]
    if not lines:
        raise ValueError("the file is empty")
    delimiter = next((mark for mark in ",;\t" if mark in lines[0]), None)
    try:
        [float(word) for word in lines[0].split(delimiter) if word.strip()]
    except ValueError:
        lines = lines[1:]
    if not lines:
        raise ValueError("the file holds names and no numbers")
    return np.loadtxt(lines, delimiter=delimiter, ndmin=2)


def _read_mat(path: Path, variable: str | None) -> npt.NDArray[Any]:
    try:
        content = scipy.io.loadmat(path)
    except NotImplementedError as error:
        raise ValueError("MAT files of version 7.3 are not read; save with -v7, or as NPY or CSV") from error
    # SciPy raises many kinds of error on damaged files, TypeError and struct.error among them.
    except Exception as error:
        raise ValueError(f"not a readable MAT file ({error})") from error
    matrices = {
        name: value
        for name, value in content.items()
        if not name.startswith("__") and isinstance(value, np.ndarray) and min(value.shape, default=0) > 1
    }
    if variable is None and len(matrices) == 1:
        return np.asarray(next(iter(matrices.values())))
    if variable not in content:
        listed = ", ".join(sorted(matrices)) or "none"
        what = "one matrix" if variable is None else f"the variable {variable!r}"
        raise ValueError(f"want {what}, the file holds: {listed}; name one with variable")
    return np.asarray(content[variable])

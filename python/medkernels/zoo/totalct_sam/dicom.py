"""Series of DICOM slices: classic files of one slice each, and enhanced files of many frames."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from medkernels.zoo.totalct_sam.volume import Floats

MAGIC = b"DICM"  # behind 128 bytes of a DICOM file
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
UNEVEN = 0.1  # of the gap between slices: beyond it a slice is missing
TURNED = 1e-3  # greatest difference of direction cosines within a series


@dataclass(frozen=True)
class Slice:
    """One slice: where its first voxel lies, where rows and columns run to, and how far voxels are apart."""

    position: Floats  # [3] mm, DICOM's patient axes (left, posterior, superior)
    orientation: Floats  # [2,3]: along a row, and along a column
    spacing: Floats  # [2] mm: between rows, and between columns
    thickness: float
    values: npt.NDArray[np.float32]  # [rows,columns] HU


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM by its content."""
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == MAGIC
    except OSError:
        return False


def list_series(folder: Path) -> dict[str, list[Path]]:
    """Files of CT images directly in a folder, by their series; other DICOM files are left out."""
    series: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if not path.is_file() or path.name.startswith(".") or not is_dicom(path):
            continue
        try:
            header = _read(path, stop_before_pixels=True)
        except ValueError:
            continue
        kinds = [str(kind).upper() for kind in header.get("ImageType", [])]
        if "Rows" in header and "LOCALIZER" not in kinds:
            series.setdefault(str(header.get("SeriesInstanceUID", "")), []).append(path)
    return series


def read_series(files: Sequence[Path]) -> tuple[npt.NDArray[np.float32], Floats]:
    """Values [X,Y,Z] in HU, sorted along the normal of the slices, and the affine to mm (RAS).

    A tilted gantry, whose slices are set off from each other, stands in the affine as a shear.

    Raises
    ------
    ValueError
        If they are no CT, cannot be decoded, do not say where they lie, or if slices differ in size or
        direction, lie on each other, or are missing.
    """
    slices = [cut for path in files for cut in _slices(path)]
    first = slices[0]
    for cut in slices[1:]:
        if cut.values.shape != first.values.shape or not np.allclose(cut.spacing, first.spacing, rtol=1e-3):
            raise ValueError(
                f"its slices differ in size: {_size(first)} and {_size(cut)} mm; want one series a folder"
            )
        if np.abs(cut.orientation - first.orientation).max() > TURNED:
            raise ValueError("its slices differ in direction; want one series a folder")
    along_row, along_column = first.orientation
    normal = np.cross(along_row, along_column)
    slices.sort(key=lambda cut: float(cut.position @ normal))
    heights = np.array([cut.position @ normal for cut in slices])
    if len(slices) == 1:
        step = normal * first.thickness
    else:
        gaps = np.diff(heights)
        if gaps.min() <= 1e-3:
            raise ValueError("two of its slices lie at the same place; want one series a folder")
        middle = float(np.median(gaps))
        if np.abs(gaps - middle).max() > UNEVEN * middle:
            worst = int(np.abs(gaps - middle).argmax())
            raise ValueError(
                f"slices are missing: {middle:g} mm lie between most, "
                f"but {gaps[worst]:g} mm between numbers {worst} and {worst + 1}"
            )
        step = (slices[-1].position - slices[0].position) / (len(slices) - 1)
    affine = np.eye(4)
    affine[:3, 0] = along_row * first.spacing[1]
    affine[:3, 1] = along_column * first.spacing[0]
    affine[:3, 2] = step
    affine[:3, 3] = slices[0].position
    values = np.stack([cut.values.T for cut in slices], axis=2)
    return values, LPS_TO_RAS @ affine


def _size(cut: Slice) -> str:
    rows, columns = cut.values.shape
    return f"{rows} x {columns} of {cut.spacing[0]:g} x {cut.spacing[1]:g}"


def _read(path: Path, *, stop_before_pixels: bool = False) -> Dataset:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of values that break the standard in ways that do not matter
            return pydicom.dcmread(path, stop_before_pixels=stop_before_pixels)
    except (InvalidDicomError, OSError, ValueError, KeyError, AttributeError) as error:
        raise ValueError(f"{path.name} is no readable DICOM file ({error})") from error


def _slices(path: Path) -> Iterator[Slice]:
    data = _read(path)
    modality = data.get("Modality", "CT")
    if modality != "CT":
        raise ValueError(f"{path.name} is no CT, its modality is {modality}")
    try:
        pixels = data.pixel_array
    except Exception as error:  # decoders raise errors of many kinds
        syntax = getattr(getattr(data, "file_meta", None), "TransferSyntaxUID", "")
        name = getattr(syntax, "name", syntax)
        raise ValueError(f"{path.name}: its pixels ({name}) cannot be decoded: {error}") from error
    if int(data.get("SamplesPerPixel", 1)) != 1:
        raise ValueError(f"{path.name} is a colour picture, no CT")
    try:
        if "PerFrameFunctionalGroupsSequence" in data:
            frames = pixels[None] if pixels.ndim == 2 else pixels
            shared = data.SharedFunctionalGroupsSequence[0]
            groups = data.PerFrameFunctionalGroupsSequence
            yield from (_frame(frame, own, shared) for frame, own in zip(frames, groups, strict=True))
        elif pixels.ndim == 2:
            yield _slice(pixels, data, data, data, data)
        else:
            raise ValueError("holds several frames without saying where each lies")
    except (AttributeError, KeyError, TypeError, IndexError) as error:
        raise ValueError(f"{path.name} does not say where its voxels lie ({error})") from error
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from error


def _frame(pixels: npt.NDArray[Any], own: Dataset, shared: Dataset) -> Slice:
    """A frame of an enhanced file; what all frames share stands in one place."""

    def group(name: str) -> Dataset:
        return (own if name in own else shared)[name].value[0]  # type: ignore[no-any-return]

    scale = "PixelValueTransformationSequence"
    return _slice(
        pixels,
        group("PlanePositionSequence"),
        group("PlaneOrientationSequence"),
        group("PixelMeasuresSequence"),
        group(scale) if scale in own or scale in shared else Dataset(),
    )


def _slice(
    pixels: npt.NDArray[Any], position: Dataset, orientation: Dataset, measures: Dataset, scale: Dataset
) -> Slice:
    directions = np.array(orientation.ImageOrientationPatient, np.float64).reshape(2, 3)
    spacing = np.array(measures.PixelSpacing, np.float64)
    place = np.array(position.ImagePositionPatient, np.float64)
    if place.shape != (3,) or spacing.shape != (2,) or not (spacing > 0).all():
        raise ValueError("its position or spacing cannot be used")
    if np.abs(directions @ directions.T - np.eye(2)).max() > 0.01:
        raise ValueError("its rows and columns are not at right angles")
    slope, intercept = (
        float(scale.get(name, default)) for name, default in (("RescaleSlope", 1), ("RescaleIntercept", 0))
    )
    # One slice alone is as thick as it says; of several the positions tell.
    thickness = measures.get("SpacingBetweenSlices") or measures.get("SliceThickness") or 1.0
    values = pixels.astype(np.float32) * np.float32(slope) + np.float32(intercept)
    return Slice(place, directions, spacing, abs(float(thickness)), values)

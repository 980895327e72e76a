"""Volumes as they are read, and scans as the network sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel.orientations
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter1d

HU = (-1000.0, 1000.0)  # values are clamped to these, as in the released code
turns: Any = nibabel.orientations  # which has no types
RAS = np.array([[0, 1], [1, 1], [2, 1]], np.float64)  # nibabel's word for right, anterior, superior

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Volume:
    """A CT as it was read, on its own grid.

    Attributes
    ----------
    name : str
    values : [X,Y,Z]
        Hounsfield units.
    affine : [4,4]
        From voxel indices to mm: right, anterior, superior.
    labels : uint8 [X,Y,Z] or None
        Numbers of structures, 0 for the background.
    part : str or None
        "train", "valid" or "test" where the data say so.
    file : Path or None
        What it was read from: a file, or a folder of DICOM slices.
    """

    name: str
    values: npt.NDArray[Any]
    affine: Floats
    labels: Labels | None = None
    part: str | None = None
    file: Path | None = None


@dataclass(frozen=True)
class Scan:
    """A CT as the network sees it: axes to the right, anterior and superior, at the working spacing.

    Attributes
    ----------
    name : str
    values : int16 [x,y,z]
        Hounsfield units, clamped to [-1000, 1000].
    affine : [4,4]
        From its voxel indices to mm.
    mean, std : float
        Of voxels of at least 0 HU.
    source_shape, source_affine
        Of the volume it was made from.
    labels : uint8 [x,y,z] or None
    part : str or None
    """

    name: str
    values: npt.NDArray[np.int16]
    affine: Floats
    mean: float
    std: float
    source_shape: tuple[int, ...]
    source_affine: Floats
    labels: Labels | None = None
    part: str | None = None

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance of voxels along each axis, mm."""
        x, y, z = voxel_sizes(self.affine)
        return x, y, z

    def normalised(self, part: tuple[slice, ...], size: int) -> npt.NDArray[np.float32]:
        """A cube [size,size,size] that begins where `part` begins, z-scored; air where the scan has ended."""
        values = np.full((size,) * 3, HU[0], np.float32)
        inside = self.values[part]
        values[tuple(slice(0, n) for n in inside.shape)] = inside
        return (values - np.float32(self.mean)) / np.float32(self.std)

    def carried(self, labels: Labels) -> Labels:
        """Labels [X,Y,Z] of the volume, on the grid of this scan: those of the nearest voxel."""
        turned = turns.apply_orientation(labels, turns.io_orientation(self.source_affine))
        return np.ascontiguousarray(_nearest(turned, self.values.shape))

    def restored(self, labels: Labels) -> Labels:
        """Labels [x,y,z] of this scan, on the grid of the volume: those of the nearest voxel."""
        turn = turns.io_orientation(self.source_affine)
        shape = [self.source_shape[int(axis)] for axis in np.argsort(turn[:, 0])]
        back = turns.ornt_transform(RAS, turn)
        return np.ascontiguousarray(turns.apply_orientation(_nearest(labels, shape), back))

    def voxels(self, places: Floats) -> Floats:
        """Places in mm [...,3] as positions on the grid of this scan."""
        inverse = np.linalg.inv(self.affine)
        found: Floats = places @ inverse[:3, :3].T + inverse[:3, 3]
        return found


def voxel_sizes(affine: Floats) -> Floats:
    """Distance of voxels along each axis, mm."""
    sizes: Floats = np.linalg.norm(affine[:3, :3], axis=0)
    return sizes


def prepare(volume: Volume, spacing: float | None) -> Scan:
    """Turn a volume to the axes right, anterior, superior, bring it to a spacing and clamp it.

    Values are interpolated linearly, after smoothing along axes that get coarser; labels are those of the
    nearest voxel.

    Parameters
    ----------
    spacing : float or None
        mm; None keeps the volume's own.

    Raises
    ------
    ValueError
        If the volume is empty, its values are not finite, or its affine or labels do not fit.
    """
    check_volume(volume)
    turn = turns.io_orientation(volume.affine)
    affine = volume.affine @ turns.inv_ornt_aff(turn, volume.values.shape)
    values = np.clip(turns.apply_orientation(volume.values, turn), *HU).astype(np.float32)
    labels = None if volume.labels is None else turns.apply_orientation(volume.labels, turn)
    if spacing is not None:
        sizes = voxel_sizes(affine)
        shape = [max(1, round(n * size / spacing)) for n, size in zip(values.shape, sizes, strict=True)]
        factors = np.array(values.shape) / shape
        values = _resampled(values, shape)
        labels = None if labels is None else _nearest(labels, shape)
        stretch = np.diag([*factors, 1.0])
        stretch[:3, 3] = (factors - 1) / 2
        affine = affine @ stretch
    rounded = np.rint(values).astype(np.int16)
    mean, std = _statistics(rounded)
    return Scan(
        name=volume.name,
        values=np.ascontiguousarray(rounded),
        affine=affine,
        mean=mean,
        std=std,
        source_shape=volume.values.shape,
        source_affine=volume.affine,
        labels=None if labels is None else np.ascontiguousarray(labels),
        part=volume.part,
    )


def check_volume(volume: Volume) -> None:
    """Raise ValueError if a volume cannot be used; says why."""
    shape = volume.values.shape
    if len(shape) != 3 or 0 in shape:
        raise ValueError(f"want a volume [X,Y,Z] with nothing empty, got shape {list(shape)}")
    if volume.values.dtype.kind not in "iuf":
        raise ValueError(f"want real numbers, got {volume.values.dtype}")
    if volume.values.dtype.kind == "f" and not np.isfinite(volume.values).all():
        raise ValueError("holds values that are not finite")
    affine = np.asarray(volume.affine)
    if affine.shape != (4, 4) or not np.isfinite(affine).all() or np.linalg.matrix_rank(affine[:3, :3]) < 3:
        raise ValueError("its affine cannot be inverted")
    if volume.labels is not None and volume.labels.shape != shape:
        raise ValueError(f"its labels have shape {list(volume.labels.shape)}, its values {list(shape)}")


def _nearest(labels: Labels, shape: Sequence[int]) -> Labels:
    for axis, count in enumerate(shape):
        if labels.shape[axis] != count:
            places = (np.arange(count) + 0.5) * labels.shape[axis] / count
            labels = labels.take(places.astype(np.int64), axis=axis)
    return labels


def _resampled(values: npt.NDArray[np.float32], shape: list[int]) -> npt.NDArray[np.float32]:
    for axis, (before, after) in enumerate(zip(values.shape, shape, strict=True)):
        if before > after:  # or what lies between two coarse voxels would alias
            values = gaussian_filter1d(values, (before / after - 1) / 2, axis=axis, mode="nearest")
    if list(values.shape) == shape:
        return values
    cube = torch.from_numpy(np.ascontiguousarray(values))[None, None]
    out: npt.NDArray[np.float32] = F.interpolate(cube, size=shape, mode="trilinear")[0, 0].numpy()
    return out


def _statistics(values: npt.NDArray[np.int16]) -> tuple[float, float]:
    """Mean and standard deviation of voxels of at least 0 HU; of all where there is none."""
    chosen = values[values >= 0]
    if not chosen.size:
        chosen = values
    return float(chosen.mean(dtype=np.float64)), max(float(chosen.std(dtype=np.float64)), 1.0)

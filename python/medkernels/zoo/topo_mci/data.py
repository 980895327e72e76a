"""Cohorts: the series of all subjects, from a folder of fMRI images or tables, or from arrays.

A folder holds a file a subject, or a sub-folder for each class, or in it further folders::

    adni/s001.nii.gz               no classes: to be predicted
    adni/HC/s001.nii.gz            class "HC": a preprocessed 4-D image in the space of the atlas (MNI)
    adni/EMCI/s002.npy             class "EMCI": series, a row a ROI
    adni/EMCI/site2/s003.mat       folders below the class do not matter
    adni/atlas.csv                 columns x, y, z, name, network; the Dosenbach atlas if it is missing

Images are NIfTI or what else nibabel reads, series are CSV, TSV, TXT, 1D, NPY or MAT.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from rich.progress import track

from medkernels.zoo.engine.logs import console
from medkernels.zoo.topo_mci.atlas import Atlas, dosenbach, read_atlas
from medkernels.zoo.topo_mci.cohort import Cohort, flaw, listed, numbered
from medkernels.zoo.topo_mci.series import Floats, is_image, is_table, read_image, read_table

ATLAS = "atlas.csv"
DAMAGED = (OSError, ValueError, EOFError, zlib.error, ImageFileError, HeaderDataError)


def load_folder(
    path: str | Path,
    *,
    atlas: Atlas | None = None,
    network: str | None = None,
    radius: float = 5.0,
    roi_axis: int = 0,
    variable: str | None = None,
    progress: bool = True,
) -> Cohort:
    """Read every subject of a folder, or a single file; see the module for the layout.

    Subjects with a series that holds a zero, does not change or is not finite are left out: a ROI outside
    the scanned volume gives zeros.

    Parameters
    ----------
    path : path
    atlas : Atlas, optional
        If None ``atlas.csv`` of the folder, or else the Dosenbach atlas for images and for tables of 160
        series.
    network : str, optional
        Use the ROIs of this network only. Tables hold the series of all ROIs of the atlas, or those of the
        network alone.
    radius : float
        Of the spheres, mm.
    roi_axis, variable
        See `read_table`.
    progress : bool
        Show a bar if the error stream is a terminal.

    Returns
    -------
    Cohort
        Its ``skipped`` names each subject that was left out, and why.

    Raises
    ------
    FileNotFoundError
        If there is no such folder or file.
    ValueError
        If the atlas or an option is unusable, or no subject is left.
    """
    root = Path(path)
    if not root.exists():
        raise FileNotFoundError(f"data: there is no folder or file {root}")
    folder = root if root.is_dir() else root.parent
    files = _files(root) if root.is_dir() else [root]
    if atlas is None and (root / ATLAS).is_file():
        atlas = read_atlas(root / ATLAS)
    if atlas is not None:
        atlas.members(network)
    found: list[tuple[Path, Floats]] = []
    rois: tuple[str, ...] = ()
    skipped: list[tuple[str, str]] = []
    shown = track(files, "reading series", console=console, disable=not (progress and console.is_interactive))
    for file in shown:
        try:
            series, names = _read(file, atlas, network, radius, roi_axis, variable)
            rois = rois or names
            reason = flaw(series, names)
            if len(names) != len(rois):
                reason = f"{len(names)} series, the subjects before have {len(rois)}"
        except DAMAGED as error:
            reason = " ".join(str(error).split()) or type(error).__name__
        if reason is None:
            found.append((file.relative_to(folder), series))
        else:
            skipped.append((str(file.relative_to(folder)), reason))
    if not found:
        raise ValueError(
            f"data: no subject of {root} can be used ({listed(skipped)})"
            if skipped
            else f"data: {root} holds no files; want 4-D images or tables of series, in a sub-folder a class"
        )
    owners = [file.parts[0] if len(file.parts) > 1 else None for file, _ in found]
    classes = sorted({owner for owner in owners if owner is not None})
    return Cohort(
        series=tuple(series for _, series in found),
        subjects=tuple(file.as_posix() for file, _ in found),
        rois=rois,
        labels=np.array([-1 if owner is None else classes.index(owner) for owner in owners], np.int64),
        classes=tuple(classes),
        skipped=tuple(skipped),
        atlas=atlas if atlas is not None or rois == numbered(len(rois)) else dosenbach(),
    )


def _read(
    file: Path, atlas: Atlas | None, network: str | None, radius: float, roi_axis: int, variable: str | None
) -> tuple[Floats, tuple[str, ...]]:
    """Series of one subject and the names of their ROIs."""
    if is_image(file):
        atlas = dosenbach() if atlas is None else atlas
        part = atlas.take(atlas.members(network))
        return read_image(file, part, radius), part.names
    if not is_table(file):
        raise ValueError("neither an image nor a table of series, by its name")
    series = read_table(file, roi_axis=roi_axis, variable=variable)
    if atlas is None and len(series) == len(dosenbach()):
        atlas = dosenbach()
    if atlas is None:
        if network is not None:
            raise ValueError(
                f"{len(series)} series and no atlas ({ATLAS}) to tell which belong to network {network}"
            )
        return series, numbered(len(series))
    chosen = atlas.members(network)
    names = atlas.take(chosen).names
    if len(series) == len(atlas):
        return series[chosen], names
    if len(series) == len(chosen):
        return series, names
    turned = " (if ROIs are columns, set roi_axis=1)" if series.shape[1] in (len(atlas), len(chosen)) else ""
    raise ValueError(f"{len(series)} series, but the atlas has {len(atlas)} ROIs{turned}")


def _files(root: Path) -> list[Path]:
    """All files of a folder but hidden ones, its atlas, and the voxels of an image in two files."""
    return sorted(
        path
        for path in root.rglob("*")
        if path.is_file()
        and path != root / ATLAS
        and not any(part.startswith(".") for part in path.relative_to(root).parts)
        and not (path.suffix == ".img" and path.with_suffix(".hdr").is_file())
    )

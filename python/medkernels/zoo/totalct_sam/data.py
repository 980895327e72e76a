"""CTs in folders: the TotalSegmentator data set as it is published, NIfTI files, and DICOM series.

Layouts::

    data/s0001/ct.nii.gz                      a subject of TotalSegmentator
    data/s0001/segmentations/liver.nii.gz     the mask of one structure
    data/meta.csv                             its column "split" says train, val or test

    data/a.nii.gz                             a CT (also .nii, .mgz)
    data/a.labels.nii.gz                      numbers of its structures, in the order of the system's classes
    data/train/b.nii.gz                       CTs in train/, valid/ and test/ are used as that

    data/patient/series/*                     DICOM: each series of a folder is one CT

A file of prompts may lie beside a CT: ``a.prompts.json`` or ``.csv``, in a DICOM folder ``prompts.json`` or
``.csv``.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medkernels.zoo.totalct_sam.dicom import list_series, read_series
from medkernels.zoo.totalct_sam.nifti import is_nifti, read_labels, read_mask, read_nifti, stem
from medkernels.zoo.totalct_sam.volume import Labels, Volume, check_volume

PARTS = {"train": "train", "valid": "valid", "val": "valid", "validation": "valid", "test": "test"}
SUBJECT = "ct"  # the name of a subject's CT in the TotalSegmentator data set
MASKS = "segmentations"
LABELS = ".labels"  # before the ending of a file of labels
WRITTEN = (LABELS, ".structures")  # what stands beside CTs, and what `predict` writes


@dataclass(frozen=True)
class Source:
    """Where a CT lies.

    Attributes
    ----------
    name : str
        Its place in the data folder.
    files : tuple of Path
        A NIfTI file, or the slices of a DICOM series.
    labels : Path or None
        A file of labels, or a folder of masks.
    prompts : Path or None
        A file of prompts.
    part : str or None
        "train", "valid" or "test".
    """

    name: str
    files: tuple[Path, ...]
    labels: Path | None
    prompts: Path | None
    part: str | None


def list_sources(path: str | Path) -> list[Source]:
    """The CTs of a folder, or one file.

    Raises
    ------
    FileNotFoundError
        If there is no such folder or file.
    ValueError
        If it holds no CT.
    """
    root = Path(path)
    if not root.exists():
        raise FileNotFoundError(f"data: there is no folder or file {root}")
    if root.is_file():
        found = [_image(root, root.parent, {})] if is_nifti(root) else []
    else:
        splits = _splits(root)
        found = [source for folder in _folders(root) for source in _in_folder(folder, root, splits)]
    if not found:
        raise ValueError(
            f"data: {root} holds no CT; want NIfTI files, subjects of TotalSegmentator "
            "(s0001/ct.nii.gz), or folders of DICOM slices"
        )
    return found


def read_volume(source: Source, classes: Sequence[str]) -> Volume:
    """One CT, with its labels where it has any.

    Raises
    ------
    ValueError
        If it cannot be used; says why.
    OSError
        If a file cannot be read.
    """
    first = source.files[0]
    if is_nifti(first):
        values, affine = read_nifti(first)
        file = first
    else:
        values, affine = read_series(source.files)
        file = first.parent
    labels: Labels | None = None
    if source.labels is not None and source.labels.is_dir():
        labels = np.zeros(values.shape, np.uint8)
        masks = {stem(path): path for path in sorted(source.labels.iterdir()) if is_nifti(path)}
        known = [name for name in classes if name in masks]
        if not known:
            raise ValueError(f"{MASKS}/ holds none of the system's {len(classes)} structures")
        for name in known:
            labels[read_mask(masks[name], values.shape, affine)] = classes.index(name) + 1
    elif source.labels is not None:
        labels = read_labels(source.labels, values.shape, affine, len(classes))
    volume = Volume(source.name, values, affine, labels, source.part, file)
    check_volume(volume)
    return volume


def unknown_structures(sources: Sequence[Source], classes: Sequence[str]) -> list[str]:
    """Names of masks that stand for none of the classes."""
    names: set[str] = set()
    for source in sources:
        if source.labels is not None and source.labels.is_dir():
            names |= {stem(path) for path in source.labels.iterdir() if is_nifti(path)}
    return sorted(names - set(classes))


def _folders(root: Path) -> list[Path]:
    below = [
        path
        for path in sorted(root.rglob("*"))
        if path.is_dir()
        and path.name != MASKS
        and not any(part.startswith(".") for part in path.relative_to(root).parts)
    ]
    return [root, *below]


def _in_folder(folder: Path, root: Path, splits: dict[str, str]) -> list[Source]:
    images = [
        path
        for path in sorted(folder.iterdir())
        if path.is_file()
        and is_nifti(path)
        and not path.name.startswith(".")
        and not stem(path).endswith(WRITTEN)
    ]
    if images:
        return [_image(path, root, splits) for path in images]
    series = list_series(folder)
    name = folder.relative_to(root).as_posix() if folder != root else folder.resolve().name
    return [
        Source(
            name if len(series) == 1 else f"{name}/{number}",
            tuple(files),
            None,
            _first(folder / "prompts.json", folder / "prompts.csv"),
            _part(folder / "x", root),
        )
        for number, files in enumerate(series.values(), start=1)
    ]


def _image(path: Path, root: Path, splits: dict[str, str]) -> Source:
    """A NIfTI file; called ``ct`` it goes by its folder's name."""
    subject = stem(path) == SUBJECT
    inside = path.relative_to(root)
    if subject:
        name = inside.parent.as_posix() if len(inside.parts) > 1 else path.resolve().parent.name
    else:
        name = inside.with_name(stem(path)).as_posix()
    masks = path.parent / MASKS
    beside = [path.with_name(f"{stem(path)}{LABELS}{ending}") for ending in (".nii.gz", ".nii")]
    labels = masks if subject and masks.is_dir() else _first(*beside)
    prompts = _first(*[path.with_name(f"{stem(path)}.prompts{ending}") for ending in (".json", ".csv")])
    part = splits.get(path.parent.name) if subject else None
    return Source(name, (path,), labels, prompts, part or _part(path, root))


def _first(*paths: Path) -> Path | None:
    return next((path for path in paths if path.is_file()), None)


def _part(path: Path, root: Path) -> str | None:
    inside = path.relative_to(root).parts[:-1]
    return PARTS.get(inside[0].lower()) if inside else None


def _splits(root: Path) -> dict[str, str]:
    """The part of each subject by the data set's own table, which is there in the published data."""
    table = root / "meta.csv"
    if not table.is_file():
        return {}
    lines = table.read_text(encoding="utf-8-sig").splitlines()
    rows = csv.DictReader(lines, delimiter=";" if lines and ";" in lines[0] else ",")
    if not {"image_id", "split"} <= set(rows.fieldnames or ()):
        raise ValueError(f"{table} lacks the columns image_id and split")
    return {
        row["image_id"]: PARTS[row["split"].strip().lower()]
        for row in rows
        if (row["split"] or "").strip().lower() in PARTS
    }

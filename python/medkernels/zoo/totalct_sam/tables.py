"""Files for people and other programs: label maps, their names, and the size of each structure."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from medkernels.zoo.engine.files import replacing
from medkernels.zoo.totalct_sam.nifti import write_labels
from medkernels.zoo.totalct_sam.volume import Floats, Labels, Volume

ML = 1000.0  # cubic mm


def structure_rows(labels: Labels, affine: Floats, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Voxels and millilitres of each structure that is there."""
    counts = np.bincount(labels.ravel(), minlength=len(classes) + 1)
    voxel = abs(float(np.linalg.det(np.asarray(affine)[:3, :3]))) / ML
    return [
        {
            "label": number,
            "structure": name,
            "voxels": int(counts[number]),
            "ml": float(counts[number] * voxel),
        }
        for number, name in enumerate(classes, start=1)
        if counts[number]
    ]


def write_answer(out_dir: Path, volume: Volume, labels: Labels, classes: Sequence[str]) -> list[str]:
    """Write labels as NIfTI on the CT's own grid, their names, and a table; return the names of the files."""
    inside = PurePosixPath(volume.name)
    names = [
        str(inside.with_name(f"{inside.name}{end}")) for end in (".structures.nii.gz", ".structures.csv")
    ]
    written = write_labels(out_dir / names[0], labels, volume.affine, classes)
    rows = structure_rows(labels, volume.affine, classes)
    write_rows(out_dir / names[1], rows, ("label", "structure", "voxels", "ml"))
    return [path.relative_to(out_dir).as_posix() for path in written] + names[1:]


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = ()) -> None:
    """Write a table with these columns, or those of the rows, whole or not at all."""
    names = list(columns) or list(dict.fromkeys(name for row in rows for name in row))
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)

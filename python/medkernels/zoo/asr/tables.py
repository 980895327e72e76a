"""The tables that ASR writes for people and spreadsheets."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medkernels.zoo.asr.data import PatchSet
from medkernels.zoo.asr.pictures import Outlines
from medkernels.zoo.engine.files import replacing

ELLIPSE_COLUMNS = ("image", "case", "patch", "scale", "x", "y", "w", "h", "phi", "r", "g", "b", "contrast")


def list_ellipses(
    table: dict[str, list[Any]],
    patches: PatchSet,
    patch: int,
    spacings: Sequence[int],
    found: Sequence[Outlines],
) -> None:
    """Add the ellipses of one patch to a table by columns; (x, y) are pixels of the whole image."""
    top, left = patches.corners[patch]
    for spacing, rows in zip(spacings, found, strict=True):
        count = len(rows.angles)
        columns = [
            [patches.images[patch]] * count,
            [patches.cases[patches.case_of[patch]]] * count,
            [patch] * count,
            [spacing] * count,
            rows.centers[:, 0] + left,
            rows.centers[:, 1] + top,
            rows.axes[:, 0],
            rows.axes[:, 1],
            rows.angles,
            *rows.colors.T,
            rows.contrast,
        ]
        for name, values in zip(ELLIPSE_COLUMNS, columns, strict=True):
            table[name].extend(values)


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Write a table, whole or not at all; returns the file's name."""
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
    return path.name


def write_tables(folder: Path, result: Mapping[str, Any]) -> list[str]:
    """Write ``ellipses.csv``, ``attributes.csv`` and ``patches.csv`` of a prediction; returns their names."""
    names, cases = result["attribute_names"], result["cases"]
    per_case = zip(cases, result["classes"] or [""] * len(cases), result["attributes"].tolist(), strict=True)
    per_patch = zip(
        result["images"],
        [cases[case] for case in result["case_of"]],
        result["corners"].tolist(),
        result["mse"].tolist(),
        result["patch_attributes"].tolist(),
        strict=True,
    )
    return [
        write_csv(
            folder / "ellipses.csv", ELLIPSE_COLUMNS, list(zip(*result["ellipses"].values(), strict=True))
        ),
        write_csv(
            folder / "attributes.csv",
            ["case", "class", *names],
            [[case, answer, *row] for case, answer, row in per_case],
        ),
        write_csv(
            folder / "patches.csv",
            ["image", "case", "top", "left", "mse", *names],
            [[image, case, *corner, mse, *row] for image, case, corner, mse, row in per_patch],
        ),
    ]

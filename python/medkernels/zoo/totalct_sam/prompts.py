"""Files of prompts: clicks and boxes, in the scanner's or the image's own coordinates.

JSON::

    {"space": "ras", "prompts": [
        {"structure": "liver", "point": [31.5, -12, 240]},
        {"structure": "liver", "point": [60, -12, 240], "positive": false},
        {"structure": "spleen", "box": [[-90, 20, 200], [-30, 80, 260]]},
        {"structure": "heart", "mask": "heart.nii.gz"}]}

CSV, a prompt a row; a row with x2, y2 and z2 is a box::

    structure,x,y,z,positive,x2,y2,z2,space
    liver,31.5,-12,240,1,,,,ras

``space``: "ras" (mm to the right, anterior and superior, as in NIfTI), "lps" (mm to the left, posterior and
superior, as in DICOM) or "voxel" (indices of the image as it is stored); "ras" if nothing is said. The
structure is a name, its number, or "any". A coarse mask is an image on the CT's own grid, beside the file of
prompts or by its whole path.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medkernels.zoo.totalct_sam.nifti import read_mask
from medkernels.zoo.totalct_sam.session import ANY, CoarseMask, Prompt
from medkernels.zoo.totalct_sam.volume import Floats, Scan

SPACES = ("ras", "lps", "voxel")
CORNERS = ("x", "y", "z"), ("x2", "y2", "z2")
TRUE, FALSE = ("", "1", "true", "yes", "positive"), ("0", "false", "no", "negative")


def read_prompts(path: Path, scan: Scan, classes: Sequence[str]) -> list[Prompt | CoarseMask]:
    """Prompts of a scan from a file.

    Raises
    ------
    OSError, ValueError
        If the file cannot be read; names the prompt that is wrong.
    """
    rows = _from_json(path) if path.suffix.lower() == ".json" else _from_csv(path)
    found: list[Prompt | CoarseMask] = []
    for number, row in enumerate(rows, start=1):
        try:
            found.append(
                _mask(row, path.parent, scan, classes) if "mask" in row else to_prompt(row, scan, classes)
            )
        except (ValueError, TypeError, FileNotFoundError) as error:
            raise ValueError(f"prompts: {path.name}, number {number}: {error}") from error
    return found


def to_prompt(row: Mapping[str, Any], scan: Scan, classes: Sequence[str]) -> Prompt:
    """One prompt, brought to the voxels of the scan.

    Parameters
    ----------
    row : mapping
        ``structure``; ``point`` [3] and perhaps ``positive``, or ``box`` [2,3]; perhaps ``space``.

    Raises
    ------
    ValueError
        If it cannot be understood.
    """
    unknown = set(row) - {"structure", "point", "box", "positive", "space"}
    if unknown:
        raise ValueError(f"want structure, point or box, positive, space, got {', '.join(sorted(unknown))}")
    if ("point" in row) == ("box" in row):
        raise ValueError("want either a point or a box")
    box = "box" in row
    corners = np.array(row["box"] if box else [row["point"]], np.float64)
    if corners.shape != (2 if box else 1, 3) or not np.isfinite(corners).all():
        raise ValueError("want three finite coordinates for a point, and two times three for a box")
    positive = row.get("positive", True)
    if not isinstance(positive, (bool, int)):
        raise ValueError(f"positive must be true or false, got {positive!r}")
    placed = _placed(corners, row.get("space", "ras"), scan)
    if box:
        placed = np.stack([placed.min(axis=0), placed.max(axis=0)])
    return Prompt(_number(row.get("structure", "any"), classes), placed, bool(positive))


def _mask(row: Mapping[str, Any], folder: Path, scan: Scan, classes: Sequence[str]) -> CoarseMask:
    unknown = set(row) - {"structure", "mask", "space"}
    if unknown:
        raise ValueError(f"a mask goes with its structure alone, got {', '.join(sorted(unknown))}")
    mask = read_mask(folder / str(row["mask"]), scan.source_shape, scan.source_affine)
    carried = scan.carried(mask.astype(np.uint8)) > 0
    return CoarseMask(_number(row.get("structure", "any"), classes), carried)


def _number(structure: Any, classes: Sequence[str]) -> int:
    if structure == "any":
        return ANY
    if isinstance(structure, str) and structure in classes:
        return list(classes).index(structure) + 1
    try:
        number = int(structure)
    except (TypeError, ValueError):
        raise ValueError(f"there is no structure {structure!r}") from None
    if not 1 <= number <= len(classes):
        raise ValueError(f"structures have the numbers 1 to {len(classes)}, got {number}")
    return number


def _placed(corners: Floats, space: Any, scan: Scan) -> Floats:
    if space not in SPACES:
        raise ValueError(f"space must be one of {', '.join(SPACES)}, got {space!r}")
    if space == "lps":
        corners = corners * [-1, -1, 1]
    elif space == "voxel":
        corners = corners @ scan.source_affine[:3, :3].T + scan.source_affine[:3, 3]
    return scan.voxels(corners)


def _from_json(path: Path) -> list[dict[str, Any]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"prompts: {path.name} is no readable JSON ({error})") from error
    space = {}
    if isinstance(content, dict):
        space = {"space": content["space"]} if "space" in content else {}
        content = content.get("prompts")
    if not isinstance(content, list) or not all(isinstance(row, dict) for row in content):
        raise ValueError(f"prompts: {path.name}: want a list of prompts, or an object with one as 'prompts'")
    return [space | row for row in content]


def _from_csv(path: Path) -> list[dict[str, Any]]:
    rows = []
    with path.open(newline="", encoding="utf-8-sig") as file:
        table = csv.DictReader(file)
        if not {"structure", "x", "y", "z"} <= set(table.fieldnames or ()):
            raise ValueError(f"prompts: {path.name} lacks some of the columns structure, x, y, z")
        for number, line in enumerate(table, start=1):
            values = {name: (text or "").strip() for name, text in line.items() if name is not None}
            try:
                rows.append(_row(values))
            except ValueError as error:
                raise ValueError(f"prompts: {path.name}, number {number}: {error}") from error
    return rows


def _row(values: Mapping[str, str]) -> dict[str, Any]:
    low, high = ([values.get(name, "") for name in names] for names in CORNERS)
    row: dict[str, Any] = {"structure": values["structure"] or "any"}
    if any(high):
        row["box"] = [[float(text) for text in corner] for corner in (low, high)]
    else:
        row["point"] = [float(text) for text in low]
    if values.get("space"):
        row["space"] = values["space"]
    word = values.get("positive", "").lower()
    if word not in TRUE + FALSE:
        raise ValueError(f"positive must be 1 or 0, got {word!r}")
    return row | {"positive": word in TRUE}

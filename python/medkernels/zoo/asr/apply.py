"""A trained network applied to patches: explanations, attributes of cases, errors, tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from rich.progress import track
from torch import Tensor

from medkernels.zoo.asr.attributes import Floats, case_attributes, cell_tables
from medkernels.zoo.asr.data import PatchSet
from medkernels.zoo.asr.losses import reconstruction_metrics
from medkernels.zoo.asr.model import Explanation
from medkernels.zoo.asr.pictures import Outlines, draw_outlines, outlines, pick, to_picture
from medkernels.zoo.asr.tables import ELLIPSE_COLUMNS, list_ellipses, write_tables
from medkernels.zoo.engine.files import replacing
from medkernels.zoo.engine.logs import console

if TYPE_CHECKING:
    from medkernels.zoo.asr.system import ASRSystem

LOOKED_AT = 8  # patches explained at a time
PICTURES = 12  # most pictures that `predict` writes


def explanations(
    system: ASRSystem, patches: PatchSet, indices: npt.NDArray[Any], refine_steps: int
) -> Iterator[tuple[npt.NDArray[Any], Tensor, Explanation]]:
    """Explain patches a few at a time, with a bar: their indices, images and explanations."""
    device = next(system.module.parameters()).device
    parts = [indices[first : first + LOOKED_AT] for first in range(0, len(indices), LOOKED_AT)]
    for part in track(
        parts, "explaining", console=console, disable=not console.is_interactive, transient=True
    ):
        images = patches.batch(part).to(device)
        with torch.no_grad():
            yield part, images, system.explain(images, refine_steps)


def judge(system: ASRSystem, patches: PatchSet, indices: npt.NDArray[Any]) -> tuple[dict[str, float], Floats]:
    """Mean reconstruction metrics of some patches, and their cases' attributes, as the network sees them."""
    sums: dict[str, list[Tensor]] = {}
    cells: list[list[Floats]] = []
    for _, images, explanation in explanations(system, patches, indices, 0):
        picture = system.module.render(explanation, (images.shape[2], images.shape[3]))
        for name, values in reconstruction_metrics(picture, images).items():
            sums.setdefault(name, []).append(values)
        cells.append(cell_tables(explanation))
    features = case_features(patches.case_of[indices], join_cells(cells))
    return {name: float(torch.cat(values).mean()) for name, values in sums.items()}, features


def join_cells(parts: Sequence[Sequence[Floats]]) -> list[Floats]:
    """Cells of batches, by scale -> cells of all patches, by scale."""
    return [np.concatenate(tables) for tables in zip(*parts, strict=True)]


def case_features(owners: npt.NDArray[Any], cells: Sequence[Floats]) -> Floats:
    """Attributes [cases,36] of the cases that own the patches, ascending.

    Parameters
    ----------
    owners : [N] case of each patch.
    cells : for each scale [N,K,6].
    """
    rows = [case_attributes([table[owners == case] for table in cells]) for case in np.unique(owners)]
    return np.stack(rows)


def predict(system: ASRSystem, patches: PatchSet, out_dir: Path | None) -> dict[str, Any]:
    """What `ASRSystem.predict` returns and writes."""
    cells: list[list[Floats]] = []
    errors: list[float] = []
    table: dict[str, list[Any]] = {name: [] for name in ELLIPSE_COLUMNS}
    written: list[str] = []
    for indices, images, explanation in explanations(
        system, patches, np.arange(len(patches)), system.refine_steps
    ):
        size = (images.shape[2], images.shape[3])
        errors += reconstruction_metrics(system.module.render(explanation, size), images)["mse"].tolist()
        cells.append(cell_tables(explanation))
        for row, index in enumerate(indices):
            found = outlines(system.module, pick(explanation, row), size, [(0, 0)])
            list_ellipses(table, patches, int(index), system.spacings, found)
            if out_dir is not None and index < PICTURES:
                written.append(f"outlines-{index:04d}.png")
                _save_outlines(images[row], found, out_dir / written[-1])
    joined = join_cells(cells)
    features = case_features(patches.case_of, joined)
    tree = system.tree
    result: dict[str, Any] = {
        "cases": list(patches.cases),
        "attribute_names": system.attribute_names,
        "attributes": features,
        "patch_attributes": case_features(np.arange(len(patches)), joined),
        "case_of": patches.case_of,
        "images": list(patches.images),
        "corners": patches.corners,
        "mse": np.array(errors),
        "ellipses": {name: np.array(values) for name, values in table.items()},
        "classes": [tree.classes[number] for number in tree.predict(features)] if tree else None,
        "skipped": [list(entry) for entry in patches.skipped],
    }
    if out_dir is not None:
        written += write_tables(out_dir, result)
    return result | {"files": written}


def _save_outlines(image: Tensor, found: Sequence[Outlines], path: Path) -> None:
    every = Outlines(*(np.concatenate(parts) for parts in zip(*found, strict=True)))
    with replacing(path) as temporary:
        draw_outlines(to_picture(image), every).savefig(temporary, format="png", dpi=150)

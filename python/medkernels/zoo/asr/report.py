"""The report of a training on a folder of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from medkernels.zoo.asr.attributes import QUANTITIES, describe_attribute
from medkernels.zoo.asr.data import PatchSet
from medkernels.zoo.asr.pictures import SHOWN, draw_curves, draw_outlines, outlines, pick, to_picture
from medkernels.zoo.asr.tree import draw_tree
from medkernels.zoo.engine import Report
from medkernels.zoo.engine.logs import Row

if TYPE_CHECKING:
    from medkernels.zoo.asr.system import ASRSystem

EXAMPLES = 4  # patches shown
REFINED = 150  # steps the ellipses of the shown patches are given to settle
LISTED = 50  # most skipped files named

OUTLINE_NOTE = (
    "Only ellipses that change the picture are drawn: opacity times colour "
    "distance to what coarser scales show at "
    f"their centre is at least {SHOWN} (colours in [0, 1])."
)


def write_report(
    system: ASRSystem,
    patches: PatchSet,
    shown: npt.NDArray[Any],
    features: npt.NDArray[np.float64],
    history: Sequence[Row],
    metrics: Mapping[str, Any],
    path: Path,
) -> Path:
    """Write the report of `ASRSystem.fit`.

    Parameters
    ----------
    shown : patch indices to choose examples from.
    features : [cases, attributes] of all cases.
    """
    report = Report("Images as ellipses", "ASR: an autoencoder whose code is a list of ellipses")
    report.section("Summary")
    report.metrics(
        {
            f"{part} {name}": value
            for part in ("train", "held_out")
            for name, value in metrics.get(part, {}).items()
        }
    )
    report.metrics(
        {"cases": len(patches.cases), "patches": len(patches), "files skipped": len(patches.skipped)}
    )
    epochs = [row["epoch"] for row in history]
    curves = {part: (epochs, [row[f"{part}_mse"] for row in history]) for part in ("train", "valid")}
    report.figure(draw_curves(curves, "epoch", "mean square error"), "Pixel error over training.")
    add_examples(report, system, patches, shown)
    add_attributes(report, system.spacings, features, "Mean over all cases, and spread between cases.")
    if system.tree is not None:
        report.section(
            "Tree", "Learned from the attributes of the training cases; each box counts them by class."
        )
        report.figure(draw_tree(system.tree), "Decision tree of depth at most 4, at least 3 cases in a leaf.")
    if patches.skipped:
        report.section("Skipped files")
        report.table([{"file": name, "reason": reason} for name, reason in patches.skipped[:LISTED]])
        if len(patches.skipped) > LISTED:
            report.text(f"and {len(patches.skipped) - LISTED} more.")
    return report.save(path)


def add_examples(report: Report, system: ASRSystem, patches: PatchSet, shown: npt.NDArray[Any]) -> None:
    """Original, reconstruction and outlines of a few patches spread over those given."""
    chosen = shown[np.unique(np.linspace(0, len(shown) - 1, EXAMPLES).astype(int))]
    images = patches.batch(chosen).to(next(system.module.parameters()).device)
    size = (images.shape[2], images.shape[3])
    report.section(
        "Explanations",
        f"The network's ellipses after {REFINED} steps in which they settle on the patch. {OUTLINE_NOTE}",
    )
    explanation = system.explain(images, REFINED)
    with torch.no_grad():
        pictures = system.module.render(explanation, size)
    for row, index in enumerate(chosen):
        one = pick(explanation, row)
        drawn: list[tuple[Any, str]] = [
            (to_picture(images[row]), "original"),
            (to_picture(pictures[row]), "reconstruction"),
        ]
        for spacing, rows in zip(system.spacings, outlines(system.module, one, size, [(0, 0)]), strict=True):
            figure = draw_outlines(to_picture(images[row]), rows, inches=4)
            drawn.append((figure, f"scale {spacing} px: {len(rows.angles)} ellipses"))
        report.gallery(drawn, f"{patches.images[index]}, case {patches.cases[patches.case_of[index]]}")


def add_attributes(
    report: Report, spacings: Sequence[int], features: npt.NDArray[np.float64], caption: str
) -> None:
    """The attributes as a table: a row a quantity and scale."""
    report.section(
        "Attributes", "Mean and spread (standard deviation) of each quantity over the cells of a case."
    )
    table = features.reshape(len(features), len(spacings), len(QUANTITIES), 2)
    rows = []
    for j, spacing in enumerate(spacings):
        for q, name in enumerate(QUANTITIES):
            row: dict[str, object] = {"scale, px": spacing, "quantity": name}
            row["meaning"] = (
                describe_attribute(f"mean_{name}_{spacing}").removeprefix("mean of ").split(", at")[0]
            )
            for kind, values in zip(("mean", "spread"), table[:, j, q].T, strict=True):
                row[kind] = float(values.mean())
                if len(features) > 1:
                    row[f"{kind} ± between cases"] = float(values.std())
            rows.append(row)
    report.table(rows, caption)

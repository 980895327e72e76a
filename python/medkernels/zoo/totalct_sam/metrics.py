"""Pixel accuracy, Dice and IoU of labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from medkernels.zoo.totalct_sam.volume import Labels

Counts = npt.NDArray[np.int64]
Scores = dict[str, dict[str, float]]  # structure -> metric -> value


def confusion(found: Labels, truth: Labels, classes: int) -> Counts:
    """How many voxels of each true label (rows) were given each label (columns), [classes,classes]."""
    joint = truth.ravel().astype(np.int64) * classes + found.ravel()
    counts: Counts = np.bincount(joint, minlength=classes * classes).reshape(classes, classes)
    return counts


def structure_scores(counts: Counts, names: Sequence[str]) -> Scores:
    """Dice and IoU of each structure that a scan holds or was said to hold.

    ``Dice = 2 TP / (2 TP + FP + FN)`` and ``IoU = TP / (TP + FP + FN)``.
    """
    scores: Scores = {}
    for number, name in enumerate(names, start=1):
        hits = int(counts[number, number])
        wrong = int(counts[number].sum() + counts[:, number].sum()) - 2 * hits
        if hits + wrong:
            scores[name] = {"dice": 2 * hits / (2 * hits + wrong), "iou": hits / (hits + wrong)}
    return scores


def accuracy(counts: Counts) -> float:
    """Share of voxels with the right label: the trace of the table over its sum."""
    return float(np.trace(counts) / counts.sum())


def structure_accuracy(counts: Counts) -> float:
    """Share of the voxels of structures that have the right label; 1 where there is no structure."""
    inside = counts[1:].sum()
    return float(np.trace(counts[1:, 1:]) / inside) if inside else 1.0


def mean_over_scans(scans: Sequence[Scores]) -> Scores:
    """Of each structure, the mean over the scans that have scores of it."""
    names = dict.fromkeys(name for scan in scans for name in scan)
    return {
        name: {
            metric: float(np.mean([scan[name][metric] for scan in scans if name in scan]))
            for metric in ("dice", "iou")
        }
        for name in names
    }


def summarised(scans: Sequence[Scores], tables: Sequence[Counts]) -> dict[str, float]:
    """Means over structures (each the mean over its scans) of Dice and IoU, and over scans of accuracy."""
    means: Mapping[str, Mapping[str, float]] = mean_over_scans(scans)
    found = {
        f"mean_{metric}": float(np.mean([row[metric] for row in means.values()])) if means else 1.0
        for metric in ("dice", "iou")
    }
    return found | {
        "pixel_accuracy": float(np.mean([accuracy(table) for table in tables])),
        "structure_accuracy": float(np.mean([structure_accuracy(table) for table in tables])),
    }

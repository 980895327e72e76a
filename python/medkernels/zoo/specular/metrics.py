"""How well masks agree, pixel by pixel: for each frame, as a mean over frames, and over all pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

NAMES = ("accuracy", "precision", "recall", "f1", "jaccard")

Bools = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]  # [...,4]: true and false positives, false and true negatives
Floats = npt.NDArray[np.float64]


def count(mask: Bools, truth: Bools) -> Counts:
    """Pixels [4] that are rightly marked, wrongly marked, wrongly left and rightly left.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    if mask.shape != truth.shape:
        raise ValueError(f"mask has shape {list(mask.shape)}, truth {list(truth.shape)}")
    return from_totals(
        np.count_nonzero(mask & truth), np.count_nonzero(mask), np.count_nonzero(truth), mask.size
    )


def from_totals(hits: Any, marked: Any, true: Any, pixels: Any) -> Counts:
    """Counts [...,4] from the numbers of pixels that are both, marked, true, and in the frame."""
    return np.stack(
        np.broadcast_arrays(hits, marked - hits, true - hits, pixels - marked - true + hits), axis=-1
    ).astype(np.int64)


def scores(counts: Counts) -> dict[str, Floats]:
    """Accuracy, precision, recall, F1 and Jaccard index of counts [...,4].

    Where nothing is to be found, precision, recall, F1 and Jaccard index are 1 if nothing is marked. If only
    one of both masks is empty they are 0.

    Returns
    -------
    dict of arrays [...]
        By the names in ``NAMES``.
    """
    hits, false, missed, left = np.moveaxis(np.asarray(counts, np.float64), -1, 0)
    empty = (hits + false + missed) == 0

    def share(part: Floats, whole: Floats) -> Floats:
        return np.where(empty, 1.0, part / np.maximum(whole, 1))

    return {
        "accuracy": (hits + left) / np.maximum(hits + false + missed + left, 1),
        "precision": share(hits, hits + false),
        "recall": share(hits, hits + missed),
        "f1": share(2 * hits, 2 * hits + false + missed),
        "jaccard": share(hits, hits + false + missed),
    }


def summarise(counts: Counts) -> dict[str, dict[str, float]]:
    """Scores of frames [N,4]: ``macro``, their mean over frames, and ``micro``, of all pixels together.

    Raises
    ------
    ValueError
        If there is no frame.
    """
    if len(counts) == 0:
        raise ValueError("counts: want at least one frame")
    return {
        "macro": {name: float(value.mean()) for name, value in scores(counts).items()},
        "micro": {name: float(value) for name, value in scores(counts.sum(axis=0)).items()},
    }


def flat(summary: dict[str, dict[str, float]]) -> dict[str, float]:
    """A summary under names such as ``macro_f1``."""
    return {f"{kind}_{name}": value for kind, values in summary.items() for name, value in values.items()}

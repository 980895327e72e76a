"""Precision, recall and F1 of samples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from torch import Tensor

TINY = 1e-5  # in denominators, as published


def f1_scores(found: Tensor, truth: Tensor) -> Tensor:
    """F1 of each sample, bool [B,n]; 1 where there are no blasts and none are found."""
    hits = (found & truth).sum(dim=1)
    wrong = (found ^ truth).sum(dim=1)
    scores = 2 * hits / (2 * hits + wrong).clamp(min=1)
    return scores.where((hits + wrong) > 0, 1.0)


def sample_metrics(found: npt.NDArray[np.bool_], truth: npt.NDArray[np.bool_]) -> dict[str, float]:
    """Precision, recall and F1 of one sample; all 1 where there are no blasts and none are found."""
    hits, extra, missed = (int((a & b).sum()) for a, b in ((found, truth), (found, ~truth), (~found, truth)))
    if hits + extra + missed == 0:
        return {"precision": 1.0, "recall": 1.0, "f1": 1.0}
    return {
        "precision": hits / (hits + extra + TINY),
        "recall": hits / (hits + missed + TINY),
        "f1": 2 * hits / (2 * hits + extra + missed + TINY),
    }


def summarised(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """Mean and median over samples of each metric."""
    table = {name: [row[name] for row in rows] for name in ("precision", "recall", "f1")}
    means = {f"mean_{name}": float(np.mean(values)) for name, values in table.items()}
    return means | {"median_f1": float(np.median(table["f1"]))}

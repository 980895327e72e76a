"""A trained network applied to a cohort: classes and metrics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, roc_auc_score
from torch import nn

from medkernels.zoo.topo_mci.cohort import Cohort
from medkernels.zoo.topo_mci.learners import probabilities
from medkernels.zoo.topo_mci.persistence import Floats
from medkernels.zoo.topo_mci.tables import write_csv


def predict(
    cohort: Cohort,
    measure: Callable[[Cohort], Floats],
    module: nn.Module,
    classes: Sequence[str],
    out_dir: Path | None,
) -> dict[str, Any]:
    """What `TopoMCI.predict` returns and writes; `measure` gives the PR matrices, of which the last count."""
    matrices = measure(cohort)[:, -1]
    found = probabilities(module, matrices)
    answers = [classes[number] for number in found.argmax(axis=1)]
    files = []
    if out_dir is not None:
        rows = zip(cohort.subjects, answers, found.tolist(), strict=True)
        write_csv(
            out_dir / "predictions.csv",
            ["subject", "predicted", *(f"p({name})" for name in classes)],
            [[subject, answer, *values] for subject, answer, values in rows],
        )
        files.append("predictions.csv")
    return {
        "subjects": list(cohort.subjects),
        "classes": answers,
        "class_names": list(classes),
        "probabilities": found,
        "matrices": matrices,
        "rois": list(cohort.rois),
        "skipped": [list(entry) for entry in cohort.skipped],
        "files": files,
    }


def evaluate(
    cohort: Cohort, measure: Callable[[Cohort], Floats], module: nn.Module, classes: Sequence[str]
) -> dict[str, float]:
    """What `TopoMCI.evaluate` returns."""
    named = [
        name for number, name in enumerate(cohort.classes) if number in cohort.labels and name in classes
    ]
    if not named:
        raise ValueError(
            f"data: no subject is of class {' or '.join(classes)}, which the system knows; "
            f"there are: {', '.join(cohort.classes) or 'none'}"
        )
    judged = cohort.of_classes(named)
    truth = np.array([classes.index(name) for name in named])[judged.labels]
    found = probabilities(module, measure(judged)[:, -1])
    answers = found.argmax(axis=1)
    metrics = {
        "accuracy": float(accuracy_score(truth, answers)),
        "balanced_accuracy": float(balanced_accuracy_score(truth, answers)),
        "macro_f1": float(f1_score(truth, answers, average="macro")),
    }
    if len(classes) == len(named) == 2:
        metrics["roc_auc"] = float(roc_auc_score(truth, found[:, 1]))
    return metrics | {
        "subjects": len(judged),
        "of_other_classes": len(cohort) - len(judged),
        "skipped": len(cohort.skipped),
    }

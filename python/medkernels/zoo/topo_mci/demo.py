"""The demonstration: the whole chain on generated series, in all three dimensions of homology."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from medkernels.zoo.engine import FitOptions, Report
from medkernels.zoo.engine.logs import Row
from medkernels.zoo.topo_mci.learners import LEARNERS, one_thread
from medkernels.zoo.topo_mci.persistence import Chain, pearson_matrices, pr_matrices
from medkernels.zoo.topo_mci.pictures import draw_accuracies, draw_histories
from medkernels.zoo.topo_mci.report import HOLES, add_topology
from medkernels.zoo.topo_mci.splits import accuracies, run_splits
from medkernels.zoo.topo_mci.standin import CLASSES, HUBS, ROIS, SAMPLES, stand_in
from medkernels.zoo.topo_mci.system import TopoMCI
from medkernels.zoo.topo_mci.tables import p_maps

SUBJECTS = 60
SPLITS = 3
HELD_OUT = 0.4
SAVED = 1  # the dimension of homology whose network is saved
TRAINING = {"max_epochs": 30, "batch_size": 16, "lr": 1e-3, "checkpoint_every_epochs": 10}
DENSENET_EPOCHS = 10


def run_demo(out_dir: Path) -> Path:
    """Train on every kind of matrix, and write ``report.html`` and a model into ``out_dir``."""
    cohort = stand_in(SUBJECTS)
    chain = Chain(max_dim=len(HOLES) - 1, zscore=True)
    started = time.perf_counter()
    matrices = pr_matrices(cohort.series, chain)
    seconds = {"persistence and distances, s": round(time.perf_counter() - started, 1)}
    sources = {f"H{k}, {name}": matrices[:, k] for k, name in enumerate(HOLES)}
    sources["Pearson correlations"] = pearson_matrices(cohort.series)
    deep = (SAVED, len(HOLES))  # DenseNet-121 takes by far the longest: loops and correlations only

    options = FitOptions(**TRAINING, resume=False)  # type: ignore[arg-type]
    hasty = replace(options, max_epochs=DENSENET_EPOCHS)
    rows: list[dict[str, object]] = []
    values: dict[str, Sequence[float]] = {}
    histories: dict[str, list[Row]] = {}
    started = time.perf_counter()
    for number, (source, table) in enumerate(sources.items()):
        folder = out_dir / "training" / f"{number}"
        with one_thread():
            splits = run_splits(table, cohort.labels, ["cnn", "forest"], SPLITS, HELD_OUT, folder, options)
            found = accuracies(splits, cohort.labels)
            if number in deep:
                one = run_splits(table, cohort.labels, ["densenet"], 1, HELD_OUT, folder, hasty)
                found |= accuracies(one, cohort.labels)
        row: dict[str, object] = {"matrices": source}
        rows.append(row | {LEARNERS[name]: value["mean"] for name, value in found.items()})
        values[source] = [split.accuracy("cnn", cohort.labels) for split in splits]
        histories[source] = splits[0].histories["cnn"]
        if number == SAVED:
            system = TopoMCI(homology=SAVED, zscore=True, rois=ROIS, classes=CLASSES)
            system.module = splits[0].networks["cnn"]
            system.save_pretrained(out_dir / "model")
    seconds["training, s"] = round(time.perf_counter() - started, 1)

    report = Report(
        "Groups told apart by the topology of their series",
        "topo_mci on generated series: windows, Vietoris-Rips persistence, Wasserstein distances, CNN",
    )
    report.section(
        "Result",
        f"{SUBJECTS} subjects with {ROIS} series of {SAMPLES} samples each. In class {CLASSES[0]} every "
        "series is a noisy clock, and its window draws a loop. In class "
        f"{CLASSES[1]} the first {HUBS} series have the same power spectrum and random phases, and the loop "
        "is filled. Correlations do not tell the classes "
        "apart; distances between persistence diagrams do.",
    )
    report.table(
        rows,
        f"Accuracy on held-out subjects ({HELD_OUT:.0%} of all), mean of {SPLITS} splits; "
        f"{TRAINING['max_epochs']} epochs of the CNN; DenseNet-121 on the first split alone, "
        f"{DENSENET_EPOCHS} epochs.",
    )
    report.figure(
        draw_accuracies(values, 0.5), "The CNN: a dot a split, a bar at the mean; the dotted line is chance."
    )
    report.metrics({"subjects": SUBJECTS, "clouds of points": SUBJECTS * ROIS, **seconds})
    add_topology(report, cohort, chain, matrices, p_maps(cohort, matrices))
    report.section("Training")
    report.figure(draw_histories(histories), "The CNN on the first split.")
    return report.save(out_dir / "report.html")

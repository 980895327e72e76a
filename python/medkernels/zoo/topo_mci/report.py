"""The report of a training, and the sections that the demonstration shares with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medkernels.zoo.engine import Report
from medkernels.zoo.topo_mci.cohort import Cohort
from medkernels.zoo.topo_mci.learners import LEARNERS
from medkernels.zoo.topo_mci.persistence import Chain, Floats, ps_matrix
from medkernels.zoo.topo_mci.pictures import (
    ALPHA,
    draw_accuracies,
    draw_histories,
    draw_matrices,
    draw_p_map,
    draw_series,
    draw_subjects,
)
from medkernels.zoo.topo_mci.splits import Split, accuracy_rows
from medkernels.zoo.topo_mci.tables import Maps

HOLES = ("components", "loops", "cavities")
STRONGEST = 10  # pairs of ROIs that a table names
LISTED = 50  # most skipped subjects named


def write_report(
    cohort: Cohort,
    chain: Chain,
    matrices: Floats,
    maps: Maps,
    splits: Sequence[Split],
    metrics: Mapping[str, Any],
    path: Path,
) -> Path:
    """Write the report of `TopoMCI.fit`.

    Parameters
    ----------
    matrices : [N,K,n,n]
        PR matrices in all dimensions of homology up to the one that was learned from, the last.
    maps : see `p_maps`.
    splits : what `run_splits` returned.
    metrics : as in ``metrics.json``.
    """
    homology = chain.max_dim
    report = Report(
        "Groups told apart by the topology of their series",
        f"topo_mci: {' and '.join(cohort.classes)}, {len(cohort.rois)} ROIs, H{homology} ({HOLES[homology]})",
    )
    report.section(
        "Result", "Each learner was trained anew on every split and judged on the subjects held out."
    )
    report.table(accuracy_rows(metrics["accuracy"]), _splits_note(splits, metrics["chance"]))
    values = {
        LEARNERS[name]: [split.accuracy(name, cohort.labels) for split in splits]
        for name in splits[0].probabilities
    }
    report.figure(
        draw_accuracies(values, metrics["chance"]),
        "A dot a split; bars are means, the dotted line is chance.",
    )
    report.metrics({**metrics["subjects"], "ROIs": len(cohort.rois), "subjects skipped": len(cohort.skipped)})
    add_topology(report, cohort, chain, matrices, maps)
    report.section("Training")
    histories = {LEARNERS[name]: rows for name, rows in splits[0].histories.items()}
    report.figure(draw_histories(histories), "First split.")
    if cohort.skipped:
        report.section("Skipped subjects")
        report.table([{"subject": name, "reason": reason} for name, reason in cohort.skipped[:LISTED]])
        if len(cohort.skipped) > LISTED:
            report.text(f"and {len(cohort.skipped) - LISTED} more.")
    return report.save(path)


def add_topology(report: Report, cohort: Cohort, chain: Chain, matrices: Floats, maps: Maps) -> None:
    """Sections on diagrams, PR matrices, p-values and PS matrices."""
    kinds = range(matrices.shape[1])
    people = [int(np.flatnonzero(cohort.labels == number)[0]) for number in range(len(cohort.classes))]
    roi = telling_roi(maps)
    report.section(
        "Series and diagrams",
        f"One ROI, {cohort.rois[roi]}, of the first subject of each class: its series, the cloud that the "
        "sliding window draws, and the births and deaths of the holes of the cloud.",
    )
    rows = [
        (f"{cohort.classes[cohort.labels[i]]}: {cohort.subjects[i]}", cohort.series[i][roi]) for i in people
    ]
    report.figure(draw_series(rows, chain), "H0 components, H1 loops, H2 cavities.")
    report.section(
        "Distances between ROIs",
        "Wasserstein distances between the diagrams of two ROIs of one subject (PR matrices), class means.",
    )
    means = [
        [matrices[cohort.labels == g, k].mean(axis=0) for g in range(len(cohort.classes))] for k in kinds
    ]
    report.figure(
        draw_matrices(means, [f"H{k}" for k in kinds], cohort.classes), "ROIs in the order of the atlas."
    )
    add_p_maps(report, cohort, maps)
    report.section(
        "Distances between subjects",
        f"Of the diagrams of one ROI, {cohort.rois[roi]} (PS matrices).",
    )
    drawn: list[tuple[Any, str]] = []
    for k in kinds:
        distances = ps_matrix(cohort.series, roi, k, chain)
        drawn.append((draw_subjects(distances, cohort.labels, cohort.classes, f"H{k}"), f"H{k}: {HOLES[k]}"))
    report.gallery(drawn, "Subjects in the order of their classes.")


def add_p_maps(report: Report, cohort: Cohort, maps: Maps) -> None:
    """P-plots and the pairs of ROIs that differ most."""
    size = len(cohort.rois)
    pairs = size * (size - 1) // 2
    report.section(
        "Pairs of ROIs that differ",
        f"Rank-sum test between two classes on each of the {pairs} pairs. Of {pairs} tests of groups that "
        f"do not differ, about {ALPHA * pairs:.1f} fall below {ALPHA} by chance, unless p is adjusted.",
    )
    drawn: list[tuple[Any, str]] = []
    rows: list[dict[str, object]] = []
    for (k, first, second), found in maps.items():
        title = f"H{k}: {cohort.classes[first]} and {cohort.classes[second]}"
        upper = np.triu_indices(size, 1)
        count = int((found.p[upper] < ALPHA).sum())
        drawn.append((draw_p_map(found.p, cohort.rois, title), f"{count} of {pairs} pairs below {ALPHA}"))
        order = np.argsort(found.p[upper], kind="stable")[:STRONGEST]
        rows += [
            {
                "holes": f"H{k}",
                "classes": f"{cohort.classes[first]}, {cohort.classes[second]}",
                "ROI": cohort.rois[upper[0][i]],
                "other ROI": cohort.rois[upper[1][i]],
                "z": float(found.z[upper][i]),
                "p": float(found.p[upper][i]),
            }
            for i in order
        ]
    report.gallery(drawn, f"P-plots; a dot marks p < {ALPHA}.")
    report.table(rows, "The smallest p-values; z is above 0 where distances are larger in the first class.")


def telling_roi(maps: Maps) -> int:
    """The ROI whose pairs differ most between classes, by the sum of log p over all maps."""
    scores = sum(
        np.log(np.maximum(found.p, np.finfo(np.float64).tiny)).sum(axis=0) for found in maps.values()
    )
    return int(np.argmin(scores))


def _splits_note(splits: Sequence[Split], chance: float) -> str:
    train, test = len(splits[0].train), len(splits[0].held_out)
    return (
        f"{len(splits)} splits into {train} subjects for training and {test} held out; the share of the "
        f"largest class is {chance:.2f}."
    )

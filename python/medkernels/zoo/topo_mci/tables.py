"""Tables for people and spreadsheets: predictions, and the p-values of all pairs of ROIs."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medkernels.zoo.engine.files import replacing
from medkernels.zoo.topo_mci.cohort import Cohort
from medkernels.zoo.topo_mci.persistence import Floats
from medkernels.zoo.topo_mci.rank_sum import RankSum, p_map
from medkernels.zoo.topo_mci.splits import Split

Maps = dict[tuple[int, int, int], RankSum]  # by dimension of homology, first and second class


def p_maps(cohort: Cohort, matrices: Floats, *, fdr: bool = False) -> Maps:
    """Rank-sum maps of PR matrices [N,K,n,n] for each dimension and each two classes."""
    maps: Maps = {}
    for k in range(matrices.shape[1]):
        for first, second in itertools.combinations(range(len(cohort.classes)), 2):
            chosen = np.isin(cohort.labels, (first, second))
            maps[k, first, second] = p_map(matrices[chosen, k], cohort.labels[chosen] == first, fdr=fdr)
    return maps


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Write a table, whole or not at all."""
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


def write_p_values(
    path: Path, cohort: Cohort, matrices: Floats, maps: Mapping[tuple[int, int, int], RankSum]
) -> None:
    """A row for each dimension, two classes and pair of ROIs."""
    rows = []
    pairs = list(zip(*np.triu_indices(len(cohort.rois), 1), strict=True))
    for (k, first, second), found in maps.items():
        medians = [np.median(matrices[cohort.labels == group, k], axis=0) for group in (first, second)]
        for i, j in pairs:
            rows.append(
                [
                    k,
                    cohort.classes[first],
                    cohort.classes[second],
                    cohort.rois[i],
                    cohort.rois[j],
                    *(median[i, j] for median in medians),
                    found.z[i, j],
                    found.p[i, j],
                ]
            )
    header = ["homology", "first", "second", "roi", "other roi", "median first", "median second", "z", "p"]
    write_csv(path, header, rows)


def write_predictions(path: Path, cohort: Cohort, splits: Sequence[Split]) -> None:
    """A row for each split, learner and held-out subject."""
    rows = []
    for number, split in enumerate(splits):
        for learner, table in split.probabilities.items():
            for subject, values in zip(split.held_out, table, strict=True):
                rows.append(
                    [
                        number,
                        learner,
                        cohort.subjects[subject],
                        cohort.classes[cohort.labels[subject]],
                        cohort.classes[int(values.argmax())],
                        *values.tolist(),
                    ]
                )
    chances = [f"p({name})" for name in cohort.classes]
    write_csv(path, ["split", "learner", "subject", "class", "predicted", *chances], rows)

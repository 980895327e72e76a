"""Repeated splits: each learner is trained anew on a part of the subjects and judged on the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from torch import nn

from medkernels.zoo.engine import FitOptions
from medkernels.zoo.engine.logs import Row
from medkernels.zoo.topo_mci.learners import (
    LEARNERS,
    Ints,
    forest_probabilities,
    new_network,
    probabilities,
    split_subjects,
    train_network,
)
from medkernels.zoo.topo_mci.persistence import Floats


@dataclass(frozen=True)
class Split:
    """One split and what the learners made of it.

    Attributes
    ----------
    train, held_out : sorted subject numbers
    probabilities : dict
        By learner, [len(held_out), classes].
    histories : dict
        By network, one row an epoch.
    networks : dict
        The trained networks by name.
    seconds : float
        Of training the networks.
    rank : int
        This process; files are to be written by process 0 alone.
    """

    train: Ints
    held_out: Ints
    probabilities: dict[str, Floats]
    histories: dict[str, list[Row]]
    networks: dict[str, nn.Module]
    seconds: float
    rank: int

    def accuracy(self, learner: str, labels: Ints) -> float:
        """Share of the held-out subjects whose class the learner finds."""
        return float((self.probabilities[learner].argmax(axis=1) == labels[self.held_out]).mean())


def run_splits(
    matrices: Floats,
    labels: Ints,
    learners: Sequence[str],
    count: int,
    held_out: float,
    run_dir: Path,
    options: FitOptions,
    *,
    dropout: float = 0.2,
    init_seed: int = 0,
) -> list[Split]:
    """Train and judge learners on repeated splits; what was trained before a stop is not trained again.

    Parameters
    ----------
    matrices : [N,n,n]
    labels : [N]
    learners : of `LEARNERS`.
    count : int
        Splits; split number s draws its subjects from the seed of `options` plus s.
    held_out : float
        Share of the subjects.
    run_dir : Path
        Each training gets the folder ``split-<s>/<learner>`` in it.
    options : FitOptions
    dropout, init_seed
        Of the networks; split s starts from the weights of seed ``init_seed + s``.

    Raises
    ------
    ValueError
        If a class has too few subjects.
    """
    done = []
    outputs = int(labels.max()) + 1
    for number in range(count):
        seed = options.seed + number
        train, test = split_subjects(labels, held_out, seed)
        split = Split(train, test, {}, {}, {}, 0.0, 0)
        for learner in learners:
            if learner == "forest":
                split.probabilities[learner] = forest_probabilities(matrices, labels, train, test, seed)
                continue
            network = new_network(learner, matrices.shape[1], outputs, dropout, init_seed + number)
            folder = run_dir / f"split-{number}" / learner
            result = train_network(
                network, matrices[train], labels[train], folder, replace(options, seed=seed)
            )
            split.probabilities[learner] = probabilities(network, matrices[test])
            split.histories[learner] = result.history
            split.networks[learner] = network
            split = replace(split, seconds=split.seconds + result.seconds, rank=result.rank)
        done.append(split)
    return done


def accuracies(splits: Sequence[Split], labels: Ints) -> dict[str, dict[str, float]]:
    """Mean and range of the held-out accuracy over the splits, by learner."""
    found = {}
    for learner in splits[0].probabilities:
        values = np.array([split.accuracy(learner, labels) for split in splits])
        found[learner] = {
            "mean": float(values.mean()),
            "min": float(values.min()),
            "max": float(values.max()),
        }
    return found


def accuracy_rows(found: Mapping[str, Mapping[str, float]]) -> list[dict[str, object]]:
    """`accuracies` as rows for people."""
    return [
        {"learner": LEARNERS[name], "accuracy": row["mean"], "lowest": row["min"], "highest": row["max"]}
        for name, row in found.items()
    ]

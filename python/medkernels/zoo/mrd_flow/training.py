"""Training: random draws of events with their graph, and the loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import AdamW
from torch.utils.data import Dataset

from medkernels.zoo.engine import FitOptions, FitResult, fit
from medkernels.zoo.mrd_flow.graph import induce, induced_count, neighbour_table
from medkernels.zoo.mrd_flow.metrics import f1_scores
from medkernels.zoo.mrd_flow.model import Network
from medkernels.zoo.mrd_flow.sample import Sample

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class Structure:
    """How the graph and the inducing events of a sample are made.

    Attributes
    ----------
    k : int
        Neighbours of an event.
    ratio : float
        Of events that attention is induced by.
    picks : int or None
        Their number, instead of the ratio.
    """

    k: int = 10
    ratio: float = 0.0005
    picks: int | None = None


class Draws(Dataset[Batch]):
    """Equally many random events of each sample, as a network is trained on them.

    Parameters
    ----------
    samples : sequence of Sample
        With labels.
    events : int
        Drawn from each; a sample with fewer gives some of them twice.
    network : Network
        Tells which structures are needed.
    structure : Structure
    jitter : float
        Standard deviation of noise on each channel.
    training : bool
        If False every draw of a sample is the same, nothing is jittered, and the first inducing event is the
        one nearest to the mean.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        events: int,
        network: Network,
        structure: Structure,
        *,
        jitter: float = 0.0,
        training: bool,
    ) -> None:
        self.samples, self.events, self.structure = samples, events, structure
        self.graph, self.induced = network.graph, network.induced
        self.jitter, self.training = jitter, training

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Batch:
        sample = self.samples[index]
        # The engine seeds the global generator for each item, so that a resumed run draws the same.
        seed = int(torch.randint(2**62, ())) if self.training else index
        rng = np.random.default_rng(seed)
        chosen = draw(len(sample), self.events, rng)
        features, space = sample.features[chosen], sample.graph_space[chosen]
        if self.training and self.jitter:
            same = sample.space is None
            features = features + self.jitter * rng.standard_normal(features.shape, np.float32)
            space = features if same else space + self.jitter * rng.standard_normal(space.shape, np.float32)
        assert sample.labels is not None
        batch = {
            "features": torch.from_numpy(features),
            "labels": torch.from_numpy(sample.labels[chosen].astype(np.float32)),
        }
        if self.graph:
            batch["neighbours"] = torch.from_numpy(neighbour_table(space, self.structure.k))
        if self.induced:
            count = induced_count(self.events, self.structure.ratio, self.structure.picks)
            start = int(rng.integers(self.events)) if self.training else None
            batch["picks"] = torch.from_numpy(induce(features, count, start))
        return batch


def draw(available: int, events: int, rng: np.random.Generator) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Places of random events, ascending; all of them and some twice where there are too few."""
    if available >= events:
        return np.sort(rng.choice(available, events, replace=False, shuffle=False))
    more = rng.integers(available, size=events - available)
    return np.sort(np.concatenate([np.arange(available), more]))


def train_network(
    network: Network,
    structure: Structure,
    train: Sequence[Sample],
    valid: Sequence[Sample],
    run_dir: Path,
    options: FitOptions,
    *,
    events: int,
    jitter: float,
    smoothing: float,
) -> FitResult:
    """Train on some samples and keep the weights with the highest mean F1 on others.

    Parameters
    ----------
    valid : the others; without any the weights of the lowest training loss are kept.
    events : drawn from each sample and epoch.
    jitter : standard deviation of noise on each channel.
    smoothing : labels are ``(1 - smoothing) y + smoothing / 2``.
    """

    def loss(module: nn.Module, batch: Batch) -> dict[str, Tensor]:
        logits = module(batch["features"], batch.get("neighbours"), batch.get("picks"))
        wanted = batch["labels"] * (1 - smoothing) + smoothing / 2
        entropy = F.binary_cross_entropy_with_logits(logits, wanted)
        f1 = f1_scores(logits.detach() > 0, batch["labels"] > 0.5).mean()
        # The engine keeps the weights of the lowest validation loss: as published, of the highest F1.
        return {"loss": entropy if module.training else 1 - f1, "entropy": entropy, "f1": f1}

    drawn = Draws(train, events, network, structure, jitter=jitter, training=True)
    judged = Draws(valid, events, network, structure, training=False) if valid else None
    optimizer = AdamW(network.parameters(), lr=options.lr, weight_decay=options.weight_decay, amsgrad=True)
    return fit(network, drawn, judged, run_dir, options, loss=loss, optimizer=optimizer)

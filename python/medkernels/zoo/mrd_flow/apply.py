"""A trained network applied to whole samples: blasts, MRD and metrics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from medkernels.zoo.mrd_flow.cohort import Data, Skipped, listed, stream
from medkernels.zoo.mrd_flow.data import Reading
from medkernels.zoo.mrd_flow.graph import as_tensor, induce, induced_count, neighbour_table
from medkernels.zoo.mrd_flow.metrics import sample_metrics, summarised
from medkernels.zoo.mrd_flow.model import Network
from medkernels.zoo.mrd_flow.sample import Sample
from medkernels.zoo.mrd_flow.tables import write_mrd, write_sample
from medkernels.zoo.mrd_flow.training import Structure

Row = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """What the network says of one sample.

    Attributes
    ----------
    sample : Sample
    probabilities : float32 [n]
        Of being a blast.
    found : bool [n]
        Whether the logit is above 0.
    """

    sample: Sample
    probabilities: npt.NDArray[np.float32]
    found: npt.NDArray[np.bool_]

    @property
    def mrd(self) -> float:
        """Share of blasts among the events."""
        return float(self.found.mean())

    @property
    def row(self) -> Row:
        """A line for a table of samples."""
        row: Row = {
            "sample": self.sample.name,
            "events": self.sample.events,
            "judged": len(self.sample),
            "blasts": int(self.found.sum()),
            "mrd": self.mrd,
        }
        if self.sample.labels is not None:
            truth = self.sample.labels > 0
            row |= {"expert_blasts": int(truth.sum()), "expert_mrd": float(truth.mean())}
            row |= sample_metrics(self.found, truth)
        return row


def infer(network: Network, structure: Structure, sample: Sample) -> Answer:
    """Judge all events of a sample in one pass.

    The graph and the inducing events are found on the CPU. Memory beside them is some hundreds of bytes an
    event: layers go over blocks of events, and attention keeps keys and values only.
    """
    device = next(network.parameters()).device
    features = np.array(sample.features)  # which may be a part of a file that must not be written to
    neighbours = picks = None
    if network.graph:
        neighbours = as_tensor(neighbour_table(sample.graph_space, structure.k), device)
    if network.induced:
        count = induced_count(len(sample), structure.ratio, structure.picks)
        picks = as_tensor(induce(features, count), device)
    network.eval()
    with torch.inference_mode():
        logits = network(as_tensor(features, device), neighbours, picks)[0].float()
        probabilities = logits.sigmoid().cpu().numpy()
    return Answer(sample, probabilities, (logits > 0).cpu().numpy())


def predict(
    network: Network, structure: Structure, reading: Reading, data: Data, out_dir: Path | None
) -> dict[str, Any]:
    """What `MRDFlow.predict` returns and writes."""
    skipped: Skipped = []
    rows: list[Row] = []
    files: list[str] = []
    events: dict[str, Any] = {}
    for sample, file in stream(data, reading, skipped):
        answer = infer(network, structure, sample)
        rows.append(answer.row)
        if out_dir is None:
            events[sample.name] = {"probabilities": answer.probabilities, "blast": answer.found}
        else:
            files += write_sample(out_dir, answer, file)
    if not rows:
        raise ValueError(f"data: no sample can be used ({listed(skipped)})")
    if out_dir is not None:
        files.append(write_mrd(out_dir, rows))
    columns = {name: np.array([row[name] for row in rows]) for name in ("events", "judged", "blasts", "mrd")}
    return {
        "samples": [row["sample"] for row in rows],
        **columns,
        **({"of_events": events} if events else {}),
        "skipped": [list(entry) for entry in skipped],
        "files": files,
    }


def judge(network: Network, structure: Structure, samples: Sequence[Sample]) -> list[Row]:
    """A line of metrics for each sample."""
    return [infer(network, structure, sample).row for sample in samples]


def evaluate(network: Network, structure: Structure, reading: Reading, data: Data) -> dict[str, float]:
    """What `MRDFlow.evaluate` returns."""
    skipped: Skipped = []
    rows = [
        infer(network, structure, sample).row for sample, _ in stream(data, reading, skipped, labelled=True)
    ]
    if not rows:
        raise ValueError(f"data: no sample can be judged ({listed(skipped)})")
    return summarised(rows) | {"samples": len(rows), "skipped": len(skipped)}

"""What learns from distance matrices: the published network, and the two baselines beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from medkernels.zoo.engine import FitOptions, FitResult, fit
from medkernels.zoo.topo_mci.model import DistanceCNN
from medkernels.zoo.topo_mci.persistence import Floats, standardise

LEARNERS = {"cnn": "1D + 2D CNN", "forest": "random forest", "densenet": "DenseNet-121"}
TREES = 500
# DenseNet-121 halves its picture five times: matrices are enlarged to this side at least, px.
DENSENET_SIDE = 64
LOOKED_AT = 256  # matrices that a network judges at a time

Ints = npt.NDArray[np.int64]


class DenseNet(nn.Module):
    """DenseNet-121 of MONAI on a matrix, whose cells are enlarged to whole squares of pixels."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        from monai.networks.nets.densenet import DenseNet121  # takes seconds to import

        self.network = DenseNet121(spatial_dims=2, in_channels=1, out_channels=outputs)

    def forward(self, matrices: Tensor) -> Tensor:
        """[B,n,n] -> logits [B,outputs]."""
        factor = -(-DENSENET_SIDE // matrices.shape[-1])
        logits: Tensor = self.network(F.interpolate(matrices[:, None], scale_factor=float(factor)))
        return logits


def new_network(kind: str, rois: int, outputs: int, dropout: float, seed: int) -> nn.Module:
    """A network of `LEARNERS` with first weights drawn from the seed; global generators stay as they are."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return DistanceCNN(rois, outputs, dropout) if kind == "cnn" else DenseNet(outputs)


def train_network(
    module: nn.Module, matrices: Floats, labels: Ints, run_dir: Path, options: FitOptions
) -> FitResult:
    """Train on all matrices [N,n,n] given, each standardised on its own; no subject is set aside."""

    def loss(module: nn.Module, batch: Sequence[Tensor]) -> dict[str, Tensor]:
        logits = module(batch[0])
        right = (logits.argmax(dim=1) == batch[1]).float().mean()
        return {"loss": F.cross_entropy(logits, batch[1]), "accuracy": right}

    data = TensorDataset(_to_tensor(matrices), torch.from_numpy(labels))
    return fit(module, data, None, run_dir, options, loss=loss)


@torch.no_grad()
def probabilities(module: nn.Module, matrices: Floats) -> Floats:
    """Probabilities [N,classes] that a trained network gives to matrices [N,n,n]."""
    module.eval()
    device = next(module.parameters()).device
    parts = [
        module(part.to(device)).softmax(dim=1).cpu() for part in torch.split(_to_tensor(matrices), LOOKED_AT)
    ]
    found: Floats = torch.cat(parts).double().numpy()
    return found


def forest_probabilities(matrices: Floats, labels: Ints, train: Ints, test: Ints, seed: int) -> Floats:
    """Probabilities [len(test),classes] of a random forest on the entries above the diagonal."""
    rows, columns = np.triu_indices(matrices.shape[1], 1)
    features = standardise(matrices)[:, rows, columns]
    forest = RandomForestClassifier(TREES, random_state=seed).fit(features[train], labels[train])
    found: Floats = forest.predict_proba(features[test])
    return found


def split_subjects(labels: Ints, share: float, seed: int) -> tuple[Ints, Ints]:
    """Sorted subject numbers to train on, and a share held out, each class in proportion.

    Raises
    ------
    ValueError
        If some class would have no subject in either part.
    """
    counts = np.bincount(labels)
    held_out = max(round(share * len(labels)), len(counts))
    if counts.min() < 2 or len(labels) - held_out < len(counts):
        raise ValueError(
            f"data: too few subjects to hold out {share:g} of them: there are {counts.tolist()} by class"
        )
    parts: list[Any] = train_test_split(
        np.arange(len(labels)), test_size=held_out, stratify=labels, random_state=seed
    )
    return np.sort(parts[0]), np.sort(parts[1])


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread: small matrices do not keep more of them busy, and waiting for them costs."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _to_tensor(matrices: Floats) -> Tensor:
    return torch.from_numpy(standardise(matrices)).float()

"""Training: sites of structures, turned and shifted at random, and the loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer
from torch.utils.data import Dataset

from medkernels.zoo.drivpocket.fusion import Grid
from medkernels.zoo.drivpocket.model import DRIVPocket
from medkernels.zoo.drivpocket.sites import (
    POINTS,
    RESOLUTION,
    SIDE,
    Site,
    label_known,
    make_site,
    moved,
    random_rotation,
)
from medkernels.zoo.drivpocket.structure import Floats, Structure
from medkernels.zoo.engine import FitOptions, FitResult, fit

Batch = dict[str, Tensor]

OPTIMIZERS = ("sgd", "adamw")
MOMENTUM = 0.9
VOXEL_WEIGHT, DICE_WEIGHT, POINT_WEIGHT = 2.0, 0.5, 1.0
SMOOTHING = 0.01  # of the Dice coefficient
SHIFT = 1.0  # Angstrom


@dataclass(frozen=True)
class Cube:
    """What the network reads around a centre.

    Attributes
    ----------
    side, resolution : float
        Edge of the cube and spacing of its lattice, Angstrom.
    points : int
        How many of the nearest atoms.
    """

    side: float = SIDE
    resolution: float = RESOLUTION
    points: int = POINTS

    @property
    def edge(self) -> int:
        """R, lattice points along an edge."""
        return Grid(np.zeros(3, np.float32), self.side, self.resolution).points

    def site(self, structure: Structure, centre: Floats) -> Site:
        """The cube around a centre; see `medkernels.zoo.drivpocket.sites.make_site`."""
        return make_site(structure, centre, side=self.side, resolution=self.resolution, points=self.points)


class Sites(Dataset[Batch]):
    """Labelled sites as a network is trained on them.

    Parameters
    ----------
    entries : sequence of (Structure, centre)
    cube : Cube
    turn : bool
        Turn each site at random about its centre, and shift the centre.
    shift : float
        Greatest length of the shift, Angstrom.
    streams : {"both", "voxel", "points"}
        What the network asks for.
    """

    def __init__(
        self,
        entries: Sequence[tuple[Structure, Floats]],
        cube: Cube,
        *,
        turn: bool,
        shift: float = SHIFT,
        streams: str = "both",
    ) -> None:
        self.entries, self.cube, self.turn, self.shift, self.streams = entries, cube, turn, shift, streams

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> Batch:
        structure, centre = self.entries[index]
        if self.turn:
            # The engine seeds the global generator for each item, so that a resumed run draws the same.
            rng = np.random.default_rng(int(torch.randint(2**62, ())))
            structure = moved(structure, random_rotation(rng), centre)
            step = rng.standard_normal(3)
            step *= self.shift * rng.random() ** (1 / 3) / np.linalg.norm(step)
            centre = (centre + step).astype(np.float32)
        return tensors(label_known(self.cube.site(structure, centre)), self.streams)


def tensors(site: Site, streams: str = "both") -> Batch:
    """What a network asks for of a site, with the labels if it has any."""
    batch: Batch = {}
    if streams != "points":
        batch["voxels"] = torch.from_numpy(site.voxels())
        if site.voxel_labels is not None:
            batch["voxel_labels"] = torch.from_numpy(site.voxel_labels.astype(np.float32))
    if streams != "voxel":
        batch["points"] = torch.from_numpy(site.points)
        batch["types"] = torch.from_numpy(site.types)
        batch["present"] = torch.from_numpy(site.present)
        if site.atom_labels is not None:
            batch["atom_labels"] = torch.from_numpy(site.atom_labels.astype(np.float32))
    return batch


def losses(module: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """``2 BCE(voxels) + 0.5 Dice(voxels) + BCE(points)``, and its terms."""
    voxels, points = module(batch.get("voxels"), batch.get("points"), batch.get("types"))
    terms: dict[str, Tensor] = {}
    total: Any = 0.0
    if voxels is not None:
        wanted = batch["voxel_labels"]
        terms["voxel"] = F.binary_cross_entropy_with_logits(voxels.float(), wanted)
        terms["dice"] = dice_loss(voxels.float().sigmoid(), wanted)
        total = VOXEL_WEIGHT * terms["voxel"] + DICE_WEIGHT * terms["dice"]
    if points is not None:
        each = F.binary_cross_entropy_with_logits(points.float(), batch["atom_labels"], reduction="none")
        present = batch["present"]
        # A mean over sites, each of which is the mean over its atoms.
        terms["point"] = ((each * present).sum(1) / present.sum(1)).mean()
        total = total + POINT_WEIGHT * terms["point"]
    return {"loss": total} | terms


def dice_loss(probabilities: Tensor, wanted: Tensor) -> Tensor:
    """1 less the Dice coefficient of each site, as a mean over the sites [B,R,R,R] -> []."""
    shared = (probabilities * wanted).flatten(1).sum(1)
    both = probabilities.flatten(1).sum(1) + wanted.flatten(1).sum(1)
    return (1 - (2 * shared + SMOOTHING) / (both + SMOOTHING)).mean()


def optimizer_of(network: nn.Module, name: str, options: FitOptions) -> Optimizer:
    """The published optimiser, "sgd", or "adamw", which needs fewer epochs."""
    if name == "sgd":
        return SGD(network.parameters(), lr=options.lr, momentum=MOMENTUM, weight_decay=options.weight_decay)
    return AdamW(network.parameters(), lr=options.lr, weight_decay=options.weight_decay)


def train_network(
    network: DRIVPocket,
    train: Dataset[Batch],
    valid: Dataset[Batch] | None,
    run_dir: Path,
    options: FitOptions,
    *,
    optimizer: str = "sgd",
) -> FitResult:
    """Train on some sites and keep the weights of the lowest loss on others.

    Parameters
    ----------
    valid : the others; without any the weights of the lowest training loss are kept.
    optimizer : "sgd" as published, or "adamw".
    """
    with_momentum = optimizer_of(network, optimizer, options)
    return fit(network, train, valid, run_dir, options, loss=losses, optimizer=with_momentum)

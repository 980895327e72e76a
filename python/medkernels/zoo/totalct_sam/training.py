"""Training: windows of scans with earlier windows in the memory, rounds of clicks, and the loss."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from medkernels.segmentation import upsample_argmax, upsample_dice_ce
from medkernels.zoo.engine import FitOptions, FitResult, fit
from medkernels.zoo.totalct_sam.classes import mirrored
from medkernels.zoo.totalct_sam.clicks import random_points
from medkernels.zoo.totalct_sam.model import TotalCTSAM
from medkernels.zoo.totalct_sam.prompt_encoder import Prompts
from medkernels.zoo.totalct_sam.session import ANY, log_odds
from medkernels.zoo.totalct_sam.volume import Scan

Batch = dict[str, Tensor]
ANCHORS = 64  # voxels of each structure that windows are drawn around
ANYWHERE = 0.2  # share of windows drawn without regard to structures
SILENT = (
    2,
    8,
)  # of these click rounds one, drawn at random, is told the mask alone; and so is the last round


class Windows(Dataset[Batch]):
    """Windows of scans: of each draw the last one is judged, those before it fill the memory.

    Parameters
    ----------
    scans : sequence of Scan
        With labels.
    classes : sequence of str
        Names of the structures.
    window : int
        Side, voxels.
    contexts : int
        Windows of the same scan that fill the memory.
    draws : int
        Of each scan and epoch.
    training : bool
        If False every draw is the same, and nothing is mirrored.
    """

    def __init__(
        self,
        scans: Sequence[Scan],
        classes: Sequence[str],
        window: int,
        *,
        contexts: int,
        draws: int,
        training: bool,
    ) -> None:
        self.scans, self.window, self.contexts, self.draws = scans, window, contexts, draws
        self.training = training
        self.mirror = torch.tensor(mirrored(classes), dtype=torch.uint8)
        self.anchors = [anchors(scan, number) for number, scan in enumerate(scans)]

    def __len__(self) -> int:
        return len(self.scans) * self.draws

    def __getitem__(self, index: int) -> Batch:
        number = index % len(self.scans)
        scan, places = self.scans[number], self.anchors[number]
        # The engine seeds the global generator for each item, so that a resumed run draws the same.
        rng = np.random.default_rng(int(torch.randint(2**62, ())) if self.training else index)
        parts = [self._draw(scan, places, rng) for _ in range(self.contexts + 1)]
        assert scan.labels is not None
        windows = torch.from_numpy(np.stack([scan.normalised(part, self.window) for part in parts]))
        labels = torch.from_numpy(np.stack([padded(scan.labels[part], self.window) for part in parts]))
        if self.training:
            axes = [axis for axis in (1, 2, 3) if rng.random() < 0.5]
            windows, labels = windows.flip(axes), labels.flip(axes)
            if 1 in axes:  # the first axis runs from left to right
                labels = self.mirror[labels.long()]
        return {"windows": windows[:, None], "labels": labels}

    def _draw(
        self, scan: Scan, places: Sequence[npt.NDArray[np.int64]], rng: np.random.Generator
    ) -> tuple[slice, ...]:
        """A window around a voxel of a structure, each structure alike, or sometimes anywhere."""
        shape = np.array(scan.values.shape)
        if not places or rng.random() < ANYWHERE:
            middle = rng.integers(shape)
        else:
            chosen = places[int(rng.integers(len(places)))]
            middle = np.array(np.unravel_index(chosen[rng.integers(len(chosen))], scan.values.shape))
        spread = self.window // 4
        start = middle - self.window // 2 + rng.integers(-spread, spread + 1, 3)
        start = np.clip(start, 0, np.maximum(shape - self.window, 0))
        return tuple(slice(int(at), int(at) + self.window) for at in start)


def padded(labels: npt.NDArray[np.uint8], size: int) -> npt.NDArray[np.uint8]:
    """A cube of labels, background where the scan has ended."""
    cube = np.zeros((size,) * 3, np.uint8)
    cube[tuple(slice(0, n) for n in labels.shape)] = labels
    return cube


def anchors(scan: Scan, seed: int) -> list[npt.NDArray[np.int64]]:
    """Some voxels of each structure that a scan holds, as places in its raveled array."""
    assert scan.labels is not None
    flat = np.asarray(scan.labels).ravel()
    inside = np.flatnonzero(flat)
    order = np.argsort(flat[inside], kind="stable")
    ends = np.cumsum(np.bincount(flat[inside], minlength=1))
    rng = np.random.default_rng(seed)
    groups = [group for group in np.split(inside[order], ends[:-1]) if len(group)]
    return [rng.choice(group, min(ANCHORS, len(group)), replace=False) for group in groups]


def silent_rounds(clicks: int) -> set[int]:
    """Rounds, counted from 0, in which the network is told its mask and no points; drawn at random."""
    last = min(SILENT[1], clicks - 2)
    drawn = {int(torch.randint(SILENT[0], last + 1, ()))} if last >= SILENT[0] else set()
    return drawn | ({clicks - 1} if clicks > 1 else set())


def worst_structures(found: Tensor, truth: Tensor, classes: int) -> Tensor:
    """The structure of each window [B,z,y,x] whose Dice is lowest, as an annotator would choose.

    Ties are drawn; -1 for any where a window holds no structure.
    """
    chosen = []
    for one, other in zip(found, truth, strict=True):
        sizes = other.flatten().bincount(minlength=classes)
        both = sizes + one.flatten().bincount(minlength=classes)
        hits = other[one == other].bincount(minlength=classes)
        dice = torch.where(sizes > 0, 2 * hits / both, torch.inf)[1:]
        lowest = (dice == dice.min()).nonzero()[:, 0] + 1
        drawn = int(lowest[int(torch.randint(len(lowest), ()))])
        chosen.append(drawn if sizes[drawn] else ANY)
    return torch.tensor(chosen, device=truth.device)


def is_structure(labels: Tensor, structures: Tensor) -> Tensor:
    """Masks [B,z,y,x] of one structure each; of all where it is -1."""
    wanted = structures.view(-1, 1, 1, 1)
    return torch.where(wanted < 0, labels > 0, labels == wanted)


def window_loss(module: TotalCTSAM, batch: Batch, *, clicks: int) -> dict[str, Tensor]:
    """Cross-entropy and soft Dice without prompts, plus those of each round of clicks.

    Earlier windows of the scan are judged first, without gradient: they fill the memory.
    """
    windows, truth = batch["windows"], batch["labels"][:, -1]
    memory = module.new_memory()
    if memory is not None:
        with torch.no_grad():
            for number in range(windows.shape[1] - 1):
                module(windows[:, number], memory=memory)
    maps = module.encode(windows[:, -1])
    logits = _wide(module.decode(maps, memory=memory))
    total = plain = upsample_dice_ce(logits, truth)
    terms = {"loss": total, "plain": plain}
    if not clicks:
        return terms
    found = _decided(logits, truth)
    structures = worst_structures(found, truth, module.classes)
    wanted = is_structure(truth, structures)
    points: list[Tensor] = []
    kinds: list[Tensor] = []
    silent = silent_rounds(clicks)
    for number in range(clicks):
        before = logits.detach()
        found = _decided(before, truth) if number else found
        point, kind = random_points(is_structure(found, structures), wanted)
        points, kinds = [*points, point], [*kinds, kind]
        told = number not in silent
        prompts = Prompts(
            points=torch.stack(points, dim=1) if told else None,
            kinds=torch.stack(kinds, dim=1) if told else None,
            classes=structures[:, None].expand(-1, len(points)) if told else None,
            mask=log_odds(before, structures),
            mask_class=structures,
        )
        logits = _wide(module.decode(maps, prompts, memory))
        clicked = upsample_dice_ce(logits, truth)
        total = total + clicked
    return terms | {"loss": total, "clicked": clicked}


def _decided(logits: Tensor, truth: Tensor) -> Tensor:
    """Labels of the same size as the true ones."""
    labels: Tensor = upsample_argmax(logits.detach(), size=truth.shape[1:]).to(truth.dtype)
    return labels


def _wide(logits: Tensor) -> Tensor:
    """The loss is computed in single or double precision, also in mixed-precision training."""
    return logits if logits.dtype == torch.float64 else logits.float()


def train_network(
    network: TotalCTSAM,
    classes: Sequence[str],
    train: Sequence[Scan],
    valid: Sequence[Scan],
    run_dir: Path,
    options: FitOptions,
    *,
    contexts: int,
    clicks: int,
    draws: int,
) -> FitResult:
    """Train on some scans and keep the weights of the lowest loss on others, or without any on themselves."""

    def windows(scans: Sequence[Scan], *, training: bool) -> Windows:
        return Windows(
            scans, classes, network.sizes.window, contexts=contexts, draws=draws, training=training
        )

    def loss(module: Any, batch: Batch) -> dict[str, Tensor]:
        return window_loss(module, batch, clicks=clicks)

    judged = windows(valid, training=False) if valid else None
    return fit(network, windows(train, training=True), judged, run_dir, options, loss=loss)

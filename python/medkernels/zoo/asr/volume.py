"""The same network in three dimensions: a volume as ellipsoids, through `medkernels.render.ellipsoids`.

The paper works on images and names volumes as future work.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset

from medkernels.render import ellipsoids
from medkernels.zoo.asr.encoder import Encoder, cell_centers
from medkernels.zoo.asr.model import HIDDEN, OPACITY, SMALLEST, start_alike

SIDE = 32  # of the synthetic volumes, voxels
BLOBS = 3
BLOB_AXES = (3.0, 7.0)  # range of semi-axes, voxels
VESSEL_RADIUS = 2.0
VESSEL_BEND = 4.0  # amplitude of its course, voxels
BRIGHT, DARK, NOISE = 0.85, 0.15, 0.05
FULL = 0.5  # a voxel belongs to a structure where the reconstruction is brighter than this


class Ellipsoids(NamedTuple):
    """Ellipsoids of one scale, or of all; lengths in voxels."""

    centers: Tensor  # [B,K,3] (x, y, z)
    axes: Tensor  # [B,K,3] semi-axes
    rotations: Tensor  # [B,K,4] quaternions (w, x, y, z)
    colors: Tensor  # [B,K,C] in [0,1]
    opacity: Tensor  # [B,K]


class VolumeModeler(nn.Module):
    """Turns every cell of a latent into one ellipsoid, free to move within its cell and to fade.

    Parameters
    ----------
    inputs : int
        Channels of the latent.
    spacing : int
        Distance of the cells in voxels.
    colors : int
        Channels of the volume.
    """

    def __init__(self, inputs: int, spacing: int, colors: int) -> None:
        super().__init__()
        self.spacing = spacing
        self.parts = [3, 4, colors, 3, 1]
        last = nn.Conv3d(HIDDEN, sum(self.parts), 1)
        self.head = nn.Sequential(nn.Conv3d(inputs, HIDDEN, 1), nn.ReLU(), last)
        start_alike(last, {3: 1.0})  # the identity rotation

    def forward(self, latent: Tensor) -> Ellipsoids:
        """latent [B,inputs,d,h,w] -> K = d h w ellipsoids a volume."""
        raw = self.head(latent)
        cells = raw.flatten(2).transpose(1, 2)
        sizes, turn, color, shift, fade = torch.split(cells, self.parts, dim=-1)
        stretch = sizes.new_tensor([0.5, 0.0, -0.5])  # a sphere would give the rotation no gradient
        centers = cell_centers(raw.shape[2:], self.spacing, raw) + 0.5 * self.spacing * torch.tanh(shift)
        return Ellipsoids(
            centers=centers,
            axes=self.spacing * (SMALLEST + (1 - SMALLEST) * torch.sigmoid(sizes + stretch)),
            rotations=F.normalize(turn, dim=-1, eps=1e-6),
            colors=torch.sigmoid(color),
            opacity=OPACITY * torch.sigmoid(fade[..., 0]),
        )


class VolumeASR(nn.Module):
    """Autoencoder whose code is a list of ellipsoids, coarse scale painted first.

    Parameters
    ----------
    spacings : sequence of int
        Cell sizes in voxels, ascending.
    channels : int
        Of the volume.
    """

    def __init__(self, spacings: Sequence[int] = (4, 8, 16), *, channels: int = 1) -> None:
        super().__init__()
        self.encoder = Encoder(channels, spacings, blocks=2, top_down=True, dims=3)
        self.modelers = nn.ModuleList(
            VolumeModeler(width, spacing, channels)
            for width, spacing in zip(self.encoder.widths, spacings, strict=True)
        )
        self.background = nn.Linear(self.encoder.widths[-1], channels)

    def forward(self, volume: Tensor) -> tuple[Tensor, Ellipsoids]:
        """volume [B,C,D,H,W] in [0,1] -> its reconstruction, and the ellipsoids that make it."""
        latents = self.encoder(volume)
        scales = [modeler(latent) for modeler, latent in zip(self.modelers, latents, strict=True)]
        every = Ellipsoids(*(torch.cat(parts, dim=1) for parts in zip(*reversed(scales), strict=True)))
        background = torch.sigmoid(self.background(latents[-1].mean(dim=(2, 3, 4))))
        size = (volume.shape[2], volume.shape[3], volume.shape[4])
        picture = ellipsoids(
            every.centers,
            every.axes,
            every.rotations,
            every.colors,
            background,
            size,
            composition="over",
            opacity=every.opacity,
        )
        return picture, every


def synthetic_volume(seed: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Blobs in any direction and a winding vessel: volume [1,32,32,32] and its voxels inside them."""
    rng = np.random.default_rng([seed, SIDE])
    points = np.moveaxis(np.mgrid[:SIDE, :SIDE, :SIDE], 0, -1).astype(np.float64)
    truth = np.zeros((SIDE,) * 3, bool)
    for _ in range(BLOBS):
        turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        local = (points - rng.uniform(4, SIDE - 5, 3)) @ turn / rng.uniform(*BLOB_AXES, 3)
        truth |= (local**2).sum(axis=-1) <= 1
    along = points[..., 0]
    phase = rng.uniform(0, 2 * math.pi, 2)
    course = [rng.uniform(8, SIDE - 9) + VESSEL_BEND * np.sin(2 * math.pi * along / SIDE + p) for p in phase]
    truth |= (points[..., 1] - course[0]) ** 2 + (points[..., 2] - course[1]) ** 2 <= VESSEL_RADIUS**2
    volume = np.where(truth, BRIGHT, DARK) + rng.normal(0, NOISE, truth.shape)
    return volume.clip(0, 1).astype(np.float32)[None], truth


class Volumes(Dataset[Tensor]):
    """Synthetic volumes [1,32,32,32], seeds ``first`` to ``first + count - 1``."""

    def __init__(self, first: int, count: int) -> None:
        self.volumes = torch.from_numpy(np.stack([synthetic_volume(first + i)[0] for i in range(count)]))

    def __len__(self) -> int:
        return len(self.volumes)

    def __getitem__(self, index: int) -> Tensor:
        return self.volumes[index]


def reconstruction_loss(module: nn.Module, batch: Tensor) -> dict[str, Tensor]:
    """Mean square error of the reconstruction."""
    return {"loss": F.mse_loss(module(batch)[0], batch)}


def judge_volume(model: VolumeASR, seed: int) -> dict[str, float]:
    """Of a synthetic volume: Dice with the true voxels, and mean square error to the noise-free volume."""
    volume, truth = synthetic_volume(seed)
    model.eval()
    with torch.no_grad():
        picture = model(torch.from_numpy(volume)[None])[0][0, 0].numpy()
    found = picture > FULL
    clean = np.where(truth, BRIGHT, DARK)
    return {
        "dice": float(2 * (found & truth).sum() / (found.sum() + truth.sum())),
        "mse": float(((picture - clean) ** 2).mean()),
    }

"""The point stream: rotation-invariant features of atoms, down to 16 points and up again."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from medkernels.points import voxelize
from medkernels.zoo.drivpocket.geometry import FEATURES, SAMPLES, Geometry, Neighbourhood, gathered

HEAD_DROPOUT = 0.4


class SharedMLP(nn.Module):
    """Linear layers on each row alone, each with batch normalisation and ReLU: 1x1 convolutions."""

    def __init__(self, *sizes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(sizes):
            layers += [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU()]
        self.layers = nn.Sequential(*layers)

    def forward(self, rows: Tensor) -> Tensor:
        """[...,inputs] -> [...,outputs]."""
        out: Tensor = self.layers(rows.flatten(0, -2))
        return out.view(*rows.shape[:-1], -1)


class RID(nn.Module):
    """Rotation-invariant downsampling: ``max over neighbours of W (MLP(features, types), F_prev)``.

    Parameters
    ----------
    inputs : int
        Of a neighbour's features and types together.
    previous, outputs : int
        Features of the level before (0 if there are none) and of this one.
    lift : (int, int)
        Sizes of the MLP.
    """

    def __init__(self, inputs: int, previous: int, outputs: int, lift: tuple[int, int]) -> None:
        super().__init__()
        self.lift = SharedMLP(inputs, *lift)
        self.conv = SharedMLP(lift[1] + previous, outputs)

    def forward(self, near: Neighbourhood, types: Tensor, previous: Tensor | None) -> Tensor:
        """Neighbourhoods [B,M,k], types [B,N,T] and features [B,N,C] -> [B,M,outputs]."""
        x = self.lift(torch.cat([near.features, gathered(types, near.indices)], dim=3))
        if previous is not None:
            x = torch.cat([x, gathered(previous, near.indices)], dim=3)
        out: Tensor = self.conv(x).max(dim=2).values
        return out


class RIU(nn.Module):
    """Rotation-invariant upsampling: as `RID` without types, then joined with what came down."""

    def __init__(self, inputs: int, coarse: int, skip: int, outputs: int, lift: tuple[int, int]) -> None:
        super().__init__()
        self.lift = SharedMLP(inputs, *lift)
        self.conv = SharedMLP(lift[1] + coarse, coarse)
        self.join = SharedMLP(coarse + skip, outputs) if skip else None

    def forward(self, near: Neighbourhood, coarse: Tensor, skip: Tensor | None) -> Tensor:
        """Neighbourhoods [B,M,k], features [B,N,C] and skip [B,M,S] -> [B,M,outputs]."""
        x = torch.cat([self.lift(near.features), gathered(coarse, near.indices)], dim=3)
        out: Tensor = self.conv(x).max(dim=2).values
        if self.join is not None and skip is not None:
            out = self.join(torch.cat([out, skip], dim=2))
        return out


class PointStream(nn.Module):
    """From atoms as points to a logit for each, with the features of all levels.

    Parameters
    ----------
    types : int
        Kinds of atoms, T.
    width : int
        W, of the first layer; 32 as published, with 64, 128, 256 and 512 features on the levels.
    features : {"invariant", "xyz"}
        What tells how neighbours lie.
    """

    def __init__(self, types: int, width: int, features: str) -> None:
        super().__init__()
        lift = (width, 2 * width)
        numbers = FEATURES[features]
        sizes = [2 * width << level for level in range(len(SAMPLES))]  # 64, 128, 256, 512
        self.rid = nn.ModuleList(
            RID(numbers + types, previous, outputs, lift)
            for previous, outputs in zip([0, *sizes[:-1]], sizes, strict=True)
        )
        self.riu = nn.ModuleList(
            RIU(numbers, coarse, skip, skip, lift)
            for coarse, skip in zip(sizes[::-1], [*sizes[-2::-1], 0], strict=True)
        )
        self.head = SharedMLP(sizes[0], width)
        self.dropout = nn.Dropout(HEAD_DROPOUT)
        self.out = nn.Linear(width, 1)

    def forward(self, around: Geometry, types: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Geometry of clouds [B,N,3] and types [B,N,T] -> logits [B,N], features of RID 1-4 and RIU 1-3."""
        found: list[Tensor] = []
        kinds = types
        for layer, near, pick in zip(self.rid, around.down, around.picks, strict=True):
            found.append(layer(near, kinds, found[-1] if found else None))
            kinds = gathered(kinds, pick)
        x, skips = found[-1], [*found[-2::-1], None]
        for layer, near, skip in zip(self.riu, around.up, skips, strict=True):
            x = layer(near, x, skip)
            if skip is not None:
                found.append(x)
        logits: Tensor = self.out(self.dropout(self.head(x)))
        return logits.squeeze(2), found


def invariant_grids(around: Geometry, found: list[Tensor], sizes: tuple[int, ...]) -> list[Tensor]:
    """F_RI of each level: features of `PointStream` as means in the voxels of the voxel stream's levels.

    Parameters
    ----------
    sizes : voxels along an edge of the levels e1..e4.

    Returns
    -------
    list of Tensor
        [B,C,R,R,R] for e1..e4 and d4..d2.
    """
    clouds = [*around.levels[1:], *around.levels[-2:0:-1]]
    edges = [*sizes, *sizes[-2::-1]]
    return [
        torch.as_tensor(voxelize(cloud, _single(x), resolution=edge))
        for cloud, x, edge in zip(clouds, found, edges, strict=True)
    ]


def _single(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float32 else x.float()

"""What the point stream sees of a cloud: samples of it, neighbours, and how they lie, without gradients."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from medkernels.points import (
    farthest_point_sampling,
    knn,
    local_reference_axis,
    rotation_invariant_features,
)

AXIS_NEIGHBOURS = 64
SAMPLES = (128, 64, 32, 16)  # points of the levels
DOWN_NEIGHBOURS = (4, 8, 16, 32)
UP_NEIGHBOURS = (4, 8, 16, 32)  # from the coarsest level to the atoms
FEATURES = {"invariant": 8, "xyz": 3}


class Neighbourhood(NamedTuple):
    """The neighbours that some points have in a set.

    Attributes
    ----------
    features : [B,M,k,F]
        How each neighbour lies.
    indices : int64 [B,M,k]
        Its place in the set.
    """

    features: Tensor
    indices: Tensor


class Geometry(NamedTuple):
    """Of a batch of clouds.

    Attributes
    ----------
    levels : list of [B,M,3]
        The cloud, and its samples from fine to coarse.
    picks : list of int64 [B,M]
        Places of each level's points in the level before.
    down : list of Neighbourhood
        Of each level's points in the level before.
    up : list of Neighbourhood
        From the coarsest to the cloud, of each level's points in the next coarser one.
    """

    levels: list[Tensor]
    picks: list[Tensor]
    down: list[Neighbourhood]
    up: list[Neighbourhood]


@torch.no_grad()
def geometry(points: Tensor, *, features: str = "invariant", samples: tuple[int, ...] = SAMPLES) -> Geometry:
    """Sample clouds level by level and describe the neighbourhoods on the way down and up.

    Parameters
    ----------
    points : [B,N,3]
        Clouds smaller than a level are taken whole.
    features : {"invariant", "xyz"}
        Eight numbers that do not change when the cloud is turned, or plain offsets.
    samples : points of the levels.
    """
    points = points.detach().float().contiguous()
    near = torch.as_tensor(knn(points, k=min(AXIS_NEIGHBOURS, points.shape[1]))[0])
    axes = torch.as_tensor(local_reference_axis(points, near))
    levels, normals, picks, down = [points], [axes], [], []
    for count, k in zip(samples, DOWN_NEIGHBOURS, strict=True):
        cloud = levels[-1]
        pick = torch.as_tensor(farthest_point_sampling(cloud, min(count, cloud.shape[1])))
        levels.append(gathered(cloud, pick))
        picks.append(pick)
        table = torch.as_tensor(knn(cloud, levels[-1], k=min(k, cloud.shape[1]))[0])
        down.append(_described(cloud, normals[-1], pick, table, features))
        normals.append(gathered(normals[-1], pick))
    up = []
    for level, k in zip(range(len(samples) - 1, -1, -1), UP_NEIGHBOURS, strict=True):
        fine, coarse, pick = levels[level], levels[level + 1], picks[level]
        table = torch.as_tensor(knn(coarse, fine, k=min(k, coarse.shape[1]))[0])
        every = torch.arange(fine.shape[1], device=fine.device).expand(len(fine), -1).contiguous()
        # The coarse points are some of the fine ones, so they are described in the fine cloud.
        found = _described(fine, normals[level], every, _placed(pick, table), features)
        place = torch.full_like(every, -1)
        place.scatter_(1, pick.flip(1), torch.arange(pick.shape[1] - 1, -1, -1).to(pick).expand_as(pick))
        up.append(Neighbourhood(found.features, _placed(place, found.indices)))
    return Geometry(levels, picks, down, up)


def _described(cloud: Tensor, axes: Tensor, centers: Tensor, table: Tensor, features: str) -> Neighbourhood:
    if features == "xyz":
        return Neighbourhood(gathered(cloud, table) - gathered(cloud, centers)[:, :, None], table)
    found, ordered = rotation_invariant_features(cloud, axes, centers, table)
    return Neighbourhood(torch.as_tensor(found), torch.as_tensor(ordered))


def _placed(places: Tensor, table: Tensor) -> Tensor:
    """``places[b, table[b, i, j]]`` for places [B,N] and a table [B,M,k]."""
    return places.gather(1, table.flatten(1)).view_as(table)


def gathered(values: Tensor, table: Tensor) -> Tensor:
    """Rows of values [B,N,C] by a table [B,...] -> [B,...,C]."""
    batch, count = values.shape[:2]
    offsets = count * torch.arange(batch, device=table.device).view(-1, *(1,) * (table.dim() - 1))
    rows = values.flatten(0, 1).index_select(0, (table + offsets).flatten())
    return rows.view(*table.shape, values.shape[2])

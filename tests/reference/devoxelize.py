"""Features of a grid at points: weights of every cell from the hat function; PyTorch differentiates it."""

from __future__ import annotations

import torch
from torch import Tensor


def devoxelize(grid: Tensor, points: Tensor, subtract_mean: bool) -> Tensor:
    """[N, C] of one item."""
    resolution = grid.shape[-1]
    if subtract_mean and len(points):
        points = points - points.mean(0)
    at = ((points + 1) / 2 * resolution).clamp(0, resolution - 1)
    cells = torch.arange(resolution, dtype=points.dtype)
    x, y, z = (1 - (at[..., None] - cells).abs()).clamp(min=0).unbind(1)
    return torch.einsum("cijk,ni,nj,nk->nc", grid, x, y, z)

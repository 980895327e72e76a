"""Atoms in a grid, from the definition: every atom at every point; PyTorch differentiates it."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor


def grid_atoms(
    coords: Tensor,
    channels: Any,
    radii: Tensor,
    center: Tensor,
    side: float,
    resolution: float,
    n_channels: int,
    multiple: float = 1.0,
) -> Tensor:
    """[n_channels, n, n, n] of one item."""
    distances, n = distances_of(coords, center, side, resolution)
    u = distances / radii[:, None]
    reach = (1 + 2 * multiple**2) / (2 * multiple)
    a = 4 * multiple**2
    b = -(4 * multiple + 8 * multiple**3)
    c = 4 * multiple**4 + 4 * multiple**2 + 1
    tail = math.exp(-2 * multiple**2) * (a * u * u + b * u + c)
    values = torch.where(u <= multiple, torch.exp(-2 * u * u), torch.where(u < reach, tail, 0 * u))
    return summed(values, channels, n_channels, n)


def binary_atoms(
    coords: Tensor, channels: Any, radii: Tensor, center: Tensor, side: float, resolution: float, count: int
) -> Tensor:
    distances, n = distances_of(coords, center, side, resolution)
    return summed((distances < radii[:, None]).double(), channels, count, n).clamp(max=1)


def distances_of(coords: Tensor, center: Tensor, side: float, resolution: float) -> tuple[Tensor, int]:
    """[N, n^3]"""
    n = math.floor(side / resolution + 0.5) + 1
    axis = torch.arange(n, dtype=torch.float64) * resolution
    places = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1).reshape(-1, 3)
    offsets = places + (center - side / 2) - coords[:, None]
    squared = (offsets**2).sum(-1)
    # The slope of the root at 0 is infinite, that of the density there is 0.
    at_atom = squared == 0
    return torch.where(at_atom, 0.0, torch.where(at_atom, 1.0, squared).sqrt()), n


def summed(values: Tensor, channels: Any, count: int, n: int) -> Tensor:
    grids = [values[torch.as_tensor(channels) == c].sum(0) for c in range(count)]
    return torch.stack(grids).reshape(count, n, n, n)

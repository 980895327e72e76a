"""`medkernels.points.voxelize` beside torch's index_add and bincount."""

from __future__ import annotations

import torch
from medkernels.benchmarks.runner.cases import (
    BOTH,
    FORWARD,
    Case,
    Inputs,
    Outputs,
    Provider,
    Target,
    Work,
    run_in_parts,
)
from torch import Tensor

import medkernels

TITLE = "Means of the features of points in the cells of a grid, float32"
UNITS = "features of points, and of cells"

CLOUDS = "8 clouds of 2048 points, 64 channels, 32^3"


def cases(sizes: str) -> list[Case]:
    """Clouds and grids as in the middle of a point-voxel network, then curves over points and cells."""
    if sizes == "small":
        return [
            _case("2 clouds of 40 points, 3 channels, 4^3", 2, 40, 3, 4),
            _case("points 90", 1, 90, 5, 4, "points", 90),
        ]
    return [
        _case(CLOUDS, 8, 2048, 64, 32),
        *(_case(f"points {n}", 1, n, 64, 32, "points", n) for n in (1000, 10_000, 100_000, 1_000_000)),
        *(_case(f"side {n}", 1, 8192, 64, n, "side", n) for n in (8, 16, 32, 64)),
    ]


def _case(
    name: str, batch: int, count: int, channels: int, resolution: int, curve: str = "", at: float = 0.0
) -> Case:
    def inputs(device: str, seed: int) -> Inputs:
        random = torch.Generator().manual_seed(seed)
        arrays = {
            "points": torch.rand(batch, count, 3, generator=random) * 1.8 - 0.9,
            "features": torch.randn(batch, count, channels, generator=random),
            "upstream": torch.randn(batch, channels, *(resolution,) * 3, generator=random),
        }
        return {
            **{name: array.to(device) for name, array in arrays.items()},
            "resolution": resolution,
        }

    return Case(name, inputs, _work, curve, at)


def _work(inputs: Inputs, backward: bool) -> Work:
    """A sum for each feature of a point; a division for each, at most, of the cells that are not empty."""
    features, grid = inputs["features"].numel(), inputs["upstream"].numel()
    points = inputs["points"].numel()
    passes = 2 if backward else 1
    return Work(features + grid, float(2 * features * passes), 4.0 * (points + features + grid) * passes)


def _ours(inputs: Inputs, backward: bool) -> Outputs:
    def draw(part: Inputs) -> Tensor:
        grid: Tensor = medkernels.points.voxelize(
            part["points"], part["features"], resolution=part["resolution"]
        )
        return grid

    return run_in_parts(draw, inputs, backward)


def _torch(inputs: Inputs, backward: bool) -> Outputs:
    torch.set_num_threads(medkernels.get_num_threads())

    def draw(part: Inputs) -> Tensor:
        points, features, resolution = part["points"].detach(), part["features"], part["resolution"]
        batch, _, channels = features.shape
        cells = resolution**3
        at = (points - points.mean(1, keepdim=True) + 1) / 2 * resolution
        x, y, z = at.clamp(0, resolution - 1).round().long().unbind(2)
        cell = (x * resolution + y) * resolution + z
        cell = (cell + cells * torch.arange(batch, device=cell.device)[:, None]).flatten()
        counts = torch.bincount(cell, minlength=batch * cells).clamp(min=1)
        sums = features.new_zeros(batch * cells, channels).index_add(0, cell, features.flatten(0, 1))
        means = (sums / counts[:, None]).reshape(batch, cells, channels)
        return means.mT.reshape(batch, channels, resolution, resolution, resolution)

    return run_in_parts(draw, inputs, backward)


# A mean in float32 may put a point that lies between two cells into the other one.
PROVIDERS = (
    Provider("medkernels", _ours),
    Provider("torch index_add", _torch, 10.0, 1e-2, 1e-2, library="torch"),
)
TARGETS = tuple(Target(CLOUDS, direction, "torch index_add", 5.0) for direction in (FORWARD, BOTH))

"""`medkernels.points.devoxelize` beside torch's grid_sample."""

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

TITLE = "Features of a grid interpolated at points, float32"
UNITS = "features of points"

CLOUDS = "8 clouds of 2048 points, 64 channels, 32^3"
CORNERS = 8


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
            "grid": torch.randn(batch, channels, *(resolution,) * 3, generator=random),
            "points": torch.rand(batch, count, 3, generator=random) * 1.8 - 0.9,
            "upstream": torch.randn(batch, count, channels, generator=random),
        }
        return {name: array.to(device) for name, array in arrays.items()}

    return Case(name, inputs, _work, curve, at)


def _work(inputs: Inputs, backward: bool) -> Work:
    """A product and a sum for each corner of a feature; backward two more of each, for grid and slope.

    Of the grid as many cells are read, and written backward, as points have corners, or all.
    """
    features, grid = inputs["upstream"].numel(), inputs["grid"].numel()
    touched = min(grid, CORNERS * features)
    flops, moved = 2 * CORNERS * features, inputs["points"].numel() + features + touched
    if backward:
        flops, moved = 3 * flops, 2 * moved + grid
    return Work(features, float(flops), 4.0 * moved)


def _ours(inputs: Inputs, backward: bool) -> Outputs:
    def draw(part: Inputs) -> Tensor:
        features: Tensor = medkernels.points.devoxelize(part["grid"], part["points"])
        return features

    return run_in_parts(draw, inputs, backward)


def _torch(inputs: Inputs, backward: bool) -> Outputs:
    torch.set_num_threads(medkernels.get_num_threads())

    def draw(part: Inputs) -> Tensor:
        grid, points = part["grid"], part["points"]
        last = grid.shape[-1] - 1
        at = ((points - points.mean(1, keepdim=True) + 1) / 2 * (last + 1)).clamp(0, last)
        places = (at / last * 2 - 1).flip(2)[:, :, None, None]  # the last axis of the grid comes first
        found = torch.nn.functional.grid_sample(grid, places, align_corners=True, padding_mode="border")
        return found[..., 0, 0].mT

    return run_in_parts(draw, inputs, backward)


# A point next to the border of a cell may be in the next one in float32, where the slope is another.
PROVIDERS = (
    Provider("medkernels", _ours),
    Provider("torch grid_sample", _torch, 1e-2, 1e-4, 5e-2, library="torch"),
)
TARGETS = tuple(Target(CLOUDS, direction, "torch grid_sample", 1.0) for direction in (FORWARD, BOTH))

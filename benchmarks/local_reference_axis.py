"""`medkernels.points.local_reference_axis` beside the same method with the eigenvectors of torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from medkernels.benchmarks.runner.cases import FORWARD, Case, Inputs, Outputs, Provider, Target, Work
from medkernels.benchmarks.runner.compare import Differences

import medkernels

TITLE = "The axis along which neighbours spread least, float32"
UNITS = "neighbours"
DIRECTIONS = (FORWARD,)

CLOUDS = "8 clouds of 1024 points, k = 32"
#: Axes that float32 decides otherwise, as a share of all.
MOST_DIFFERENT = 1e-2


def cases(sizes: str) -> list[Case]:
    """Clouds as of the atoms around a pocket, then curves over the points and the neighbours."""
    if sizes == "small":
        return [
            _case("2 clouds of 60 points, k = 8", 2, 60, 8),
            _case("points 100", 1, 100, 8, "points", 100),
        ]
    return [
        _case(CLOUDS, 8, 1024, 32),
        *(_case(f"points {n}", 1, n, 32, "points", n) for n in (1000, 3000, 10_000, 30_000, 100_000)),
        *(_case(f"neighbours {k}", 1, 4096, k, "neighbours", k) for k in (8, 16, 32, 64, 128)),
    ]


def _case(name: str, batch: int, count: int, k: int, curve: str = "", at: float = 0.0) -> Case:
    def inputs(device: str, seed: int) -> Inputs:
        points = torch.randn(batch, count, 3, generator=torch.Generator().manual_seed(seed))
        neighbours = medkernels.points.knn(points, k=k)[0]
        return {"points": points.to(device), "neighbours": neighbours.to(device)}

    return Case(name, inputs, _work, curve, at)


def _work(inputs: Inputs, backward: bool) -> Work:
    """What eigenvectors cost at least is not counted."""
    return Work(inputs["neighbours"].numel())


def compare_axes(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Differences:
    """The share of the axes that differ by more than 0.01 somewhere."""
    apart = (ours["result"] - theirs["result"]).abs().amax(-1) > 1e-2
    return {"largest": float(apart.float().mean())}


def _ours(inputs: Inputs, backward: bool) -> Outputs:
    return {"result": medkernels.points.local_reference_axis(inputs["points"], inputs["neighbours"])}


def _torch(inputs: Inputs, backward: bool) -> Outputs:
    torch.set_num_threads(medkernels.get_num_threads())
    points, table = inputs["points"], inputs["neighbours"]
    batch = torch.arange(len(points), device=points.device)[:, None, None]
    offsets = points[batch, table] - points[:, :, None]
    distances = offsets.norm(dim=-1)
    weights = distances.amax(-1, keepdim=True) - distances
    axes = torch.linalg.eigh((offsets * weights[..., None]).mT @ offsets)[1][..., 0]
    away = (axes * (points - points.mean(1, keepdim=True))).sum(-1, keepdim=True)
    return {"result": torch.where(away < 0, -axes, axes)}


PROVIDERS = (
    Provider("medkernels", _ours),
    Provider("torch eigh", _torch, MOST_DIFFERENT, compare=compare_axes, library="torch"),
)
TARGETS = (Target(CLOUDS, FORWARD, "torch eigh", 5.0),)

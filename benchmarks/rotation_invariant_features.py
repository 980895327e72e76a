"""Reference axes and rotation-invariant features beside the same method as separate operations of torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from medkernels.benchmarks.runner.cases import FORWARD, Case, Inputs, Outputs, Provider, Target, Work
from medkernels.benchmarks.runner.compare import Differences

import medkernels

TITLE = "Reference axes and rotation-invariant features of neighbourhoods, float32"
UNITS = "neighbours"
DIRECTIONS = (FORWARD,)
DEVICES = ("cpu",)

CLOUDS = "8 clouds of 1024 points, k = 32"
#: Angles and signs that float32 decides otherwise, as a share of all numbers.
MOST_DIFFERENT = 1e-3


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
        *(_case(f"neighbours {k}", 1, 4096, k, "neighbours", k) for k in (8, 16, 32, 64, 128, 256, 512)),
    ]


def _case(name: str, batch: int, count: int, k: int, curve: str = "", at: float = 0.0) -> Case:
    def inputs(device: str, seed: int) -> Inputs:
        points = np.random.default_rng(seed).normal(size=(batch, count, 3)).astype(np.float32)
        neighbours = medkernels.points.knn(points, k=k)[0]
        return {"points": points, "neighbours": neighbours, "centers": np.tile(np.arange(count), (batch, 1))}

    return Case(name, inputs, _work, curve, at)


def _work(inputs: Inputs, backward: bool) -> Work:
    """What sorting costs at least is not counted."""
    return Work(inputs["neighbours"].size)


def compare_features(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Differences:
    """The share of the numbers that differ by more than 0.001: signs jump, and the arc cosine is inexact."""
    apart = np.abs(ours["result"] - np.asarray(theirs["result"])) > 1e-3
    return {"largest": float(apart.mean())}


def _ours(inputs: Inputs, backward: bool) -> Outputs:
    points, neighbours = inputs["points"], inputs["neighbours"]
    axes = medkernels.points.local_reference_axis(points, neighbours)
    features, _ = medkernels.points.rotation_invariant_features(points, axes, inputs["centers"], neighbours)
    return {"result": features}


def _torch(inputs: Inputs, backward: bool) -> Outputs:
    import torch
    from torch import Tensor

    torch.set_num_threads(medkernels.get_num_threads())
    points, table = torch.from_numpy(inputs["points"]), torch.from_numpy(inputs["neighbours"])
    batch = torch.arange(len(points))[:, None, None]

    def dot(a: Tensor, b: Tensor) -> Tensor:
        return (a * b).sum(-1)

    def unit(vectors: Tensor) -> Tensor:
        return torch.nn.functional.normalize(vectors, dim=-1, eps=1e-30)

    def angle(a: Tensor, b: Tensor) -> Tensor:
        return torch.acos(dot(a, b).clamp(-1, 1))

    def sign(condition: Tensor) -> Tensor:
        return torch.where(condition, 1.0, -1.0)

    offsets = points[batch, table] - points[:, :, None]
    distances = offsets.norm(dim=-1)
    weights = distances.amax(-1, keepdim=True) - distances
    spread = (offsets * weights[..., None]).mT @ offsets
    axes = torch.linalg.eigh(spread)[1][..., 0]
    axes = axes * sign(dot(axes, points - points.mean(1, keepdim=True)) >= 0)[..., None]

    n = axes[:, :, None]
    flat = offsets - dot(offsets, n)[..., None] * n
    around, lengths = unit(flat), flat.norm(dim=-1)
    start = torch.take_along_dim(around, lengths.argmax(-1)[..., None, None], dim=2)
    side = sign(dot(torch.linalg.cross(around, start), n) >= -1e-6)
    keys, order = (side * dot(around, start) - (1 - side)).sort(dim=-1, descending=True, stable=True)
    offsets = torch.take_along_dim(offsets, order[..., None], dim=2)
    own = axes[batch, torch.take_along_dim(table, order, dim=2)]
    before, step = own.roll(1, 2), unit(offsets - offsets.roll(1, 2))
    turn = keys - keys.roll(1, 2)
    turn[..., 0] = -3 - keys[..., -1]
    height, other, along, behind = (
        dot(unit(offsets), n),
        dot(unit(offsets), own),
        dot(step, own),
        dot(step, before),
    )
    columns = [
        offsets.norm(dim=-1),
        turn,
        height,
        other,
        sign(height < other) * angle(own, n),
        along,
        behind,
        sign(along < behind) * angle(own, before),
    ]
    return {"result": torch.stack(columns, dim=-1)}


PROVIDERS = (
    Provider("medkernels", _ours),
    Provider("torch operations", _torch, MOST_DIFFERENT, compare=compare_features, library="torch"),
)
TARGETS = (Target(CLOUDS, FORWARD, "torch operations", 20.0),)

"""Reference axes and rotation-invariant features beside the operations of the published PyTorch code.

That code searches neighbours for the axes and again for the features; where they are given, nobody does.
"""

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

K = 32
CLOUDS = f"8 clouds of 1024 points, k = {K}"
GIVEN = f"{CLOUDS}, neighbours given"
#: Angles and signs that float32 decides otherwise, as a share of all numbers.
MOST_DIFFERENT = 1e-3


def cases(sizes: str) -> list[Case]:
    """Clouds as of the atoms around a pocket, then curves over the points and the neighbours."""
    if sizes == "small":
        return [
            _case("2 clouds of 60 points, k = 8", 2, 60, 8, given=False),
            _case("2 clouds of 60 points, k = 8, neighbours given", 2, 60, 8),
            _case("points 100", 1, 100, 8, "points", 100),
        ]
    return [
        _case(CLOUDS, 8, 1024, K, given=False),
        _case(GIVEN, 8, 1024, K),
        *(_case(f"points {n}", 1, n, K, "points", n) for n in (1000, 3000, 10_000, 30_000, 100_000)),
        *(_case(f"neighbours {k}", 1, 4096, k, "neighbours", k) for k in (8, 16, 32, 64, 128, 256, 512)),
    ]


def _case(
    name: str, batch: int, count: int, k: int, curve: str = "", at: float = 0.0, given: bool = True
) -> Case:
    def inputs(device: str, seed: int) -> Inputs:
        points = np.random.default_rng(seed).normal(size=(batch, count, 3)).astype(np.float32)
        made: Inputs = {"points": points, "k": k, "centers": np.tile(np.arange(count), (batch, 1))}
        if given:
            made["neighbours"] = medkernels.points.knn(points, k=k)[0]
        return made if device == "cpu" else _moved(made, device)

    return Case(name, inputs, _work, curve, at)


def _moved(made: Inputs, device: str) -> Inputs:
    """With tensors on the device for the arrays."""
    import torch

    moved = {name: torch.from_numpy(made[name]).to(device) for name in made if name != "k"}
    return {**moved, "k": made["k"]}


def _work(inputs: Inputs, backward: bool) -> Work:
    """What sorting and searching cost at least is not counted."""
    batch, count = inputs["centers"].shape
    return Work(batch * count * inputs["k"])


def compare_features(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Differences:
    """The share of the numbers that differ by more than 0.001: signs jump, and the arc cosine is inexact."""
    own, other = (
        x if isinstance(x, np.ndarray) else x.cpu().numpy() for x in (ours["result"], theirs["result"])
    )
    apart = np.abs(own - other) > 1e-3
    return {"largest": float(apart.mean())}


def _ours(inputs: Inputs, backward: bool) -> Outputs:
    points = inputs["points"]
    neighbours = (
        inputs["neighbours"] if "neighbours" in inputs else medkernels.points.knn(points, k=inputs["k"])[0]
    )
    axes = medkernels.points.local_reference_axis(points, neighbours)
    features, _ = medkernels.points.rotation_invariant_features(points, axes, inputs["centers"], neighbours)
    return {"result": features}


def _published(inputs: Inputs, backward: bool) -> Outputs:
    """As RIConv++ publishes it, but for signs: those of axes, and those that rounding would decide."""
    import torch
    from torch import Tensor

    torch.set_num_threads(medkernels.get_num_threads())
    points, k = torch.as_tensor(inputs["points"]), inputs["k"]
    batch, count, _ = points.shape
    if "neighbours" in inputs:
        near = table = torch.as_tensor(inputs["neighbours"])
    else:
        near = torch.topk(torch.cdist(points, points), k, dim=-1, largest=False, sorted=False)[1]
        squared = points.square().sum(-1)
        apart = squared.unsqueeze(2) - 2 * torch.matmul(points, points.transpose(2, 1)) + squared.unsqueeze(1)
        table = torch.topk(apart, k, dim=-1, largest=False, sorted=False)[1]

    def take(rows: Tensor, indices: Tensor) -> Tensor:
        items = torch.arange(batch, device=points.device).view(batch, 1, 1).repeat(1, count, k)
        return rows[items, indices, :]

    def normalized(vectors: Tensor, lengths: Tensor) -> Tensor:
        units = vectors / lengths
        units[units != units] = 0
        return units

    def signed_angle(cosines: Tensor, less: Tensor) -> Tensor:
        angles = torch.acos(torch.clamp(cosines, -1 + 1e-7, 1 - 1e-7))
        signs = less.long()
        signs[signs == 0] = -1
        return signs.float() * angles

    offsets = take(points, near) - points.unsqueeze(2)
    lengths = torch.norm(offsets, dim=-1, keepdim=True)
    nearness = lengths.max(dim=2, keepdim=True)[0] - lengths
    weights = normalized(nearness, nearness.sum(dim=2, keepdim=True))
    axes = torch.linalg.eigh(torch.matmul(offsets.transpose(3, 2), weights * offsets))[1][..., 0]
    axes = axes / torch.norm(axes, dim=-1, keepdim=True)
    outwards = (axes * (points - points.mean(1, keepdim=True))).sum(-1, keepdim=True)
    axes = torch.where(outwards >= 0, axes, -axes)

    offsets = take(points, table) - points.unsqueeze(2)
    n = axes.unsqueeze(-1)
    flat = offsets - torch.matmul(offsets, n) * axes.unsqueeze(2)
    flat_lengths = torch.norm(flat, dim=-1, keepdim=True)
    around = normalized(flat, flat_lengths)
    farthest = torch.argmax(flat_lengths, dim=2)
    start = around.gather(2, farthest.unsqueeze(-1).repeat(1, 1, 1, 3))
    cosines = torch.matmul(around, start.transpose(3, 2))
    across = torch.linalg.cross(around, start.repeat(1, 1, k, 1), dim=-1)
    side = torch.where(torch.matmul(across, n) >= -1e-6, 1.0, -1.0)
    keys, order = torch.sort(side * cosines - (1 - side), dim=2, descending=True, stable=True)
    ordered = table.gather(2, order.squeeze(-1))

    offsets = take(points, ordered) - points.unsqueeze(2)
    lengths = torch.norm(offsets, dim=-1, keepdim=True)
    units, own = normalized(offsets, lengths), take(axes, ordered)
    height = torch.matmul(units, n)
    other = (units * own).sum(-1, keepdim=True)
    before = torch.roll(own, 1, 2)
    steps = offsets - torch.roll(offsets, 1, 2)
    steps = normalized(steps, torch.norm(steps, dim=-1, keepdim=True))
    along, behind = (steps * own).sum(-1, keepdim=True), (steps * before).sum(-1, keepdim=True)
    turn = keys - torch.roll(keys, 1, 2)
    turn[:, :, 0, 0] = -3 - keys[:, :, -1, 0]
    columns = [
        lengths,
        turn,
        height,
        other,
        signed_angle(torch.matmul(own, n), height < other),
        along,
        behind,
        signed_angle((own * before).sum(-1, keepdim=True), along < behind),
    ]
    return {"result": torch.cat(columns, dim=-1)}


PROVIDERS = (
    Provider("medkernels", _ours),
    Provider("torch, as published", _published, MOST_DIFFERENT, compare=compare_features, library="torch"),
)
TARGETS = tuple(Target(case, FORWARD, "torch, as published", 20.0) for case in (CLOUDS, GIVEN))

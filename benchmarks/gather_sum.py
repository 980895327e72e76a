"""Sums over neighbours, weighted by a softmax over the edges or not, beside torch's indexing."""

from __future__ import annotations

from functools import partial

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
    tensors,
)
from torch import Tensor

import medkernels

TITLE = "Sums over the neighbours of a table (GIN), and weighted by a softmax over the edges (GAT), float32"
UNITS = "numbers added"

SUM, ATTENTION = "sums, 50000 nodes, k = 10, 32 channels", "attention, 50000 nodes, k = 10, 4 heads of 8"


def cases(sizes: str) -> list[Case]:
    """Graphs as of the cells of a blood sample, then curves over the nodes."""
    if sizes == "small":
        return [_case("sums", 60, 4, 1, 8), _case("attention", 50, 4, 2, 3, attention=True)]
    return [
        _case(SUM, 50_000, 10, 1, 32),
        _case(ATTENTION, 50_000, 10, 4, 8, attention=True),
        *(_case(f"sums {n}", n, 10, 1, 32, curve="nodes, sums") for n in (1000, 10_000, 100_000, 1_000_000)),
        *(
            _case(f"attention {n}", n, 10, 4, 8, attention=True, curve="nodes, attention")
            for n in (1000, 10_000, 100_000, 1_000_000)
        ),
    ]


def _case(
    name: str, count: int, k: int, heads: int, channels: int, *, attention: bool = False, curve: str = ""
) -> Case:
    make = partial(_inputs, count, k, heads, channels, attention)
    return Case(name, make, _work, curve, count if curve else 0)


def _inputs(count: int, k: int, heads: int, channels: int, attention: bool, device: str, seed: int) -> Inputs:
    """Neighbours of points in 3-D, numbered at random as events are."""
    random = torch.Generator().manual_seed(seed)
    points = torch.randn(count, 3, generator=random)
    arrays = {
        "features": torch.randn(count, heads, channels, generator=random),
        "upstream": torch.randn(count, heads, channels, generator=random),
    }
    if attention:
        arrays["scores"] = torch.randn(count, k, heads, generator=random)
    table = medkernels.points.knn(points, k=k, include_self=False)[0]
    return {**{name: array.to(device) for name, array in arrays.items()}, "table": [table.to(device)]}


def _work(inputs: Inputs, backward: bool) -> Work:
    features, (table,) = inputs["features"], inputs["table"]
    added = table.numel() * features[0].numel()
    each = 1 if "scores" not in inputs else 2
    moved = 4 * 2 * features.numel() + 8 * table.numel()
    if "scores" in inputs:
        moved += 4 * inputs["scores"].numel()
    passes = (3 if "scores" in inputs else 2) if backward else 1
    return Work(added, float(added * each * passes), float(moved * (2 if backward else 1)))


def _run(inputs: Inputs, backward: bool, ours: bool) -> Outputs:
    torch.set_num_threads(medkernels.get_num_threads())
    leaves = {name: value.detach().requires_grad_(backward) for name, value in tensors(inputs).items()}
    (table,) = inputs["table"]
    with torch.set_grad_enabled(backward):
        result = (_with_ours if ours else _with_torch)(table, **leaves)
    if not backward:
        return {"result": result}
    result.backward(inputs["upstream"])
    return {"result": result.detach(), **{f"grad {name}": leaf.grad for name, leaf in leaves.items()}}


def _with_ours(table: Tensor, features: Tensor, scores: Tensor | None = None) -> Tensor:
    weights = None if scores is None else medkernels.points.edge_softmax(scores, table)
    sums: Tensor = medkernels.points.gather_sum(features, table, weights=weights)
    return sums


def _with_torch(table: Tensor, features: Tensor, scores: Tensor | None = None) -> Tensor:
    if scores is None:
        return features[table].sum(1)
    return (features[table] * scores.softmax(1)[..., None]).sum(1)


PROVIDERS = (
    Provider("medkernels", partial(_run, ours=True)),
    Provider("torch indexing", partial(_run, ours=False), 1e-4, 1e-5, 1e-5, library="torch"),
)
TARGETS = tuple(
    Target(case, direction, "torch indexing", 2.0)
    for case in (SUM, ATTENTION)
    for direction in (FORWARD, BOTH)
)

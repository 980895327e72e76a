"""`medkernels.points.edge_softmax` beside torch's softmax of scores whose absent edges are masked."""

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

TITLE = "Softmax over the edges that enter each node, some absent, float32"
UNITS = "scores"

ATTENTION = "50000 nodes, k = 10, 4 heads"
ABSENT = 0.1


def cases(sizes: str) -> list[Case]:
    """Graphs as of the cells of a blood sample, then a curve over the nodes."""
    if sizes == "small":
        return [_case("50 nodes, k = 4, 2 heads", 50, 4, 2), _case("nodes 100", 100, 4, 2, "nodes", 100)]
    return [
        _case(ATTENTION, 50_000, 10, 4),
        *(_case(f"nodes {n}", n, 10, 4, "nodes", n) for n in (1000, 10_000, 100_000, 1_000_000)),
    ]


def _case(name: str, count: int, k: int, heads: int, curve: str = "", at: float = 0.0) -> Case:
    def inputs(device: str, seed: int) -> Inputs:
        random = torch.Generator().manual_seed(seed)
        table = torch.randint(count, (count, k), generator=random)
        absent = torch.rand(count, k, generator=random) < ABSENT
        absent[:, 0] = False  # torch's softmax of nothing is NaN
        return {
            "scores": torch.randn(count, k, heads, generator=random).to(device),
            "upstream": torch.randn(count, k, heads, generator=random).to(device),
            "table": [table.masked_fill(absent, -1).to(device)],
        }

    return Case(name, inputs, _work, curve, at)


def _work(inputs: Inputs, backward: bool) -> Work:
    """Forward a comparison, a difference, an exponential, a sum and a product a score; backward 4 more."""
    scores, edges = inputs["scores"].numel(), inputs["table"][0].numel()
    moved = 4 * 2 * scores + 8 * edges
    if backward:
        moved += 4 * 3 * scores
    return Work(scores, float(scores * (9 if backward else 5)), float(moved))


def _ours(inputs: Inputs, backward: bool) -> Outputs:
    def draw(part: Inputs) -> Tensor:
        weights: Tensor = medkernels.points.edge_softmax(part["scores"], part["table"][0])
        return weights

    return run_in_parts(draw, inputs, backward)


def _torch(inputs: Inputs, backward: bool) -> Outputs:
    torch.set_num_threads(medkernels.get_num_threads())

    def draw(part: Inputs) -> Tensor:
        absent = (part["table"][0] < 0)[..., None]
        return part["scores"].masked_fill(absent, -torch.inf).softmax(1)

    return run_in_parts(draw, inputs, backward)


PROVIDERS = (
    Provider("medkernels", _ours),
    Provider("torch softmax", _torch, 1e-5, 1e-5, 1e-5, library="torch"),
)
TARGETS = tuple(Target(ATTENTION, direction, "torch softmax", 2.0) for direction in (FORWARD, BOTH))

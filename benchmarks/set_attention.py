"""`medkernels.attention.set_attention` beside torch's fused attention, and the explicit formula."""

from __future__ import annotations

import math

import torch
from medkernels.benchmarks.runner.cases import (
    BEST,
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

TITLE = "Attention between sets of unequal sizes, H=4, float32"
UNITS = "products of a query and a key"
HEADS = 4
MANY = 1_000_000
TO_FEW, FROM_FEW, EVEN = (
    "1e6 queries, 25 keys, D=8",
    "25 queries, 1e6 keys, D=8",
    "4096 queries, 4096 keys, D=16",
)


def cases(sizes: str) -> list[Case]:
    """Both ways round with small and larger heads, two sets of one size, then a curve over the larger set."""
    if sizes == "small":
        return [
            _case("5 queries, 300 keys, D=8", 5, 300, 8),
            _case("300 queries, 5 keys, D=8", 300, 5, 8),
            *(_case(f"keys {n}", 5, n, 8, "keys") for n in (100, 200)),
        ]
    return [
        _case(FROM_FEW, 25, MANY, 8),
        _case(TO_FEW, MANY, 25, 8),
        _case("64 queries, 1e6 keys, D=32", 64, MANY, 32),
        _case("1e6 queries, 64 keys, D=32", MANY, 64, 32),
        _case(EVEN, 4096, 4096, 16),
        *(_case(f"keys {n}", 25, n, 8, "keys") for n in (1000, 10_000, 100_000, MANY)),
    ]


def _case(name: str, queries: int, keys: int, dims: int, curve: str = "") -> Case:
    return Case(
        name,
        lambda device, seed: _inputs(queries, keys, dims, device, seed),
        _work,
        curve,
        keys if curve else 0,
    )


def _inputs(queries: int, keys: int, dims: int, device: str, seed: int) -> Inputs:
    random = torch.Generator().manual_seed(seed)
    rows = {"q": queries, "k": keys, "v": keys, "upstream": queries}
    return {name: torch.randn(1, HEADS, n, dims, generator=random).to(device) for name, n in rows.items()}


def _work(inputs: Inputs, backward: bool) -> Work:
    """Scores, weights and sums; backward the scores once more and four products of their size."""
    q, k, v = inputs["q"], inputs["k"], inputs["v"]
    pairs, dims = q.numel() // q.shape[3] * k.shape[2], q.shape[3]
    flops = (4 * dims + 2) * pairs + ((10 * dims + 3) * pairs if backward else 0)
    arrays = (q, k, v, q) if not backward else (q, k, v, q) * 2
    return Work(pairs, flops, sum(a.numel() * a.element_size() for a in arrays))


def _ours(inputs: Inputs, backward: bool) -> Outputs:
    def attend(part: Inputs) -> Tensor:
        result: Tensor = medkernels.attention.set_attention(part["q"], part["k"], part["v"])
        return result

    return run_in_parts(attend, inputs, backward)


def _fused(inputs: Inputs, backward: bool) -> Outputs:
    """Torch chooses the best of its implementations, which is its flash attention on the CPU."""

    def attend(part: Inputs) -> Tensor:
        return torch.nn.functional.scaled_dot_product_attention(part["q"], part["k"], part["v"])

    return run_in_parts(attend, inputs, backward)


def _explicit(inputs: Inputs, backward: bool) -> Outputs:
    def attend(part: Inputs) -> Tensor:
        q, k, v = part["q"], part["k"], part["v"]
        scores = torch.matmul(q, k.transpose(-2, -1)) / math.sqrt(q.shape[3])
        return torch.matmul(torch.softmax(scores, dim=-1), v)

    return run_in_parts(attend, inputs, backward)


PROVIDERS = (
    Provider("medkernels", _ours),
    # Sums over a million keys in float32: rounded differently, in parts of different sizes.
    Provider("torch SDPA", _fused, 1e-4, 1e-4, 1e-4),
    Provider("torch matmul + softmax", _explicit, 1e-4, 1e-4, 1e-4),
)
TARGETS = tuple(
    Target(case, direction, BEST, 1) for case in (FROM_FEW, TO_FEW, EVEN) for direction in (FORWARD, BOTH)
)

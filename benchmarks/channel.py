"""`medkernels.attention.channel` beside products and softmax in torch."""

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

TITLE = "Attention between channels, H=4, float32"
UNITS = "multiply-adds of the scores"
HEADS = 4
#: Volumes of the U-Net that the op comes from, at three of its levels: tokens and channels of a head.
FINE, MIDDLE, COARSE = "L=32768, D=16", "L=4096, D=32", "L=512, D=64"


def cases(sizes: str) -> list[Case]:
    """Three levels of a U-Net, then a curve over the length."""
    if sizes == "small":
        return [_case("L=100, D=8", 100, 8), *(_case(f"length {n}", n, 8, "length") for n in (64, 256))]
    return [
        _case(FINE, 32768, 16),
        _case(MIDDLE, 4096, 32),
        _case(COARSE, 512, 64),
        *(_case(f"length {n}", n, 32, "length") for n in (1024, 4096, 16384, 65536)),
    ]


def _case(name: str, length: int, dims: int, curve: str = "") -> Case:
    return Case(
        name, lambda device, seed: _inputs(length, dims, device, seed), _work, curve, length if curve else 0
    )


def _inputs(length: int, dims: int, device: str, seed: int) -> Inputs:
    random = torch.Generator().manual_seed(seed)
    arrays = {
        name: torch.randn(1, HEADS, length, dims, generator=random).to(device)
        for name in ("q", "k", "v", "upstream")
    }
    # Scores of random channels grow with the root of the length; kept small, lest one weight is all there is.
    return {**arrays, "scale": 1 / math.sqrt(length)}


def _work(inputs: Inputs, backward: bool) -> Work:
    """Scores and weighted sums; backward four products of their size."""
    q = inputs["q"]
    products = q.numel() * q.shape[3]
    arrays = 4 + (7 if backward else 0)
    return Work(products, (4 + (8 if backward else 0)) * products, arrays * q.numel() * q.element_size())


def _ours(inputs: Inputs, backward: bool) -> Outputs:
    def attend(part: Inputs) -> Tensor:
        result: Tensor = medkernels.attention.channel(part["q"], part["k"], part["v"], scale=part["scale"])
        return result

    return run_in_parts(attend, inputs, backward)


def _torch(inputs: Inputs, backward: bool) -> Outputs:
    def attend(part: Inputs) -> Tensor:
        scores = torch.matmul(part["q"].transpose(-2, -1), part["k"]) * part["scale"]
        return torch.matmul(part["v"], torch.softmax(scores, dim=-1).transpose(-2, -1))

    return run_in_parts(attend, inputs, backward)


def _einsum(inputs: Inputs, backward: bool) -> Outputs:
    def attend(part: Inputs) -> Tensor:
        scores = torch.einsum("bhli,bhlj->bhij", part["q"], part["k"]) * part["scale"]
        return torch.einsum("bhij,bhlj->bhli", torch.softmax(scores, dim=-1), part["v"])

    return run_in_parts(attend, inputs, backward)


PROVIDERS = (
    Provider("medkernels", _ours),
    Provider("torch matmul + softmax", _torch, 1e-4, 1e-4, 1e-4),
    Provider("torch einsum + softmax", _einsum, 1e-4, 1e-4, 1e-4),
)
TARGETS = tuple(
    Target(case, direction, BEST, 1) for case in (FINE, MIDDLE, COARSE) for direction in (FORWARD, BOTH)
)

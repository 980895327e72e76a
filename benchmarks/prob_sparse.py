"""`medkernels.attention.prob_sparse` beside Informer's formulation in torch, and dense attention."""

from __future__ import annotations

import math

import numpy as np
import torch
from medkernels.benchmarks.runner.cases import (
    BOTH,
    Case,
    Inputs,
    Outputs,
    Provider,
    Target,
    Work,
    run_in_parts,
)
from medkernels.benchmarks.runner.compare import Differences, compare_arrays
from torch import Tensor

import medkernels

TITLE = "ProbSparse self-attention, H=4, D=32, float32"
UNITS = "products of a query and a key"
FACTOR = 5
SHORT, LONG = "L=4096", "L=32768"


def cases(sizes: str) -> list[Case]:
    """Two lengths, then a curve over them."""
    if sizes == "small":
        return [_case("L=64", 64), *(_case(f"length {n}", n, "length") for n in (64, 256))]
    return [
        _case(SHORT, 4096),
        _case(LONG, 32768),
        *(_case(f"length {n}", n, "length") for n in (512, 2048, 8192, 32768, 131072)),
    ]


def _case(name: str, length: int, curve: str = "") -> Case:
    return Case(
        name, lambda device, seed: _inputs(length, device, seed), _work, curve, length if curve else 0
    )


def _inputs(length: int, device: str, seed: int) -> Inputs:
    random = torch.Generator().manual_seed(seed)
    arrays = {
        name: torch.randn(1, 4, length, 32, generator=random).to(device)
        for name in ("q", "k", "v", "upstream")
    }
    # In a tuple, as what is drawn is no input that a gradient could be taken of.
    return {**arrays, "seed": seed, "drawn": (sampled_keys(length, _count(length), seed).to(device),)}


def _count(length: int) -> int:
    return min(length, FACTOR * math.ceil(math.log(length)))


def sampled_keys(length: int, samples: int, seed: int) -> Tensor:
    """The keys that each query is compared with, [L, samples]."""
    low = np.uint64(0xFFFFFFFF)
    words = [np.zeros((length, -(-samples // 4)), np.uint64) for _ in range(4)]
    words[0] += np.arange(length, dtype=np.uint64)[:, None]
    words[1] += np.arange(words[0].shape[1], dtype=np.uint64)
    keys = [seed & 0xFFFFFFFF, seed >> 32]
    for _ in range(10):
        first, second = words[0] * np.uint64(0xD2511F53), words[2] * np.uint64(0xCD9E8D57)
        words = [
            (second >> np.uint64(32)) ^ words[1] ^ np.uint64(keys[0]),
            second & low,
            (first >> np.uint64(32)) ^ words[3] ^ np.uint64(keys[1]),
            first & low,
        ]
        keys = [(keys[0] + 0x9E3779B9) & 0xFFFFFFFF, (keys[1] + 0xBB67AE85) & 0xFFFFFFFF]
    numbers = np.stack(words, axis=-1).reshape(length, -1)[:, :samples]
    return torch.from_numpy((numbers * np.uint64(length) >> np.uint64(32)).astype(np.int64))


def _work(inputs: Inputs, backward: bool) -> Work:
    """Products with the samples and of the chosen queries; five more matrices of their size backward."""
    *heads, length, dims = inputs["q"].shape
    count = _count(length)
    rows = math.prod(heads) * length
    flops = rows * count * (2 * dims + 4 * dims + (10 * dims if backward else 0))
    arrays = 4 + (4 if backward else 0)
    return Work(2 * rows * count, flops, arrays * inputs["q"].numel() * inputs["q"].element_size())


def _ours(inputs: Inputs, backward: bool) -> Outputs:
    def attend(part: Inputs) -> Tensor:
        result: Tensor = medkernels.attention.prob_sparse(
            part["q"], part["k"], part["v"], factor=FACTOR, seed=part["seed"]
        )
        return result

    return run_in_parts(attend, inputs, backward)


def _informer(inputs: Inputs, backward: bool) -> Outputs:
    """Gathers the sampled keys of all queries, as the published code does; they are given, not drawn."""

    def attend(part: Inputs) -> Tensor:
        q, k, v, (drawn,) = part["q"], part["k"], part["v"], part["drawn"]
        length, dims = q.shape[2:]
        count = drawn.shape[1]
        products = torch.matmul(q[:, :, :, None], k[:, :, drawn].transpose(-2, -1))[..., 0, :]
        rating = products.amax(-1) - products.sum(-1) / length
        chosen = rating.topk(count, sorted=False).indices[..., None].expand(-1, -1, -1, dims)
        scores = torch.matmul(q.gather(2, chosen), k.transpose(-2, -1)) / math.sqrt(dims)
        rows = torch.matmul(torch.softmax(scores, dim=-1), v)
        return v.mean(2, keepdim=True).expand(v.shape).scatter(2, chosen, rows)

    return run_in_parts(attend, inputs, backward)


def _dense(inputs: Inputs, backward: bool) -> Outputs:
    def attend(part: Inputs) -> Tensor:
        return torch.nn.functional.scaled_dot_product_attention(part["q"], part["k"], part["v"])

    return run_in_parts(attend, inputs, backward)


def compare_chosen(ours: Outputs, theirs: Outputs) -> Differences:
    """With dense attention: only the rows that were chosen; all others are one row, the mean."""
    sparse = ours["result"]
    is_chosen = (sparse != sparse.median(dim=2, keepdim=True).values).any(-1)
    return compare_arrays({"result": sparse[is_chosen]}, {"result": theirs["result"][is_chosen]})


PROVIDERS = (
    Provider("medkernels", _ours),
    Provider("Informer in torch", _informer, 1e-5, 1e-5, 1e-4),
    Provider("torch SDPA, dense", _dense, 1e-5, 1e-5, compare=compare_chosen),
)
TARGETS = (
    Target(SHORT, BOTH, "Informer in torch", 10),
    Target(LONG, BOTH, "torch SDPA, dense", 50),
)

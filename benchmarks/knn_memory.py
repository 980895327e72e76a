"""`medkernels.attention.knn_memory` beside torch's topk and gather, and FAISS's flat index with torch.

FAISS searches on the CPU, also where the others do not.
"""

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
from medkernels import get_num_threads

TITLE = "Attention to the k = 32 nearest entries of a memory, H=8, D=24, float32"
UNITS = "products of a query and a key"
K, HEADS, DIMS = 32, 8, 24
DECODER = "617 queries, 16384 entries"


def cases(sizes: str) -> list[Case]:
    """The tokens of a mask decoder, then a curve over the entries."""
    if sizes == "small":
        return [
            _case("9 queries, 200 entries", 9, 200),
            *(_case(f"entries {n}", 9, n, "entries") for n in (64, 128)),
        ]
    return [
        _case(DECODER, 617, 16384),
        *(_case(f"entries {n}", 617, n, "entries") for n in (1024, 4096, 16384, 65536)),
    ]


def _case(name: str, count: int, entries: int, curve: str = "") -> Case:
    return Case(
        name,
        lambda device, seed: _inputs(count, entries, device, seed),
        _work,
        curve,
        entries if curve else 0,
    )


def _inputs(count: int, entries: int, device: str, seed: int) -> Inputs:
    random = torch.Generator().manual_seed(seed)

    def unit_rows(rows: int) -> Tensor:
        numbers = torch.randn(1, HEADS, rows, DIMS, generator=random)
        return (numbers / numbers.norm(dim=-1, keepdim=True)).to(device)

    # The memory in a tuple, as it is no input that a gradient is taken of.
    return {
        "q": unit_rows(count),
        "memory": (unit_rows(entries), unit_rows(entries)),
        "upstream": torch.randn(1, HEADS, count, DIMS, generator=random).to(device),
    }


def _work(inputs: Inputs, backward: bool) -> Work:
    """All products, then the chosen values; backward the chosen keys and values once more."""
    queries = inputs["q"].numel() // DIMS
    pairs, chosen = queries * inputs["memory"][0].shape[2], queries * K
    flops = 2 * DIMS * pairs + (2 * DIMS + 2) * chosen + (4 * DIMS * chosen if backward else 0)
    arrays = (*inputs["memory"], *[inputs["q"]] * (4 if backward else 2))
    return Work(pairs, flops, sum(a.numel() * a.element_size() for a in arrays))


def _ours(inputs: Inputs, backward: bool) -> Outputs:
    def attend(part: Inputs) -> Tensor:
        result: Tensor = medkernels.attention.knn_memory(part["q"], *part["memory"], k=K)
        return result

    return run_in_parts(attend, inputs, backward)


def _torch(inputs: Inputs, backward: bool) -> Outputs:
    def attend(part: Inputs) -> Tensor:
        q, (keys, values) = part["q"], part["memory"]
        scores, chosen = torch.matmul(q, keys.transpose(-2, -1)).topk(K, sorted=False)
        return _weighted(scores, values, chosen)

    return run_in_parts(attend, inputs, backward)


def _faiss(inputs: Inputs, backward: bool) -> Outputs:
    import faiss

    faiss.omp_set_num_threads(get_num_threads())

    def attend(part: Inputs) -> Tensor:
        q, (keys, values) = part["q"], part["memory"]
        chosen = []
        for head in range(HEADS):
            index = faiss.IndexFlatIP(DIMS)
            index.add(keys[0, head].cpu().numpy())
            found = index.search(q[0, head].detach().cpu().numpy(), K)[1]
            chosen.append(torch.from_numpy(found).to(q.device))
        entries = torch.stack(chosen)[None]
        own = keys[0, torch.arange(HEADS)[:, None, None], entries[0]][None]
        return _weighted((q[:, :, :, None] * own).sum(-1), values, entries)

    return run_in_parts(attend, inputs, backward)


def _weighted(scores: Tensor, values: Tensor, entries: Tensor) -> Tensor:
    own = values[0, torch.arange(HEADS)[:, None, None], entries[0]][None]
    return (torch.softmax(scores / math.sqrt(DIMS), dim=-1)[..., None] * own).sum(-2)


PROVIDERS = (
    Provider("medkernels", _ours),
    # Where the last two of the entries are as good as equal, either may be taken.
    Provider("torch topk + gather", _torch, 1e-3, 1e-4, 1e-3),
    Provider("FAISS flat + torch", _faiss, 1e-3, 1e-4, 1e-3, library="faiss"),
)
TARGETS = (Target(DECODER, FORWARD, BEST, 3), Target(DECODER, BOTH, BEST, 3))

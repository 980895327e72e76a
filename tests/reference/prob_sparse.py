"""ProbSparse attention by its definition: whole matrices of scores, and the generator in plain integers."""

from __future__ import annotations

import math

import torch
from torch import Tensor

LOW = 0xFFFFFFFF


def philox(counter: tuple[int, int, int, int], seed: int) -> list[int]:
    """Philox4x32-10 of one counter (Salmon et al. 2011, section 3)."""
    left0, right0, left1, right1 = counter
    keys = [seed & LOW, seed >> 32]
    for _ in range(10):
        product0, product1 = 0xD2511F53 * left0, 0xCD9E8D57 * left1
        left0, right0, left1, right1 = (
            (product1 >> 32) ^ right0 ^ keys[0],
            product1 & LOW,
            (product0 >> 32) ^ right1 ^ keys[1],
            product0 & LOW,
        )
        keys = [(keys[0] + 0x9E3779B9) & LOW, (keys[1] + 0xBB67AE85) & LOW]
    return [left0, right0, left1, right1]


def sampled_keys(length: int, samples: int, seed: int) -> Tensor:
    """The keys that each query is compared with, [L, samples]."""
    rows = [
        [x * length >> 32 for block in range(-(-samples // 4)) for x in philox((i, block, 0, 0), seed)][
            :samples
        ]
        for i in range(length)
    ]
    return torch.tensor(rows, dtype=torch.int64).reshape(length, samples)


def counts(length: int, factor: int) -> int:
    """How many keys are drawn, and how many queries chosen."""
    return min(length, factor * math.ceil(math.log(length))) if length else 0


def chosen(q: Tensor, k: Tensor, factor: int, seed: int, mean: str) -> Tensor:
    """The queries that are chosen, [B, H, n] in ascending order."""
    length = q.shape[2]
    count = counts(length, factor)
    keys = k[:, :, sampled_keys(length, count, seed)]  # [B, H, L, samples, D]
    products = (q[:, :, :, None] * keys).sum(-1)
    if count == 0:
        return torch.empty(*q.shape[:2], 0, dtype=torch.int64)
    rating = products.max(-1).values - products.sum(-1) / (length if mean == "reference" else count)
    order = torch.sort(rating, dim=-1, descending=True, stable=True).indices
    return order[..., :count].sort(-1).values


def prob_sparse(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    factor: int = 5,
    seed: int = 0,
    scale: float | None = None,
    mean: str = "reference",
) -> Tensor:
    """As `medkernels.attention.prob_sparse`; differentiable."""
    dims = q.shape[3]
    rows = chosen(q.detach(), k.detach(), factor, seed, mean)
    scores = (q @ k.transpose(2, 3)) * (1 / math.sqrt(dims) if scale is None else scale)
    exact = torch.softmax(scores, dim=-1) @ v
    is_chosen = torch.zeros(q.shape[:3], dtype=torch.bool).scatter(2, rows, True)
    return torch.where(is_chosen[..., None], exact, v.mean(2, keepdim=True).expand(v.shape))

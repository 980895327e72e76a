"""Attention to the nearest entries of a memory by its definition: the whole matrix of scores, sorted."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def nearest(q: Tensor, keys: Tensor, k: int) -> Tensor:
    """The entries of each query, [B, H, N, min(k, M)] in ascending order."""
    scores = q @ keys.transpose(2, 3)
    order = torch.sort(scores, dim=-1, descending=True, stable=True).indices
    return order[..., :k].sort(-1).values


def knn_memory(
    q: Tensor,
    keys: Tensor,
    values: Tensor,
    *,
    k: int = 32,
    scale: float | None = None,
    gate: Tensor | None = None,
    local: Tensor | None = None,
) -> Tensor:
    """As `medkernels.attention.knn_memory`; differentiable in everything."""
    chosen = torch.zeros(*q.shape[:3], keys.shape[2], dtype=torch.bool)
    chosen.scatter_(3, nearest(q.detach(), keys.detach(), k), True)
    scores = (q @ keys.transpose(2, 3)) * (1 / math.sqrt(q.shape[3]) if scale is None else scale)
    found = torch.softmax(scores.masked_fill(~chosen, -math.inf), dim=-1) @ values
    if gate is None or local is None:
        return found
    share = torch.sigmoid(gate)[:, None, None]
    return share * found + (1 - share) * local

"""Attention between sets by its definition: all scores, one query after the other."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def set_attention(q: Tensor, k: Tensor, v: Tensor, *, scale: float | None = None) -> Tensor:
    """As `medkernels.attention.set_attention`; differentiable."""
    factor = 1 / math.sqrt(q.shape[3]) if scale is None else scale
    rows = []
    for query in q.unbind(2):
        scores = factor * (query[:, :, None] * k).sum(-1)  # [B, H, M]
        grown = (scores - scores.amax(-1, keepdim=True)).exp()
        rows.append((grown[..., None] * v).sum(2) / grown.sum(-1, keepdim=True))
    return torch.stack(rows, dim=2) if rows else q.new_zeros(*q.shape[:3], v.shape[3])

"""Attention between channels by its definition: every weight and every sum written out."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def weights(q: Tensor, k: Tensor, scale: float | None = None) -> Tensor:
    """P, [B, H, D, D]."""
    factor = 1 / math.sqrt(q.shape[3]) if scale is None else scale
    scores = factor * (q[..., :, None] * k[..., None, :]).sum(2)  # [B, H, L, D, D] summed over L
    grown = (scores - scores.amax(-1, keepdim=True)).exp()
    return grown / grown.sum(-1, keepdim=True)


def channel(q: Tensor, k: Tensor, v: Tensor, *, scale: float | None = None) -> Tensor:
    """As `medkernels.attention.channel`; differentiable."""
    return torch.stack([(weights(q, k, scale)[:, :, i, None] * v).sum(-1) for i in range(q.shape[3])], dim=-1)

"""Attention between sets: multihead attention blocks, and blocks induced by learnt or by sampled points.

J. Lee et al., "Set Transformer" (2019), with the events of farthest point sampling as inducing points.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medkernels.attention import set_attention
from medkernels.zoo.mrd_flow.blocks import has_kernel, in_blocks


class MAB(nn.Module):
    """Multihead attention block: ``O = LN(q + attention(q, k, v))``, ``LN(O + GELU(O W))``.

    Parameters
    ----------
    queries, keys : int
        Features of the two sets.
    width : int
        Of the output.
    heads : int

    Notes
    -----
    Scores are divided by the root of the width, not of a head's share of it, and the residual adds the
    projected query; both as in the released code.
    """

    def __init__(self, queries: int, keys: int, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = 1 / math.sqrt(width)
        self.fc_q = nn.Linear(queries, width)
        self.fc_k = nn.Linear(keys, width)
        self.fc_v = nn.Linear(keys, width)
        self.fc_o = nn.Linear(width, width)
        self.ln0 = nn.LayerNorm(width)
        self.ln1 = nn.LayerNorm(width)

    def forward(self, queries: Tensor, keys: Tensor) -> Tensor:
        """[B,q,queries], [B,n,keys] -> [B,q,width]."""
        k, v = self._split(in_blocks(self.fc_k, keys)), self._split(in_blocks(self.fc_v, keys))

        def answer(part: Tensor) -> Tensor:
            q: Tensor = self.fc_q(part)
            heads = self._attend(self._split(q), k, v)
            o: Tensor = self.ln0(q + heads.transpose(1, 2).flatten(2))
            out: Tensor = self.ln1(o + F.gelu(self.fc_o(o)))
            return out

        return in_blocks(answer, queries)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """[B,heads,q,d], twice [B,heads,n,d] -> [B,heads,q,d]."""
        if has_kernel(q):
            return torch.as_tensor(set_attention(q, k, v, scale=self.scale))
        return F.scaled_dot_product_attention(q, k, v, scale=self.scale)

    def _split(self, rows: Tensor) -> Tensor:
        """[B,n,width] -> [B,heads,n,width / heads]."""
        return rows.view(*rows.shape[:2], self.heads, -1).transpose(1, 2)


class ISAB(nn.Module):
    """Attention induced by learnt points: ``MAB(X, MAB(I, X))``.

    Parameters
    ----------
    inputs, width, heads : int
    points : int
        How many inducing points are learnt.
    """

    def __init__(self, inputs: int, width: int, heads: int, points: int) -> None:
        super().__init__()
        self.inducing = nn.Parameter(torch.empty(1, points, width))
        nn.init.xavier_uniform_(self.inducing)
        self.mab0 = MAB(width, inputs, width, heads)
        self.mab1 = MAB(inputs, width, width, heads)

    def forward(self, x: Tensor) -> Tensor:
        """[B,n,inputs] -> [B,n,width]."""
        out: Tensor = self.mab1(x, self.mab0(self.inducing.expand(len(x), -1, -1), x))
        return out


class FPSBlock(nn.Module):
    """Attention induced by events of the set itself: ``MAB(X, MAB(X[picks], X))``."""

    def __init__(self, inputs: int, width: int, heads: int) -> None:
        super().__init__()
        self.mab0 = MAB(inputs, inputs, width, heads)
        self.mab1 = MAB(inputs, width, width, heads)

    def forward(self, x: Tensor, picks: Tensor) -> Tensor:
        """[B,n,inputs] and indices [B,m] -> [B,n,width]."""
        inducing = x.gather(1, picks[..., None].expand(-1, -1, x.shape[2]))
        out: Tensor = self.mab1(x, self.mab0(inducing, x))
        return out

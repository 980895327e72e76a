"""Dual rotation-invariant attention (DRIA): over voxels and over channels, with queries gated by F_RI."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medkernels.attention import channel, prob_sparse

BRANCHES = ("both", "spatial", "channel", "none")
MEANS = ("reference", "sample")
GAMMA = 0.1  # first weight of the attention beside what it attends to
DROPOUT = 0.1


@dataclass(frozen=True)
class Attention:
    """What the paper and its released code leave open.

    Attributes
    ----------
    heads : int
    factor : int
        c of ProbSparse: ``c ln L`` keys are drawn for each query, and as many queries chosen.
    branches : {"both", "spatial", "channel", "none"}
        The paper sums both; the released code computes both and keeps the channels'. Without any a block is
        its convolution alone.
    normalise : bool
        Bring queries and keys to length 1 over the voxels first, as the released code does.
    mean : {"reference", "sample"}
        Divisor of the sampled sum of products, as in `medkernels.attention.prob_sparse`.
    """

    heads: int = 4
    factor: int = 5
    branches: str = "both"
    normalise: bool = False
    mean: str = "reference"

    def __post_init__(self) -> None:
        """Check the options."""
        for name, value in (("heads", self.heads), ("factor", self.factor)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be an integer of at least 1, got {value!r}")
        if self.branches not in BRANCHES:
            raise ValueError(f"branches must be one of {', '.join(BRANCHES)}, got {self.branches!r}")
        if self.mean not in MEANS:
            raise ValueError(f"mean must be one of {', '.join(MEANS)}, got {self.mean!r}")


class DRIA(nn.Module):
    """``X = X_s W_o1 + X_c W_o2`` with ``[Q, K, V_s, V_c] = x W`` and ``Q~ = Q * (F_RI W_R)``.

    ``X_s`` is ProbSparse attention over the voxels, ``X_c = V_c softmax(Q~^T K / sqrt d)^T`` attention over
    the channels of each head; both share queries and keys.

    Parameters
    ----------
    channels : int
        C, a multiple of the heads.
    attention : Attention
    gates : int
        Features of F_RI; 0 if there is none, where ``Q~ = Q``.
    """

    def __init__(self, channels: int, attention: Attention, gates: int) -> None:
        super().__init__()
        if channels % attention.heads:
            raise ValueError(f"heads must divide {channels} channels, got {attention.heads}")
        self.attention = attention
        self.sources = 4 if attention.branches == "both" else 3
        self.w = nn.Linear(channels, self.sources * channels, bias=False)
        self.w_r = nn.Linear(gates, channels, bias=False) if gates else None
        self.w_o1 = nn.Linear(channels, channels) if attention.branches != "channel" else None
        self.w_o2 = nn.Linear(channels, channels) if attention.branches != "spatial" else None

    def forward(self, x: Tensor, invariant: Tensor | None) -> Tensor:
        """Voxels [B,L,C] and F_RI [B,L,gates] -> [B,L,C]."""
        q, k, *values = self._split(self.w(x), self.sources)
        if self.w_r is not None:
            q = q * self._split(self.w_r(invariant), 1)[0]
        if self.attention.normalise:
            q, k = F.normalize(q, dim=2), F.normalize(k, dim=2)
        out = torch.zeros_like(x)
        if self.w_o1 is not None:
            factor, mean = self.attention.factor, self.attention.mean
            found = torch.as_tensor(prob_sparse(q, k, values[0], factor=factor, seed=self._seed(), mean=mean))
            out = out + self.w_o1(_joined(found))
        if self.w_o2 is not None:
            out = out + self.w_o2(_joined(torch.as_tensor(channel(q, k, values[-1]))))
        return out

    def _split(self, rows: Tensor, parts: int) -> tuple[Tensor, ...]:
        """[B,L,parts C] -> parts of [B,heads,L,C / heads], in single precision at least."""
        if rows.dtype not in (torch.float32, torch.float64):
            rows = rows.float()
        split = rows.view(*rows.shape[:2], parts, self.attention.heads, -1)
        return tuple(split.permute(2, 0, 3, 1, 4))

    def _seed(self) -> int:
        """Other keys at each step of training; the same ones whenever the network is applied."""
        return int(torch.randint(2**62, ())) if self.training else 0


class DRIABlock(nn.Module):
    """``y = x + gamma DRIA(x, F_RI)``, then ``LeakyReLU(y + GN(conv(dropout(y))))``."""

    def __init__(self, channels: int, attention: Attention, gates: int) -> None:
        super().__init__()
        attends = attention.branches != "none"
        self.dria = DRIA(channels, attention, gates) if attends else None
        self.gamma = nn.Parameter(torch.full((channels,), GAMMA)) if attends else None
        self.conv = nn.Sequential(
            nn.Dropout3d(DROPOUT),
            nn.Conv3d(channels, channels, 3, padding=1, bias=False),
            nn.GroupNorm(1, channels),
        )
        self.act = nn.LeakyReLU()

    def forward(self, x: Tensor, invariant: Tensor | None) -> Tensor:
        """[B,C,R,R,R] and F_RI [B,gates,R,R,R] -> [B,C,R,R,R]."""
        if self.dria is not None:
            tokens = x.flatten(2).transpose(1, 2)
            gate = None if invariant is None else invariant.flatten(2).transpose(1, 2)
            tokens = tokens + self.gamma * self.dria(tokens, gate)
            x = tokens.transpose(1, 2).reshape(x.shape)
        out: Tensor = self.act(x + self.conv(x))
        return out


def _joined(heads: Tensor) -> Tensor:
    """[B,heads,L,d] -> [B,L,heads d]."""
    return heads.transpose(1, 2).flatten(2)

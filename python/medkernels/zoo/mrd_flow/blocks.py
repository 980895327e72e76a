"""Work on many events a block at a time, so that memory stays bounded where no gradient is asked for."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

BLOCK = 65_536  # events


def in_blocks(step: Callable[..., Tensor], *parts: Tensor) -> Tensor:
    """``step(*parts)``, a block of events at a time unless a gradient is recorded.

    Parameters
    ----------
    step : callable
        Takes the parts [B,n,...] and gives [B,n,...]; what it makes of an event depends on that event alone.
    *parts : Tensor
        Equal in their first two sizes.
    """
    count = parts[0].shape[1]
    if torch.is_grad_enabled() or count <= BLOCK:
        return step(*parts)
    first = step(*(part[:, :BLOCK] for part in parts))
    out = first.new_empty(first.shape[0], count, *first.shape[2:])
    out[:, :BLOCK] = first
    for start in range(BLOCK, count, BLOCK):
        out[:, start : start + BLOCK] = step(*(part[:, start : start + BLOCK] for part in parts))
    return out


def has_kernel(values: Tensor) -> bool:
    """Whether `mk.points` and `mk.attention` compute with these: not on GPUs, and not in half precision."""
    return values.device.type == "cpu" and values.dtype in (torch.float32, torch.float64)

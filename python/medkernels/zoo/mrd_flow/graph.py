"""The k-NN graph of a sample, the events that attention is induced by, and sums along the graph."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from medkernels.points import edge_softmax, farthest_point_sampling, gather_sum, knn
from medkernels.zoo.mrd_flow.blocks import has_kernel

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


def neighbour_table(space: Floats, k: int) -> Ints:
    """The k events nearest to each event [n,G] -> [n,k], itself left out; -1 where a sample has too few."""
    found: Ints = knn(np.ascontiguousarray(space), k=k, include_self=False)[0]
    return found


def induce(features: Floats, count: int, start: int | None = None) -> Ints:
    """Events that cover the sample, by farthest point sampling.

    Parameters
    ----------
    features : [n,F]
    count : how many, n at most.
    start : the first one; the event nearest to the mean if None, so that the choice does not hang on the
        order of the events.
    """
    if start is None:
        gaps = features - features.mean(axis=0, dtype=np.float64).astype(np.float32)
        start = int(np.einsum("nf,nf->n", gaps, gaps).argmin())
    found: Ints = farthest_point_sampling(np.ascontiguousarray(features), count, start=start)
    return found


def induced_count(events: int, ratio: float, fixed: int | None) -> int:
    """How many events attention is induced by: ``ceil(ratio * events)``, or a fixed number."""
    return min(events, math.ceil(ratio * events) if fixed is None else fixed)


def neighbour_sum(features: Tensor, table: Tensor, weights: Tensor | None = None) -> Tensor:
    """Sum over the neighbours of events, weighted if weights are given.

    Parameters
    ----------
    features : [B,n,C] or, with heads, [B,n,H,C]
    table : [B,q,k], -1 for none.
    weights : [B,q,k,H], with heads.

    Returns
    -------
    Tensor
        [B,q,C] or [B,q,H,C].
    """
    if has_kernel(features):
        return torch.as_tensor(gather_sum(features, table, weights=weights))
    around = gathered(features, table)
    return around.sum(dim=2) if weights is None else (weights[..., None] * around).sum(dim=2)


def neighbour_softmax(scores: Tensor, table: Tensor) -> Tensor:
    """Softmax of scores [B,q,k,H] over the neighbours of each event; 0 where there is none."""
    if has_kernel(scores):
        return torch.as_tensor(edge_softmax(scores, table))
    weights = scores.masked_fill((table < 0)[..., None], -torch.inf).softmax(dim=2)
    return weights.nan_to_num(0)  # of events without any neighbour


def gathered(values: Tensor, table: Tensor) -> Tensor:
    """The values [B,n,...] of the neighbours [B,q,k], zero where there is none -> [B,q,k,...]."""
    batch, count = values.shape[:2]
    offsets = count * torch.arange(batch, device=table.device)[:, None, None]
    rows = (table.clamp(min=0) + offsets).flatten()
    found = values.flatten(0, 1).index_select(0, rows).view(*table.shape, *values.shape[2:])
    absent = table < 0
    return found.masked_fill(absent.view(*absent.shape, *(1,) * (values.dim() - 2)), 0)


def as_tensor(array: npt.NDArray[Any], device: torch.device) -> Tensor:
    """One sample as a batch of one."""
    return torch.from_numpy(array).to(device)[None]

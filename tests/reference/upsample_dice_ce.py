"""The loss by its definition, on logits upsampled as a whole: a product with a matrix for each axis."""

from __future__ import annotations

import torch
from torch import Tensor


def weights(from_count: int, count: int) -> Tensor:
    """[count, from_count]: what each input adds to each output, falling with its distance."""
    places = (torch.arange(count, dtype=torch.float64) + 0.5) * from_count / count - 0.5
    inputs = torch.arange(from_count, dtype=torch.float64)
    return (1 - (places.clamp(0, from_count - 1)[:, None] - inputs).abs()).clamp(min=0)


def upsample_dice_ce(
    logits: Tensor,
    labels: Tensor,
    *,
    dice_weight: float = 1.0,
    ce_weight: float = 1.0,
    include_background: bool = True,
    ignore_index: int | None = None,
) -> Tensor:
    """As `medkernels.segmentation.upsample_dice_ce`, in float64."""
    dense = logits.double()
    for axis, count in enumerate(labels.shape[1:], start=2):
        dense = torch.tensordot(dense, weights(dense.shape[axis], count), dims=([axis], [1])).movedim(
            -1, axis
        )
    p = dense.softmax(1).flatten(2)  # [B, C, places]
    own = labels.long().flatten(1)
    counts = torch.ones_like(own, dtype=torch.bool) if ignore_index is None else own != ignore_index
    y = torch.zeros_like(p)
    for c in range(p.shape[1]):
        y[:, c] = ((own == c) & counts).double()
    p = p * counts[:, None]
    first = 0 if include_background else 1
    dice = (2 * (p * y).sum(2) + 1e-5) / ((p * p).sum(2) + (y * y).sum(2) + 1e-5)
    entropy = -(dense.log_softmax(1).flatten(2) * y).sum() / max(1, int(counts.sum()))
    return ce_weight * entropy + dice_weight * (1 - dice[:, first:].mean())

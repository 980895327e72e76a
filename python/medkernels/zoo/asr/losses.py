"""What training and refinement minimise, and how a reconstruction is judged."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from medkernels.zoo.asr.model import ASR, Explanation

KINDS = ("mse", "multiscale")
POOLINGS = (1, 2, 4)  # cells of the three levels of the multi-scale error


@dataclass(frozen=True)
class Objective:
    """The terms of the loss.

    Attributes
    ----------
    kind : {"mse", "multiscale"}
        Pixel error: mean square, or its mean over the image at full, half and quarter resolution.
    layers : float
        Weight of the same error for the picture without the finest scale, without the two finest, and so on.
        Each scale then explains what it can before finer ones correct it.
    area : float
        Weight of mean(w h / r^2), against ellipses that grow to the bound.
    price : float
        Squared error, summed over pixels and averaged over channels, that an opaque ellipse must save to be
        kept; charged in proportion to opacity.
    """

    kind: str = "mse"
    layers: float = 0.0
    area: float = 0.0
    price: float = 0.0


def pixel_error(image: Tensor, target: Tensor, kind: str) -> Tensor:
    """Mean square error of [B,C,H,W], at one or three resolutions."""
    if kind == "mse":
        return F.mse_loss(image, target)
    errors = [F.mse_loss(F.avg_pool2d(image, n), F.avg_pool2d(target, n)) for n in POOLINGS]
    return torch.stack(errors).mean()


def objective(
    model: ASR, image: Tensor, explanation: Explanation, target: Tensor, goal: Objective, charge: float = 1.0
) -> dict[str, Tensor]:
    """The loss under "loss", and its pixel error under "mse".

    Parameters
    ----------
    model : ASR
        Renders the partial pictures.
    image, target : [B,C,H,W]
        Reconstruction and original.
    explanation : Explanation
        Of the reconstruction.
    goal : Objective
        The terms.
    charge : float
        Factor on the price, for a schedule.
    """
    size = (target.shape[2], target.shape[3])
    total = pixel_error(image, target, goal.kind)
    for finest in range(1, len(explanation.scales)) if goal.layers else ():
        partial = model.render(explanation, size, finest=finest)
        total = total + goal.layers * pixel_error(partial, target, goal.kind)
    for scale, spacing in zip(explanation.scales, model.encoder.spacings, strict=True):
        if goal.area:
            total = total + goal.area * scale.axes.prod(dim=-1).mean() / spacing**2
        if goal.price:
            total = total + charge * goal.price * scale.opacity.sum() / target[:, 0].numel()
    return {"loss": total, "mse": F.mse_loss(image.detach(), target)}


def reconstruction_metrics(image: Tensor, target: Tensor) -> dict[str, Tensor]:
    """Per image [B]: "mse", "mae", and "ssim" (11x11 Gaussian window, sigma 1.5, K1 0.01, K2 0.03)."""
    ssim = structural_similarity_index_measure(
        image, target, sigma=1.5, data_range=1.0, k1=0.01, k2=0.03, reduction="none"
    )
    return {
        "mse": (image - target).square().mean(dim=(1, 2, 3)),
        "mae": (image - target).abs().mean(dim=(1, 2, 3)),
        "ssim": torch.as_tensor(ssim),
    }

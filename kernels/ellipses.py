"""Soft ellipses over a background (Triton). Definition and arguments: ``medkernels.render.ellipses``."""

from __future__ import annotations

import torch
from medkernels.kernels.quadrics import differentiate, draw, scene


def ellipses_forward(
    centers: torch.Tensor,
    axes: torch.Tensor,
    angles: torch.Tensor,
    colors: torch.Tensor,
    opacity: torch.Tensor,
    background: torch.Tensor,
    size: tuple[int, int],
    composition: str,
    profile: str,
    tau: float,
) -> torch.Tensor:
    """Image [B,C,H,W] from centers and axes [B,K,2], angles and opacity [B,K], colors [B,K,C].

    Computes in float32 (float64 for float64 centers) and returns the dtype of the centers. Raises ValueError
    if a value of a primitive is not finite or out of range.
    """
    return draw(scene(centers, axes, angles, colors, opacity, background, size, composition, profile, tau))


def ellipses_backward(
    grad_image: torch.Tensor,
    centers: torch.Tensor,
    axes: torch.Tensor,
    angles: torch.Tensor,
    colors: torch.Tensor,
    opacity: torch.Tensor,
    background: torch.Tensor,
    size: tuple[int, int],
    composition: str,
    profile: str,
    tau: float,
) -> tuple[torch.Tensor, ...]:
    """Gradients of centers, axes, angles, colors, opacity and background from dL/dimage [B,C,H,W]."""
    drawn = scene(centers, axes, angles, colors, opacity, background, size, composition, profile, tau)
    return differentiate(drawn, grad_image)

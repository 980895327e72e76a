"""Soft ellipsoids over a background (Triton). Definition and arguments: ``medkernels.render.ellipsoids``."""

from __future__ import annotations

import torch
from medkernels.kernels.quadrics import differentiate, draw, scene


def ellipsoids_forward(
    centers: torch.Tensor,
    axes: torch.Tensor,
    rotations: torch.Tensor,
    colors: torch.Tensor,
    opacity: torch.Tensor,
    background: torch.Tensor,
    size: tuple[int, int, int],
    composition: str,
    profile: str,
    tau: float,
) -> torch.Tensor:
    """Volume [B,C,D,H,W] from centers and axes [B,K,3], rotations [B,K,4], opacity [B,K], colors [B,K,C].

    Computes in float32 (float64 for float64 centers) and returns the dtype of the centers. Raises ValueError
    if a value of a primitive is not finite or out of range.
    """
    return draw(scene(centers, axes, rotations, colors, opacity, background, size, composition, profile, tau))


def ellipsoids_backward(
    grad_image: torch.Tensor,
    centers: torch.Tensor,
    axes: torch.Tensor,
    rotations: torch.Tensor,
    colors: torch.Tensor,
    opacity: torch.Tensor,
    background: torch.Tensor,
    size: tuple[int, int, int],
    composition: str,
    profile: str,
    tau: float,
) -> tuple[torch.Tensor, ...]:
    """Gradients of centers, axes, rotations, colors, opacity and background from dL/dimage [B,C,D,H,W]."""
    drawn = scene(centers, axes, rotations, colors, opacity, background, size, composition, profile, tau)
    return differentiate(drawn, grad_image)

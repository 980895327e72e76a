"""The ellipse renderer from its definition: dense, slow, plain torch, differentiable by autograd."""

from __future__ import annotations

import torch

EPS_RHO = 1e-6
EPS_WEIGHT = 1e-6


def profile_alpha(rho: torch.Tensor, opacity: torch.Tensor, profile: str, tau: float) -> torch.Tensor:
    """Opacity at normalised radius ``rho``; zero beyond the cut-off, which is part of the definition."""
    if profile == "sigmoid":
        alpha, reach = opacity * torch.sigmoid((1.0 - rho) / tau), 1.0 + 6.0 * tau
    elif profile == "gaussian":
        alpha, reach = opacity * torch.exp(-0.5 * rho**2), 12.0**0.5
    else:
        raise ValueError(profile)
    return torch.where(rho <= reach, alpha, torch.zeros_like(alpha))


def composite(
    alpha: torch.Tensor, colors: torch.Tensor, background: torch.Tensor, composition: str
) -> torch.Tensor:
    """alpha [B,K,P], colors [B,K,C], background [B,C,P] -> image [B,C,P]."""
    if composition == "union":
        through = torch.prod(1.0 - alpha, dim=1)[:, None]
        weight = alpha.sum(dim=1)[:, None] + EPS_WEIGHT
        color = torch.einsum("bkp,bkc->bcp", alpha, colors) / weight
        return through * background + (1.0 - through) * color
    image = background
    for k in range(alpha.shape[1]):
        a = alpha[:, k, None]
        image = a * colors[:, k, :, None] + (1.0 - a) * image
    return image


def expand_background(background: torch.Tensor, size: tuple[int, ...]) -> torch.Tensor:
    """[B,C] or [B,C,*size] -> [B,C,P]."""
    b, c = background.shape[:2]
    pixels = 1
    for n in size:
        pixels *= n
    return background.reshape(b, c, 1 if background.ndim == 2 else pixels).expand(b, c, pixels)


def ellipse_rho(
    centers: torch.Tensor, axes: torch.Tensor, angles: torch.Tensor, size: tuple[int, int]
) -> torch.Tensor:
    """Normalised radius of every pixel in every ellipse: [B,K,H*W]."""
    y, x = torch.meshgrid(
        torch.arange(size[0], dtype=centers.dtype), torch.arange(size[1], dtype=centers.dtype), indexing="ij"
    )
    dx = x.reshape(-1) - centers[..., 0:1]
    dy = y.reshape(-1) - centers[..., 1:2]
    cos, sin = torch.cos(angles)[..., None], torch.sin(angles)[..., None]
    u = (cos * dx + sin * dy) / axes[..., 0:1]
    v = (-sin * dx + cos * dy) / axes[..., 1:2]
    return torch.sqrt(u**2 + v**2 + EPS_RHO)


def ellipses(
    centers: torch.Tensor,
    axes: torch.Tensor,
    angles: torch.Tensor,
    colors: torch.Tensor,
    background: torch.Tensor,
    size: tuple[int, int],
    *,
    composition: str = "union",
    profile: str = "sigmoid",
    tau: float = 0.15,
    opacity: float | torch.Tensor = 0.995,
) -> torch.Tensor:
    """Image [B,C,H,W] of K ellipses over a background; pixel (row i, column j) is the point (x=j, y=i)."""
    opacity = torch.as_tensor(opacity, dtype=centers.dtype).expand(angles.shape)[..., None]
    alpha = profile_alpha(ellipse_rho(centers, axes, angles, size), opacity, profile, tau)
    image = composite(alpha, colors, expand_background(background, size), composition)
    return image.reshape(*image.shape[:2], *size)

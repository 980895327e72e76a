"""The ellipsoid renderer from its definition: dense, slow, plain torch, differentiable by autograd."""

from __future__ import annotations

import torch

from tests.reference.ellipses import EPS_RHO, composite, expand_background, profile_alpha


def rotation_matrices(quaternions: torch.Tensor) -> torch.Tensor:
    """Quaternions (w, x, y, z) of any non-zero length, [...,4] -> rotation matrices [...,3,3]."""
    w, x, y, z = (quaternions / quaternions.norm(dim=-1, keepdim=True)).unbind(-1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, dim=-1).reshape(*quaternions.shape[:-1], 3, 3)


def ellipsoid_rho(
    centers: torch.Tensor, axes: torch.Tensor, rotations: torch.Tensor, size: tuple[int, int, int]
) -> torch.Tensor:
    """Normalised radius of every voxel in every ellipsoid: [B,K,D*H*W]."""
    z, y, x = torch.meshgrid(*(torch.arange(n, dtype=centers.dtype) for n in size), indexing="ij")
    points = torch.stack([x, y, z], dim=-1).reshape(-1, 3)
    offsets = points - centers[:, :, None, :]
    local = torch.einsum("bkpi,bkij->bkpj", offsets, rotation_matrices(rotations)) / axes[:, :, None, :]
    return torch.sqrt((local**2).sum(dim=-1) + EPS_RHO)


def ellipsoids(
    centers: torch.Tensor,
    axes: torch.Tensor,
    rotations: torch.Tensor,
    colors: torch.Tensor,
    background: torch.Tensor,
    size: tuple[int, int, int],
    *,
    composition: str = "union",
    profile: str = "sigmoid",
    tau: float = 0.15,
    opacity: float | torch.Tensor = 0.995,
) -> torch.Tensor:
    """Volume [B,C,D,H,W] of K ellipsoids over a background; voxel (i, j, k) is the point (x=k, y=j, z=i)."""
    opacity = torch.as_tensor(opacity, dtype=centers.dtype).expand(centers.shape[:2])[..., None]
    alpha = profile_alpha(ellipsoid_rho(centers, axes, rotations, size), opacity, profile, tau)
    volume = composite(alpha, colors, expand_background(background, size), composition)
    return volume.reshape(*volume.shape[:2], *size)

"""The published way to draw the ellipses: sample one raster of a blurry disc through an affine map for each.

It is kept to be compared with `medkernels.render.ellipses`, in time, memory and values. Every ellipse costs a
pass over the whole canvas, and autograd keeps each pass.

Source: "Autoassociative Learning of Structural Representations for Modeling and Classification in Medical
Imaging", arXiv 2411.12070, steps named in its method section; how the coloured discs are put together is
ours.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

RASTER = 65  # side of the raster in pixels
EPS_RHO = 1e-6
EPS_WEIGHT = 1e-6


def disc_raster(reach: float, tau: float, like: Tensor) -> Tensor:
    """The blurry unit disc on |u|, |v| <= reach, zero beyond radius ``reach``: [1,1,RASTER,RASTER]."""
    axis = ((torch.arange(RASTER, dtype=like.dtype, device=like.device) + 0.5) / RASTER * 2 - 1) * reach
    rho = torch.sqrt(axis[:, None] ** 2 + axis[None, :] ** 2 + EPS_RHO)
    return torch.where(rho <= reach, torch.sigmoid((1 - rho) / tau), torch.zeros_like(rho))[None, None]


def affine_maps(centers: Tensor, axes: Tensor, angles: Tensor, size: tuple[int, int], reach: float) -> Tensor:
    """Canvas coordinates of affine_grid -> raster coordinates of grid_sample: [N,2,3] for N ellipses."""
    height, width = size
    cos, sin = torch.cos(angles), torch.sin(angles)
    # affine_grid (align_corners=False) calls the canvas -1..1; x = (x_n + 1) W / 2 - 1/2.
    shift_x = (width - 1) / 2 - centers[:, 0]
    shift_y = (height - 1) / 2 - centers[:, 1]
    u = torch.stack([cos * width / 2, sin * height / 2, cos * shift_x + sin * shift_y], dim=1) / axes[:, :1]
    v = torch.stack([-sin * width / 2, cos * height / 2, cos * shift_y - sin * shift_x], dim=1) / axes[:, 1:]
    return torch.stack([u, v], dim=1) / reach


def grid_sample_ellipses(
    centers: Tensor,
    axes: Tensor,
    angles: Tensor,
    colors: Tensor,
    background: Tensor,
    size: tuple[int, int],
    *,
    composition: str = "union",
    tau: float = 0.15,
    opacity: float | Tensor = 0.995,
    chunk: int = 64,
) -> Tensor:
    """Draw soft ellipses through affine_grid and grid_sample.

    Parameters
    ----------
    centers, axes : [B,K,2] px, (x, y) and semi-axes.
    angles : [B,K] rad.
    colors : [B,K,C].
    background : [B,C] or [B,C,H,W].
    size : (H, W) of the canvas.
    composition, tau, opacity : as in `medkernels.render.ellipses`, sigmoid profile.
    chunk : ellipses sampled at once; memory without gradients is O(B chunk H W), with gradients O(B K H W).

    Returns
    -------
    Tensor
        [B,C,H,W]; differs from `medkernels.render.ellipses` by the interpolation in the raster, most at the
        rim of the disc's support.
    """
    if composition not in ("union", "over"):
        raise ValueError(f"composition: want 'union' or 'over', got {composition!r}")
    batch, count, channels = colors.shape
    reach = 1.0 + 6.0 * tau
    raster = disc_raster(reach, tau, centers)
    image = background.reshape(batch, channels, -1).expand(batch, channels, size[0] * size[1])
    strength = torch.as_tensor(opacity, dtype=centers.dtype, device=centers.device).expand(batch, count)
    through = torch.ones_like(image[:, :1])
    weight, mixed = torch.full_like(through, EPS_WEIGHT), torch.zeros_like(image)
    for first in range(0, count, chunk):
        part = slice(first, first + chunk)
        maps = affine_maps(
            centers[:, part].flatten(0, 1),
            axes[:, part].flatten(0, 1),
            angles[:, part].flatten(),
            size,
            reach,
        )
        grid = F.affine_grid(maps, [len(maps), 1, *size], align_corners=False)
        discs = F.grid_sample(raster.expand(len(maps), -1, -1, -1), grid, align_corners=False)
        alpha = discs.reshape(batch, -1, size[0] * size[1]) * strength[:, part, None]
        if composition == "over":
            for k in range(alpha.shape[1]):
                image = image + alpha[:, k, None] * (colors[:, first + k, :, None] - image)
        else:
            through = through * (1 - alpha).prod(dim=1, keepdim=True)
            weight = weight + alpha.sum(dim=1, keepdim=True)
            mixed = mixed + torch.einsum("bkp,bkc->bcp", alpha, colors[:, part])
    if composition == "union":
        image = through * image + (1 - through) * mixed / weight
    return image.reshape(batch, channels, *size)

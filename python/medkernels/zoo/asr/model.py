"""The ASR network: an encoder, a modeler per scale, and the ellipse renderer; and the plain autoencoder beside it.

Source: "Autoassociative Learning of Structural Representations for Modeling and Classification in Medical Imaging",
arXiv 2411.12070. What the paper leaves open, and how it is settled here, stands in card.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medkernels.render import ellipses

WIDTHS = (16, 32, 64, 96, 128)  # channels after the 1st, 2nd, ... halving; the last is kept from there on
HIDDEN = 64  # hidden channels of a modeler
SMALLEST = 0.1  # the least semi-axis, as a fraction of the spacing; the largest is one spacing
HEAD_SCALE = 0.3  # the last layer of a modeler starts this much smaller, so that all ellipses start alike
OPACITY = 0.995  # the renderer keeps 1 - alpha above zero
CODE = 18  # channels of the baseline's code: mean and std over cells give 36 features, as many as ASR exports


class Ellipses(NamedTuple):
    """The primitives of one scale, or of all scales one after the other; lengths in pixels."""

    centers: Tensor  # [B,K,2] (x, y)
    axes: Tensor  # [B,K,2] semi-axes (w, h)
    angles: Tensor  # [B,K] from the x axis towards the y axis, radians
    colors: Tensor  # [B,K,C] in [0,1]
    opacity: Tensor  # [B,K]


class Explanation(NamedTuple):
    """What the network says about a batch of images."""

    scales: tuple[Ellipses, ...]  # finest spacing first
    background: Tensor  # [B,C] in [0,1]


class ConvBlock(nn.Sequential):
    """3x3 (or 3x3x3) convolution, ReLU, batch norm."""

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1, dims: int = 2) -> None:
        conv, norm = (nn.Conv2d, nn.BatchNorm2d) if dims == 2 else (nn.Conv3d, nn.BatchNorm3d)
        super().__init__(conv(inputs, outputs, 3, stride=stride, padding=1), nn.ReLU(), norm(outputs))


class Encoder(nn.Module):
    """Blocks that halve the image, with one latent tapped for each spacing; deeper latents see further.

    Parameters
    ----------
    channels : channels of the image.
    spacings : cell sizes in pixels, ascending. The latent of spacing r comes from the deepest level whose
        stride does not exceed r, averaged onto the grid of ceil(size / r) cells.
    blocks : convolution blocks at each level; more than one widens the view of a cell.
    top_down : add to each latent what the next coarser one saw (1x1 convolution, upsampled).
    dims : 2 for images, 3 for volumes.
    """

    def __init__(
        self, channels: int, spacings: Sequence[int], *, blocks: int = 1, top_down: bool = False, dims: int = 2
    ) -> None:
        super().__init__()
        self.spacings = tuple(spacings)
        self.levels = nn.ModuleList()
        self.widths: list[int] = []
        stride, depth, width = 1, 0, channels
        for spacing in self.spacings:
            stages: list[nn.Module] = []
            while 2 * stride <= spacing or not stages:
                step = 2 if 2 * stride <= spacing else 1
                wider = WIDTHS[min(depth, len(WIDTHS) - 1)]
                stages.append(ConvBlock(width, wider, stride=step, dims=dims))
                stages.extend(ConvBlock(wider, wider, dims=dims) for _ in range(blocks - 1))
                stride, depth, width = stride * step, depth + 1, wider
            self.levels.append(nn.Sequential(*stages))
            self.widths.append(width)
        conv = nn.Conv2d if dims == 2 else nn.Conv3d
        pairs = zip(self.widths[1:], self.widths[:-1], strict=True) if top_down else ()
        self.laterals = nn.ModuleList(conv(coarse, fine, 1) for coarse, fine in pairs)
        self.pool = F.adaptive_avg_pool2d if dims == 2 else F.adaptive_avg_pool3d

    def forward(self, image: Tensor) -> list[Tensor]:
        """image [B,C,*size] -> one latent [B,width_j,*ceil(size / r_j)] for each spacing."""
        latents: list[Tensor] = []
        x = image
        for level in self.levels:
            x = level(x)
            latents.append(x)
        for j in reversed(range(len(self.laterals))):
            seen = F.interpolate(self.laterals[j](latents[j + 1]), size=latents[j].shape[2:], mode="nearest")
            latents[j] = latents[j] + seen
        grids = [tuple(-(-n // r) for n in image.shape[2:]) for r in self.spacings]
        return [self.pool(latent, grid) for latent, grid in zip(latents, grids, strict=True)]


def cell_centers(grid: Sequence[int], spacing: int, like: Tensor) -> Tensor:
    """Centres (x, y[, z]) of a grid of cells [..., K, dims]; cell i spans pixels i*r .. (i+1)*r-1, row-major order."""
    steps = [(torch.arange(n, dtype=like.dtype, device=like.device) + 0.5) * spacing - 0.5 for n in grid]
    return torch.stack([axis.reshape(-1) for axis in reversed(torch.meshgrid(*steps, indexing="ij"))], dim=-1)


class Modeler(nn.Module):
    """Turns every cell of a latent into the parameters of one ellipse.

    Parameters
    ----------
    inputs : channels of the latent.
    spacing : distance r of the cells in pixels.
    colors : channels of the image.
    offsets : let the centre leave the cell centre by up to r/2 along each axis.
    fading : let the network choose the opacity of each ellipse, so that it can leave one out.
    initial : semi-axis at the start of training, as a fraction of the spacing.
    """

    def __init__(
        self, inputs: int, spacing: int, colors: int, *, offsets: bool, fading: bool, initial: float
    ) -> None:
        super().__init__()
        self.spacing, self.colors, self.offsets, self.fading = spacing, colors, offsets, fading
        outputs = 3 + colors + 2 * offsets + fading
        self.head = nn.Sequential(nn.Conv2d(inputs, HIDDEN, 1), nn.ReLU(), nn.Conv2d(HIDDEN, outputs, 1))
        shrink_head(self.head[2], sizes=slice(0, 2), initial=initial)

    def forward(self, latent: Tensor) -> Ellipses:
        """latent [B,inputs,h,w] -> K = h w ellipses an image, row by row."""
        raw = self.head(latent).flatten(2).transpose(1, 2)
        sizes, angle, color, shift, fade = raw.split([2, 1, self.colors, 2 * self.offsets, int(self.fading)], dim=-1)
        centers = cell_centers(latent.shape[2:], self.spacing, raw).expand(raw.shape[0], -1, -1)
        if self.offsets:
            centers = centers + 0.5 * self.spacing * torch.tanh(shift)
        opacity = OPACITY * torch.sigmoid(fade[..., 0]) if self.fading else torch.full_like(angle[..., 0], OPACITY)
        return Ellipses(
            centers=centers,
            axes=self.spacing * (SMALLEST + (1.0 - SMALLEST) * torch.sigmoid(sizes)),
            angles=0.5 * math.pi * angle[..., 0],
            colors=torch.sigmoid(color),
            opacity=opacity,
        )


def shrink_head(layer: nn.Conv2d | nn.Conv3d, *, sizes: slice, initial: float) -> None:
    """Start all primitives nearly alike, with semi-axes at ``initial`` spacings."""
    share = (initial - SMALLEST) / (1.0 - SMALLEST)
    with torch.no_grad():
        layer.weight.mul_(HEAD_SCALE)
        layer.bias.zero_()
        layer.bias[sizes] = math.log(share / (1.0 - share))


class ASR(nn.Module):
    """Autoencoder whose code is a list of ellipses: encoder, a modeler per scale, renderer.

    Parameters
    ----------
    spacings : cell sizes in pixels of the scales, ascending.
    channels : channels of the image.
    composition : "union" (order-free) or "over" (painter's order, coarse scale first).
    tau : softness of the ellipses' rims, as a fraction of their radius.
    offsets, fading, initial : see Modeler.
    blocks, top_down : see Encoder.
    """

    def __init__(
        self,
        spacings: Sequence[int] = (8, 16, 32),
        *,
        channels: int = 3,
        composition: str = "union",
        tau: float = 0.15,
        offsets: bool = False,
        fading: bool = False,
        initial: float = 0.55,
        blocks: int = 1,
        top_down: bool = False,
    ) -> None:
        super().__init__()
        self.composition, self.tau = composition, tau
        self.encoder = Encoder(channels, spacings, blocks=blocks, top_down=top_down)
        self.modelers = nn.ModuleList(
            Modeler(width, spacing, channels, offsets=offsets, fading=fading, initial=initial)
            for width, spacing in zip(self.encoder.widths, spacings, strict=True)
        )
        self.background = nn.Linear(self.encoder.widths[-1], channels)

    def explain(self, image: Tensor) -> Explanation:
        """image [B,C,H,W] in [0,1] -> the ellipses of every scale and the background colour."""
        latents = self.encoder(image)
        scales = tuple(modeler(latent) for modeler, latent in zip(self.modelers, latents, strict=True))
        return Explanation(scales, torch.sigmoid(self.background(latents[-1].mean(dim=(2, 3)))))

    def render(self, explanation: Explanation, size: tuple[int, int]) -> Tensor:
        """The picture [B,C,H,W] of an explanation."""
        every = stack_scales(explanation.scales)
        return ellipses(
            every.centers,
            every.axes,
            every.angles,
            every.colors,
            explanation.background,
            size,
            composition=self.composition,
            tau=self.tau,
            opacity=every.opacity,
        )

    def forward(self, image: Tensor) -> Tensor:
        """Reconstruct a batch [B,C,H,W]."""
        return self.render(self.explain(image), (image.shape[2], image.shape[3]))


def stack_scales(scales: Sequence[Ellipses]) -> Ellipses:
    """All ellipses in painting order: the coarsest scale first."""
    return Ellipses(*(torch.cat(parts, dim=1) for parts in zip(*reversed(scales), strict=True)))

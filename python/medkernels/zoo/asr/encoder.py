"""The encoder that the ASR network and the plain autoencoder share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTHS = (16, 32, 64, 96, 128)  # channels after the 1st, 2nd, ... block; the last is kept from there on


class ConvBlock(nn.Sequential):
    """3x3 (or 3x3x3) convolution, ReLU, batch norm."""

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1, dims: int = 2) -> None:
        conv, norm = (nn.Conv2d, nn.BatchNorm2d) if dims == 2 else (nn.Conv3d, nn.BatchNorm3d)
        super().__init__(conv(inputs, outputs, 3, stride=stride, padding=1), nn.ReLU(), norm(outputs))


class Encoder(nn.Module):
    """Blocks that halve the image, with one latent tapped for each spacing; deeper latents see further.

    Parameters
    ----------
    channels : int
        Of the image.
    spacings : sequence of int
        Cell sizes in pixels, ascending. The latent of spacing r has the largest stride, a power of two, that
        does not exceed r.
    blocks : int
        Convolution blocks at each level; more than one widens the view of a cell.
    top_down : bool
        Add to each latent what the next deeper one saw (1x1 convolution, upsampled).
    dims : int
        2 for images, 3 for volumes.
    """

    def __init__(
        self,
        channels: int,
        spacings: Sequence[int],
        *,
        blocks: int = 1,
        top_down: bool = False,
        dims: int = 2,
    ) -> None:
        super().__init__()
        self.spacings = tuple(spacings)
        self.levels = nn.ModuleList()
        self.widths: list[int] = []
        self.strides: list[int] = []
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
            self.strides.append(stride)
        conv = nn.Conv2d if dims == 2 else nn.Conv3d
        pairs = zip(self.widths[1:], self.widths[:-1], strict=True) if top_down else ()
        self.laterals = nn.ModuleList(conv(deep, shallow, 1) for deep, shallow in pairs)

    def features(self, image: Tensor) -> list[Tensor]:
        """image [B,C,*size] -> the latents at their own strides, [B,width_j,*ceil(size / stride_j)]."""
        latents: list[Tensor] = []
        x = image
        for level in self.levels:
            x = level(x)
            latents.append(x)
        for j in reversed(range(len(self.laterals))):
            seen = F.interpolate(self.laterals[j](latents[j + 1]), size=latents[j].shape[2:], mode="nearest")
            latents[j] = latents[j] + seen
        return latents

    def forward(self, image: Tensor) -> list[Tensor]:
        """image [B,C,*size] -> the latents on the grids of cells, [B,width_j,*ceil(size / r_j)]."""
        taps = zip(self.features(image), self.spacings, self.strides, strict=True)
        return [
            latent if spacing == stride else at_cells(latent, spacing, stride, image.shape[2:])
            for latent, spacing, stride in taps
        ]


def cell_centers(grid: Sequence[int], spacing: int, like: Tensor) -> Tensor:
    """Centres (x, y[, z]) of a grid of cells, [K, dims], row-major; cell i from pixel i r on."""
    steps = [(torch.arange(n, dtype=like.dtype, device=like.device) + 0.5) * spacing - 0.5 for n in grid]
    return torch.stack([axis.reshape(-1) for axis in reversed(torch.meshgrid(*steps, indexing="ij"))], dim=-1)


def at_cells(latent: Tensor, spacing: int, stride: int, size: Sequence[int]) -> Tensor:
    """Read a latent of the given stride at the centres of cells of another size, by linear interpolation."""
    grid = [-(-n // spacing) for n in size]
    spans = latent.new_tensor([stride * n for n in reversed(latent.shape[2:])])
    points = (cell_centers(grid, spacing, latent) + 0.5) * 2 / spans - 1
    points = points.reshape(1, *grid, len(grid)).expand(len(latent), *[-1] * (len(grid) + 1))
    return F.grid_sample(latent, points, padding_mode="border", align_corners=False)

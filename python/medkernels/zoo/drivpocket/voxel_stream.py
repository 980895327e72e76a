"""The voxel stream: a U-Net whose levels end with dual rotation-invariant attention."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.blocks.dynunet_block import UnetResBlock
from torch import Tensor, nn

from medkernels.zoo.drivpocket.dria import DROPOUT, Attention, DRIABlock

LEVELS = 4
NORM = ("group", {"num_groups": 1})


def grid_sizes(resolution: int) -> tuple[int, ...]:
    """Voxels along an edge at each level below the input's: 32, 16, 8 and 4 for 65.

    Raises
    ------
    ValueError
        If the grid cannot be halved and doubled back.
    """
    if isinstance(resolution, bool) or not isinstance(resolution, int) or resolution % 16 != 1:
        raise ValueError(f"the grid must have 17, 33, 49, 65, ... points along an edge, got {resolution!r}")
    if resolution < 17:
        raise ValueError(f"the grid must have at least 17 points along an edge, got {resolution}")
    return tuple((resolution - 1) // 2 >> level for level in range(LEVELS))


class ConvBlock(nn.Sequential):
    """Twice convolution, normalisation of all channels together and ReLU, with dropout between.

    Parameters
    ----------
    inputs, outputs : int
    second : int
        Edge of the second convolution's kernel.
    """

    def __init__(self, inputs: int, outputs: int, second: int) -> None:
        super().__init__(
            nn.Conv3d(inputs, outputs, 3, padding=1),
            nn.GroupNorm(1, outputs),
            nn.ReLU(),
            nn.Dropout3d(DROPOUT),
            nn.Conv3d(outputs, outputs, second, padding=second // 2),
            nn.GroupNorm(1, outputs),
            nn.ReLU(),
        )


class Encoder(nn.Module):
    """A level down: max-pooling, a convolution block and attention."""

    def __init__(
        self, inputs: int, outputs: int, padding: int, second: int, attention: Attention, gates: int
    ) -> None:
        super().__init__()
        self.pool = nn.MaxPool3d(3, stride=2, padding=padding)
        self.conv = ConvBlock(inputs, outputs, second)
        self.dria = DRIABlock(outputs, attention, gates)

    def forward(self, x: Tensor, invariant: Tensor | None) -> Tensor:
        """[B,C,R,R,R] -> [B,2C,R/2,R/2,R/2]."""
        out: Tensor = self.dria(self.conv(self.pool(x)), invariant)
        return out


class Decoder(nn.Module):
    """A level up: transposed convolution, the skip beside it, a convolution block and attention."""

    def __init__(self, inputs: int, outputs: int, second: int, attention: Attention, gates: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose3d(inputs, outputs, 3, stride=2, padding=1, output_padding=1)
        self.conv = ConvBlock(2 * outputs, outputs, second)
        self.dria = DRIABlock(outputs, attention, gates)

    def forward(self, x: Tensor, skip: Tensor, invariant: Tensor | None) -> Tensor:
        """[B,2C,R/2,R/2,R/2] and [B,C,R,R,R] -> [B,C,R,R,R]."""
        out: Tensor = self.dria(self.conv(torch.cat([skip, self.up(x)], dim=1)), invariant)
        return out


class LastDecoder(nn.Module):
    """The last level up, to an odd number of voxels; a residual block in place of attention."""

    def __init__(self, inputs: int, outputs: int, second: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose3d(inputs, outputs, 3, stride=2)
        self.conv = ConvBlock(2 * outputs, outputs, second)
        self.residual = UnetResBlock(3, outputs, outputs, kernel_size=3, stride=1, norm_name=NORM)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """[B,2C,R,R,R] and [B,C,2R+1,2R+1,2R+1] -> [B,C,2R+1,2R+1,2R+1]."""
        out: Tensor = self.residual(self.conv(torch.cat([skip, self.up(x)], dim=1)))
        return out


class VoxelStream(nn.Module):
    """From atoms in a grid to a logit for each voxel.

    Parameters
    ----------
    channels : int
        Of the grid, T.
    width : int
        W, channels of the first block; 32 as published.
    second : {1, 3}
        Edge of the second kernel of the convolution blocks but the first: 3 in the text, 1 in the released
        code, whose number of parameters is the published one.
    attention : Attention
    gates : int
        G, features of F_RI at the first level, doubled at each further one; 0 without a point stream.
    """

    def __init__(self, channels: int, width: int, second: int, attention: Attention, gates: int) -> None:
        super().__init__()
        sizes = [width << level for level in range(LEVELS + 1)]  # 32, 64, 128, 256, 512
        self.conv_in = ConvBlock(channels, width, 3)
        self.encoders = nn.ModuleList(
            Encoder(sizes[i], sizes[i + 1], min(i, 1), second, attention, gates << i) for i in range(LEVELS)
        )
        self.decoders = nn.ModuleList(
            Decoder(sizes[i + 1], sizes[i], second, attention, gates << (i - 1))
            for i in range(LEVELS - 1, 0, -1)
        )
        self.last = LastDecoder(sizes[1], sizes[0], second)
        self.out = nn.Conv3d(width, 1, 1)

    def forward(self, voxels: Tensor, invariants: Sequence[Tensor | None]) -> Tensor:
        """[B,T,R,R,R] and F_RI of e1..e4, d4..d2 -> logits [B,R,R,R]."""
        levels = [self.conv_in(voxels)]  # [B,W,R,R,R], then each level of the encoder
        for encoder, invariant in zip(self.encoders, invariants[:LEVELS], strict=True):
            levels.append(encoder(levels[-1], invariant))
        x = levels.pop()
        for decoder, invariant in zip(self.decoders, invariants[LEVELS:], strict=True):
            x = decoder(x, levels.pop(), invariant)
        logits: Tensor = self.out(self.last(x, levels.pop()))
        return logits.squeeze(1)

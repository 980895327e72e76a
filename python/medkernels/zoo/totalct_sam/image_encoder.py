"""The image encoder: a vision transformer over cubes of voxels, with relative position by axis."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medkernels.zoo.totalct_sam.sizes import Sizes


class LayerNorm3d(nn.Module):
    """Normalises the channels of each voxel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """[B,C,d,h,w] -> the same shape."""
        out: Tensor = self.norm(x.movedim(1, -1)).movedim(-1, 1)
        return out


class Attention(nn.Module):
    """Attention of all tokens to all, its scores moved by ``q . R`` of the relative position on each axis.

    Parameters
    ----------
    width, heads : int
    grid : int
        Tokens along a side.
    """

    offsets: Tensor

    def __init__(self, width: int, heads: int, grid: int) -> None:
        super().__init__()
        self.heads, self.grid = heads, grid
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.rel_pos = nn.ParameterList(
            nn.Parameter(torch.zeros(2 * grid - 1, width // heads)) for _ in range(3)
        )
        steps = torch.arange(grid)
        self.register_buffer("offsets", steps[:, None] - steps[None] + grid - 1, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B,n,width], n = grid^3 -> the same shape."""
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # [B,heads,n,d]
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=self._bias(q))
        joined: Tensor = self.proj(out.transpose(1, 2).flatten(2))
        return joined

    def _bias(self, q: Tensor) -> Tensor:
        """What relative position adds to each score, [B,heads,n,n]."""
        cube = q.view(*q.shape[:2], self.grid, self.grid, self.grid, -1)  # [B,heads,z,y,x,d]
        tables = [table[self.offsets] for table in self.rel_pos]  # each [grid,grid,d]
        along_z = torch.einsum("bhzyxc,zkc->bhzyxk", cube, tables[0])[..., :, None, None]
        along_y = torch.einsum("bhzyxc,ykc->bhzyxk", cube, tables[1])[..., None, :, None]
        along_x = torch.einsum("bhzyxc,xkc->bhzyxk", cube, tables[2])[..., None, None, :]
        return (along_z + along_y + along_x).flatten(5).flatten(2, 4)


class Block(nn.Module):
    """A transformer block that normalises first."""

    def __init__(self, width: int, heads: int, grid: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads, grid)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """[B,n,width] -> the same shape."""
        x = x + self.attn(self.norm1(x))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class ImageEncoder(nn.Module):
    """Cubes of voxels become tokens, and tokens a map of `dim` channels.

    All blocks are global: with no more tokens than a window of the published network has, its windows would
    hold padding and nothing more.
    """

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.patch_embed = nn.Conv3d(1, sizes.width, sizes.patch, sizes.patch)
        self.pos_embed = nn.Parameter(torch.zeros(1, sizes.grid**3, sizes.width))
        self.blocks = nn.ModuleList(Block(sizes.width, sizes.heads, sizes.grid) for _ in range(sizes.depth))
        self.neck = nn.Sequential(
            nn.Conv3d(sizes.width, sizes.dim, 1, bias=False),
            LayerNorm3d(sizes.dim),
            nn.Conv3d(sizes.dim, sizes.dim, 3, padding=1, bias=False),
            LayerNorm3d(sizes.dim),
        )
        nn.init.trunc_normal_(self.pos_embed, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Windows [B,1,s,s,s] -> [B,dim,grid,grid,grid]."""
        cube = self.patch_embed(x)  # [B,width,g,g,g]
        tokens = cube.flatten(2).transpose(1, 2) + self.pos_embed
        for block in self.blocks:
            tokens = block(tokens)
        out: Tensor = self.neck(tokens.transpose(1, 2).reshape(cube.shape))
        return out

"""The mask decoder: a token for each class meets the image, and becomes the filter of its mask."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medkernels.attention import MemoryBank
from medkernels.zoo.totalct_sam.image_encoder import LayerNorm3d
from medkernels.zoo.totalct_sam.memory import MemorizingBlock
from medkernels.zoo.totalct_sam.sizes import Sizes


class Attention(nn.Module):
    """Attention with queries, keys and values of their own, perhaps at a smaller inner width."""

    def __init__(self, dim: int, heads: int, inner: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(dim, inner) for _ in range(3))
        self.out_proj = nn.Linear(inner, dim)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """[B,n,dim], [B,m,dim], [B,m,dim] -> [B,n,dim]."""
        q, k, v = (
            proj(x).view(*x.shape[:2], self.heads, -1).transpose(1, 2)
            for proj, x in ((self.q_proj, q), (self.k_proj, k), (self.v_proj, v))
        )
        out = F.scaled_dot_product_attention(q, k, v)
        joined: Tensor = self.out_proj(out.transpose(1, 2).flatten(2))
        return joined


class TwoWayBlock(nn.Module):
    """Tokens among themselves, tokens to image, a layer for each token, image to tokens."""

    def __init__(self, dim: int, heads: int, mlp: int, *, first: bool) -> None:
        super().__init__()
        self.first = first
        self.self_attn = Attention(dim, heads, dim)
        self.cross_attn_token_to_image = Attention(dim, heads, dim // 2)
        self.mlp = nn.Sequential(nn.Linear(dim, mlp), nn.ReLU(), nn.Linear(mlp, dim))
        self.cross_attn_image_to_token = Attention(dim, heads, dim // 2)
        self.norm1, self.norm2, self.norm3, self.norm4 = (nn.LayerNorm(dim) for _ in range(4))

    def forward(
        self, tokens: Tensor, image: Tensor, token_code: Tensor, code: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Tokens [B,n,dim] and image [B,m,dim] with their positions -> both, of the same shapes."""
        if self.first:  # its tokens are their own position
            tokens = self.self_attn(tokens, tokens, tokens)
        else:
            placed = tokens + token_code
            tokens = tokens + self.self_attn(placed, placed, tokens)
        tokens = self.norm1(tokens)
        tokens = tokens + self.cross_attn_token_to_image(tokens + token_code, image + code, image)
        tokens = self.norm2(tokens)
        tokens = self.norm3(tokens + self.mlp(tokens))
        image = image + self.cross_attn_image_to_token(image + code, tokens + token_code, tokens)
        return tokens, self.norm4(image)


class MaskDecoder(nn.Module):
    """From the map of an image and prompts to the low-resolution logits of all classes.

    Parameters
    ----------
    sizes : Sizes
    classes : int
        With the background.
    memory : bool
        Whether the memorizing block is there.
    """

    def __init__(self, sizes: Sizes, classes: int, *, memory: bool) -> None:
        super().__init__()
        dim = sizes.dim
        self.grid = sizes.grid
        self.class_tokens = nn.Embedding(classes, dim)
        self.layers = nn.ModuleList(
            TwoWayBlock(dim, sizes.token_heads, sizes.token_mlp, first=number == 0) for number in range(2)
        )
        self.memorizing = MemorizingBlock(sizes) if memory else None
        self.final_attn_token_to_image = Attention(dim, sizes.token_heads, dim // 2)
        self.norm_final_attn = nn.LayerNorm(dim)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose3d(dim, dim // 4, 2, 2),
            LayerNorm3d(dim // 4),
            nn.GELU(),
            nn.ConvTranspose3d(dim // 4, dim // 8, 2, 2),
            nn.GELU(),
        )
        self.class_head = nn.Sequential(
            nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, dim // 8)
        )

    def forward(
        self, image: Tensor, code: Tensor, sparse: Tensor | None, memory: MemoryBank | None
    ) -> Tensor:
        """Image tokens [B,m,dim], their code [1,m,dim], tokens of prompts [B,P,dim] -> [B,C,low,low,low]."""
        tokens = self.class_tokens.weight[None].expand(len(image), -1, -1)
        classes = tokens.shape[1]
        if sparse is not None:
            tokens = torch.cat([tokens, sparse], dim=1)
        token_code = tokens
        for layer in self.layers:
            tokens, image = layer(tokens, image, token_code, code)
        if self.memorizing is not None:
            count = image.shape[1]
            both = self.memorizing(torch.cat([image, tokens[:, :classes]], dim=1), image, memory)
            image, tokens = both[:, :count], torch.cat([both[:, count:], tokens[:, classes:]], dim=1)
        tokens = tokens + self.final_attn_token_to_image(tokens + token_code, image + code, image)
        filters = self.class_head(self.norm_final_attn(tokens)[:, :classes])  # [B,C,dim/8]
        cube = image.transpose(1, 2).reshape(*image.shape[::2], self.grid, self.grid, self.grid)
        fine = self.output_upscaling(cube)  # [B,dim/8,low,low,low]
        logits: Tensor = torch.einsum("bcf,bfzyx->bczyx", filters, fine)
        return logits

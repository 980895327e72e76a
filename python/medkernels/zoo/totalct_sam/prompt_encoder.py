"""The prompt encoder: clicks and boxes become tokens, a coarse mask becomes a map."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from medkernels.zoo.totalct_sam.image_encoder import LayerNorm3d
from medkernels.zoo.totalct_sam.sizes import Sizes

# What a point says of its class, as `Prompts.kinds` holds it.
PADDING, NEGATIVE, POSITIVE, LOW_CORNER, HIGH_CORNER = -1, 0, 1, 2, 3


@dataclass(frozen=True)
class Prompts:
    """What an annotator says of a batch of windows; any part may be missing.

    Attributes
    ----------
    points : [B,P,3] or None
        Voxels in the window along its three axes; a voxel's centre lies half a voxel behind its index.
    kinds : [B,P] int64 or None
        -1 padding, 0 "not this class", 1 "this class", 2 and 3 the low and the high corner of a box.
    classes : [B,P] int64 or None
        The class that each point speaks of; -1 for any structure.
    mask : [B,1,low,low,low] or None
        Logits of a coarse mask.
    mask_class : [B] int64 or None
        The class that the mask is of; -1 for any structure.
    """

    points: Tensor | None = None
    kinds: Tensor | None = None
    classes: Tensor | None = None
    mask: Tensor | None = None
    mask_class: Tensor | None = None


class PromptEncoder(nn.Module):
    """Random Fourier codes of positions plus learnt words for what a point means.

    The class that a prompt speaks of is told by adding the class's own token, which costs no weights.
    """

    frequencies: Tensor

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.window, self.grid, self.dim = sizes.window, sizes.grid, sizes.dim
        self.register_buffer("frequencies", torch.randn(3, math.ceil(sizes.dim / 3)))
        self.kinds = nn.Embedding(4, sizes.dim)  # negative, positive, low corner, high corner
        self.not_a_point = nn.Embedding(1, sizes.dim)
        self.no_mask = nn.Embedding(1, sizes.dim)
        self.mask = nn.Sequential(
            nn.Conv3d(1, 4, 2, 2),
            LayerNorm3d(4),
            nn.GELU(),
            nn.Conv3d(4, 16, 2, 2),
            LayerNorm3d(16),
            nn.GELU(),
            nn.Conv3d(16, sizes.dim, 1),
        )

    def code(self, places: Tensor) -> Tensor:
        """Code of positions in [0,1], [...,3] -> [...,dim]."""
        turns = 2 * math.pi * (2 * places - 1) @ self.frequencies
        return torch.cat([turns.sin(), turns.cos(), turns.sin()], dim=-1)[..., : self.dim]

    def image_code(self) -> Tensor:
        """Code of each token of the image, [1,grid^3,dim]."""
        axis = (torch.arange(self.grid, device=self.frequencies.device) + 0.5) / self.grid
        places = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1)
        return self.code(places.to(self.frequencies.dtype)).reshape(1, -1, self.dim)

    def sparse(self, prompts: Prompts, class_tokens: Tensor) -> Tensor | None:
        """Tokens of the points, [B,P,dim]; None without points.

        Parameters
        ----------
        class_tokens : [C,dim].
        """
        if prompts.points is None or prompts.kinds is None:
            return None
        kinds = prompts.kinds
        absent = (kinds == PADDING)[..., None]
        places = (prompts.points.to(class_tokens.dtype) + 0.5) / self.window
        tokens = self.code(places) + self.kinds(kinds.clamp(min=0))
        if prompts.classes is not None:
            tokens = tokens + _named(class_tokens, prompts.classes)
        return torch.where(absent, self.not_a_point.weight, tokens)

    def dense(self, prompts: Prompts, class_tokens: Tensor) -> Tensor:
        """What the mask adds to each token of the image, [B or 1,grid^3,dim]."""
        if prompts.mask is None:
            return self.no_mask.weight[None].expand(1, self.grid**3, -1)
        out: Tensor = self.mask(prompts.mask).flatten(2).transpose(1, 2)
        if prompts.mask_class is not None:
            out = out + _named(class_tokens, prompts.mask_class)[:, None]
        return out


def _named(class_tokens: Tensor, classes: Tensor) -> Tensor:
    """Tokens of classes; zeros where no class is named."""
    return class_tokens[classes.clamp(min=0)] * (classes >= 0)[..., None]

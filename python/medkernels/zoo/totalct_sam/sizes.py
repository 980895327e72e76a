"""How large a network is: as published, as slim as its reported number of weights, or tiny."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """Sizes of a network.

    Attributes
    ----------
    window : int
        Side of the volume that is judged at once, voxels.
    patch : int
        Side of the cube that becomes a token, voxels: 4, 8 or 16.
    width, depth, heads : int
        Of the image encoder.
    dim : int
        Of tokens after the encoder.
    token_heads, token_mlp : int
        Of the attention between prompts and image, and the width of the layers between.
    memory_heads : int
        Of the attention to the memory, at half of `dim`.
    nearest : int
        Entries of the memory that a token reads (k).
    capacity : int
        Entries that the memory keeps for each head (M).
    """

    window: int
    patch: int
    width: int
    depth: int
    heads: int
    dim: int
    token_heads: int
    token_mlp: int
    memory_heads: int = 8
    nearest: int = 32
    capacity: int = 16_384

    @property
    def grid(self) -> int:
        """Tokens along a side."""
        return self.window // self.patch

    @property
    def step(self) -> int:
        """Voxels along a side of a low-resolution cell: logits are four times as fine as tokens."""
        return self.patch // 4

    @property
    def low(self) -> int:
        """Low-resolution cells along a side."""
        return 4 * self.grid


#: "base" has the encoder of the public SAM-Med3D. "small" is as wide as gives the reported numbers of
#: weights, 14.18 million with the memory and 13.88 without. "tiny" is for the demonstration, "crops" for the
#: stand-in.
SIZES = {
    "base": Sizes(128, 16, 768, 12, 12, 384, 8, 2048),
    "small": Sizes(128, 16, 136, 12, 4, 384, 8, 2048),
    "tiny": Sizes(32, 8, 64, 2, 4, 128, 4, 256, 4, 8, 4096),
    "crops": Sizes(16, 4, 64, 1, 4, 64, 4, 128, 4, 8, 4096),
}

"""The network: SAM-Med3D with a token for each class and a memorizing block in its decoder.

Source: "TotalCT-SAM: A Whole-Body CT Segment Anything Model with Memorizing Transformer", ICPR 2024, on
SAM-Med3D (Wang et al. 2023, arXiv 2310.15161). What the paper leaves open, and how it is settled here, stands
in card.md.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medkernels.attention import MemoryBank
from medkernels.zoo.totalct_sam.image_encoder import ImageEncoder
from medkernels.zoo.totalct_sam.mask_decoder import MaskDecoder
from medkernels.zoo.totalct_sam.prompt_encoder import PromptEncoder, Prompts
from medkernels.zoo.totalct_sam.sizes import Sizes

NO_PROMPTS = Prompts()


class TotalCTSAM(nn.Module):
    """Image encoder, prompt encoder and mask decoder.

    Parameters
    ----------
    sizes : Sizes
    classes : int
        With the background, which is class 0.
    memory : bool
        Whether the decoder holds the memorizing block.
    """

    def __init__(self, sizes: Sizes, classes: int, *, memory: bool = True) -> None:
        super().__init__()
        self.sizes, self.classes = sizes, classes
        self.image_encoder = ImageEncoder(sizes)
        self.prompt_encoder = PromptEncoder(sizes)
        self.mask_decoder = MaskDecoder(sizes, classes, memory=memory)

    def new_memory(self) -> MemoryBank | None:
        """An empty memory, for the windows of one scan; None for a network without the block."""
        return MemoryBank(self.sizes.capacity) if self.mask_decoder.memorizing is not None else None

    def encode(self, windows: Tensor) -> Tensor:
        """Normalised windows [B,1,s,s,s] -> their maps [B,dim,grid,grid,grid]; once for all prompts."""
        maps: Tensor = self.image_encoder(windows)
        return maps

    def decode(self, maps: Tensor, prompts: Prompts = NO_PROMPTS, memory: MemoryBank | None = None) -> Tensor:
        """Maps of windows and what is said of them -> low-resolution logits [B,C,low,low,low].

        The memory is read first; then the tokens of these windows are kept in it.
        """
        class_tokens = self.mask_decoder.class_tokens.weight
        image = maps.flatten(2).transpose(1, 2) + self.prompt_encoder.dense(prompts, class_tokens)
        sparse = self.prompt_encoder.sparse(prompts, class_tokens)
        logits: Tensor = self.mask_decoder(image, self.prompt_encoder.image_code(), sparse, memory)
        return logits

    def forward(
        self, windows: Tensor, prompts: Prompts = NO_PROMPTS, memory: MemoryBank | None = None
    ) -> Tensor:
        """Encode and decode at once."""
        return self.decode(self.encode(windows), prompts, memory)


def build(sizes: Sizes, classes: int, *, memory: bool = True, seed: int = 0) -> TotalCTSAM:
    """A network, its first weights drawn from the seed; global generators stay as they are."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return TotalCTSAM(sizes, classes, memory=memory)

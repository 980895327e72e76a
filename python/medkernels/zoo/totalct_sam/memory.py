"""The memorizing block: attention to the tokens of this window, and to the nearest of earlier windows."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medkernels.attention import MemoryBank, knn_memory
from medkernels.zoo.totalct_sam.sizes import Sizes

SHARPNESS = 10.0  # on cosines: where learnt temperatures of cosine attention begin (Swin transformer v2)


class MemorizingBlock(nn.Module):
    """Attention of the tokens of image and classes to the image's, mixed by head with that to a memory.

    For head h the result is ``g o_m + (1 - g) o_c``, ``g = sigmoid(gate_h)``: ``o_c`` is attention to the
    tokens of this window, ``o_m`` to the k nearest of the memory, each with a softmax of its own. Rows of q
    and k have unit length. What the window adds to the memory carries no gradient.

    Source: Wu et al. 2022, "Memorizing transformers", ICLR, section 3.
    """

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        inner = sizes.dim // 2
        self.heads, self.nearest = sizes.memory_heads, sizes.nearest
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(sizes.dim, inner) for _ in range(3))
        self.out_proj = nn.Linear(inner, sizes.dim)
        self.gate = nn.Parameter(torch.zeros(sizes.memory_heads))

    def forward(self, tokens: Tensor, image: Tensor, memory: MemoryBank | None) -> Tensor:
        """Tokens [B,n,dim] read image tokens [B,m,dim] and the memory, which then keeps the image tokens.

        Without a memory, or with an empty one, only the image is read.
        """
        q = self._unit(self.q_proj(tokens))
        k, v = self._unit(self.k_proj(image)), self._split(self.v_proj(image))
        out = F.scaled_dot_product_attention(q, k, v, scale=SHARPNESS)
        if memory is not None:
            if len(memory):
                keys, values = memory.keys, memory.values
                if torch.is_grad_enabled():  # the next append would change what the backward pass reads
                    keys, values = keys.clone(), values.clone()
                out = knn_memory(q, keys, values, k=self.nearest, scale=SHARPNESS, gate=self.gate, local=out)
            memory.append(k, v)
        added: Tensor = self.out_proj(out.transpose(1, 2).flatten(2))
        return tokens + added

    def _split(self, x: Tensor) -> Tensor:
        heads = x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)
        # The memory is searched in single or double precision, also in mixed-precision training.
        return heads if heads.dtype == torch.float64 else heads.float()

    def _unit(self, x: Tensor) -> Tensor:
        unit: Tensor = F.normalize(self._split(x), dim=3)
        return unit

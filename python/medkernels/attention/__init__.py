"""Attention of sparse and other uncommon shapes, differentiable.

ProbSparse self-attention, memories of keys and values, attention between channels, and between sets of very
unequal sizes.
"""

from medkernels.attention.channel import channel
from medkernels.attention.knn_memory import knn_memory
from medkernels.attention.memory_bank import MemoryBank
from medkernels.attention.prob_sparse import prob_sparse
from medkernels.attention.set_attention import set_attention

__all__ = ["MemoryBank", "channel", "knn_memory", "prob_sparse", "set_attention"]

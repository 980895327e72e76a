"""Sparse attention, differentiable: ProbSparse self-attention, and memories of keys and values."""

from medkernels.attention.knn_memory import knn_memory
from medkernels.attention.memory_bank import MemoryBank
from medkernels.attention.prob_sparse import prob_sparse

__all__ = ["MemoryBank", "knn_memory", "prob_sparse"]

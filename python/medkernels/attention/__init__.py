"""Sparse attention, differentiable: ProbSparse self-attention."""

from medkernels.attention.prob_sparse import prob_sparse

__all__ = ["prob_sparse"]

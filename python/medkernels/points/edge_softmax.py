"""Softmax over the edges that enter a node."""

from __future__ import annotations

from typing import Any

from medkernels.points import _edges, _edges_device


def edge_softmax(scores: Any, neighbours: Any) -> Any:
    """Turn the scores of the edges that enter each node into weights that add up to 1; differentiable.

    Parameters
    ----------
    scores
        float32 or float64 [M, k], or [M, k, H] for H heads, each of which adds up to 1. For a batch
        [B, M, k] or [B, M, k, H].
    neighbours
        Integers [M, k], or [B, M, k] for a batch: the table of the edges as `gather_sum` takes it. An edge
        whose entry is negative is absent.

    Returns
    -------
    [M, k] or [M, k, H]
        Weights of the shape, kind and dtype of `scores`: exp(s_ij) / sum_l exp(s_il). 0 for absent edges and
        scores of minus infinity, also where a node has no others.

    Raises
    ------
    ValueError
        If shapes do not go together or devices differ.
    TypeError
        For other dtypes, or arrays of several kinds.
    medkernels.BackendError
        For arrays on a GPU where this build has no CUDA kernels, or of JAX, unless
        ``MEDKERNELS_CPU_FALLBACK=1`` allows a copy through the CPU.

    Notes
    -----
    Derivatives of any order are passed to `scores`, in PyTorch (autograd, ``torch.compile``) and JAX
    (``jit``, ``grad``, ``vmap``). A score of NaN or plus infinity makes the weights of its node NaN.

    The greatest score of a node is taken away before exp, which is a polynomial, wrong by about the last
    digit; results are the same on every processor, on a GPU, and for any number of threads. Weights less than
    1e-37 of the greatest (float32; 1e-304 in float64) are 0. Time is O(M k H), memory beside results none.

    P. Velickovic et al., "Graph attention networks" (2018), equation 2.

    Examples
    --------
    A layer of graph attention with 2 heads of 4 channels on the 3 nearest neighbours:

    >>> import torch
    >>> import medkernels as mk
    >>> points = torch.randn(20, 5)
    >>> neighbours, _ = mk.points.knn(points, k=3)
    >>> values = torch.nn.Linear(5, 8)(points).reshape(20, 2, 4)
    >>> at_source, at_target = torch.randn(2, 4), torch.randn(2, 4)
    >>> source, target = (values * at_source).sum(-1), (values * at_target).sum(-1)  # [20, 2]
    >>> scores = torch.nn.functional.leaky_relu(source[neighbours] + target[:, None], 0.2)
    >>> weights = mk.points.edge_softmax(scores, neighbours)
    >>> mk.points.gather_sum(values, neighbours, weights=weights).shape
    torch.Size([20, 2, 4])
    """
    framework, ready = _edges.common("edge_softmax", {"scores": scores, "neighbours": neighbours})
    values, table = ready["scores"], ready["neighbours"]
    _edges.check_numbers("scores", values, values, "scores")
    _edges.check_table(table)
    letters = "B, M, k" if len(table.shape) == 3 else "M, k"
    if len(values.shape) not in (len(table.shape), len(table.shape) + 1):
        raise ValueError(
            f"scores must have shape [{letters}] or [{letters}, H] to go with neighbours, "
            f"but has {list(values.shape)}"
        )
    _edges.check_leading("scores", values, tuple(table.shape), letters + ", ...")
    shape, k = tuple(values.shape), table.shape[-1]
    heads = shape[-1] if len(shape) > len(table.shape) else 1
    rows = table.shape[0] if len(table.shape) == 2 else table.shape[0] * table.shape[1]
    values, table = values.reshape(rows, k, heads), table.reshape(rows, k)
    if framework == "torch":
        from medkernels.points import _edges_torch

        return _edges_torch.edge_softmax(values, table).reshape(shape)
    if framework == "jax":
        from medkernels.points import _edges_jax

        return _edges_jax.edge_softmax(values, table).reshape(shape)
    module = _edges_device.kernels("edge_softmax", values)
    if module is not None:
        return _edges_device.edge_softmax(module, values, table).reshape(shape)
    return _edges.restorer(framework, scores)(_edges.edge_softmax(values, table).reshape(shape))

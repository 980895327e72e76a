"""Sums over the neighbours of a table."""

from __future__ import annotations

from typing import Any

from medkernels.points import _edges, _edges_device


def gather_sum(features: Any, neighbours: Any, *, weights: Any = None) -> Any:
    """Add up the features of the neighbours of each node: out_i = sum_j w_ij x_n(i,j); differentiable.

    This is the aggregation of a graph network in which every node has k incoming edges: with weights of 1
    that of GIN, and with weights from `edge_softmax` that of GAT. For PyTorch Geometric's users,
    ``neighbours[i, j]`` is the source of edge (i, j) and i its target.

    Parameters
    ----------
    features
        x, float32 or float64 [N, C], or [N, H, C] for H heads. For a batch [B, N, C] or [B, N, H, C].
    neighbours
        Integers [M, k], or [B, M, k] for a batch: rows of `features`, as `knn` finds them; -1, which is
        skipped, where there is none. M may differ from N.
    weights
        w [M, k], or [M, k, H] for one weight a head, of the dtype of `features`; [B, M, k] or [B, M, k, H]
        for a batch. By default 1.

    Returns
    -------
    [M, C] or [M, H, C]
        Sums of the kind and dtype of `features`; [B, M, C] or [B, M, H, C] for a batch. 0 for a node without
        neighbours.

    Raises
    ------
    ValueError
        If a shape does not fit, an index is not from -1 to N - 1, or devices differ.
    TypeError
        For other dtypes, two dtypes, or arrays of several kinds.
    medkernels.BackendError
        For arrays on a GPU where this build has no CUDA kernels, or of JAX, unless
        ``MEDKERNELS_CPU_FALLBACK=1`` allows a copy through the CPU.

    Notes
    -----
    Derivatives of any order are passed to `features` and `weights`, in PyTorch (autograd, ``torch.compile``)
    and JAX (``jit``, ``grad``, ``vmap``). NaN and infinity are passed on as in any sum.

    Sums run over j in its order, in the dtype of `features`, so results are the same on every processor and
    for any number of threads. So are gradients: the way back sorts the edges by blocks of the nodes that
    they come from, and one thread adds up a block in the order of its edges. A GPU gives the same digits, but
    for gradients of nodes that more than 1024 edges come from. Time is O(M k C), and memory beside results
    none; the way back needs 8 bytes an edge, on a GPU 16.

    K. Xu, W. Hu, J. Leskovec and S. Jegelka, "How powerful are graph neural networks?" (2019), equation 4.1;
    P. Velickovic et al., "Graph attention networks" (2018), equation 4.

    Examples
    --------
    >>> import numpy as np
    >>> import medkernels as mk
    >>> features = np.array([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]])
    >>> neighbours = np.array([[1, 2], [0, -1]])
    >>> mk.points.gather_sum(features, neighbours)
    array([[ 5., 50.],
           [ 1., 10.]])
    >>> mk.points.gather_sum(features, neighbours, weights=np.array([[0.5, 0.5], [1.0, 1.0]]))
    array([[ 2.5, 25. ],
           [ 1. , 10. ]])
    """
    arrays = {"features": features, "neighbours": neighbours}
    if weights is not None:
        arrays["weights"] = weights
    framework, ready = _edges.common("gather_sum", arrays)
    values, table, factors = ready["features"], ready["neighbours"], ready.get("weights")
    _check(values, table, factors)
    batch = len(table.shape) == 3
    heads = values.shape[-2] if len(values.shape) == len(table.shape) + 1 else 1
    shape = (*table.shape[:-1], *values.shape[len(table.shape) - 1 :])
    if not batch:
        values, table = values[None], table[None]
        factors = factors[None] if factors is not None else None
    values = values.reshape(*values.shape[:2], heads, values.shape[-1])
    if factors is not None:
        one_a_head = len(factors.shape) == 4
        factors = factors if one_a_head else factors[..., None]
        if factors.shape[-1] != heads:  # one for all heads: they are one row
            values = values.reshape(*values.shape[:2], 1, heads * values.shape[-1])
    if framework == "torch":
        from medkernels.points import _edges_torch

        return _edges_torch.gather_sum(values, table, factors).reshape(shape)
    if framework == "jax":
        from medkernels.points import _edges_jax

        return _edges_jax.gather_sum(values, table, factors).reshape(shape)
    module = _edges_device.kernels("gather_sum", values)
    if module is not None:
        return _edges_device.gather_sum(module, values, table, factors).reshape(shape)
    sums = _edges.gather_sum(values, table, factors).reshape(shape)
    return _edges.restorer(framework, features)(sums)


def _check(features: Any, neighbours: Any, weights: Any) -> None:
    _edges.check_numbers("features", features, features, "features")
    _edges.check_table(neighbours)
    batch = len(neighbours.shape) - 2
    letters = "B, " * batch
    if len(features.shape) not in (batch + 2, batch + 3):
        raise ValueError(
            f"features must have shape [{letters}N, C] or [{letters}N, H, C] to go with neighbours, "
            f"but has {list(features.shape)}"
        )
    _edges.check_leading("features", features, tuple(neighbours.shape[:batch]), letters + "N, ...")
    if weights is None:
        return
    _edges.check_numbers("weights", weights, features, "features")
    _edges.check_leading("weights", weights, tuple(neighbours.shape), letters + "M, k, ...")
    extra = tuple(weights.shape[batch + 2 :])
    heads = tuple(features.shape[batch + 1 : -1])
    if extra not in ((), heads):
        raise ValueError(
            f"weights must have shape [{letters}M, k]{' or [' + letters + 'M, k, H]' if heads else ''} "
            f"with H as in features, but has {list(weights.shape)}"
        )

"""Softmax attention between sets of which one may be very large."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from medkernels import _core
from medkernels.attention._op import Array, Op, Options, Shape, check_scale, run


def set_attention(q: Any, k: Any, v: Any, *, scale: float | None = None) -> Any:
    """Softmax attention of N queries to M keys, made for small heads and for sets of very unequal sizes.

        o_i = sum_j p_ij v_j,    p_ij = softmax_j(scale q_i . k_j)

    It is what a set transformer computes between a million points and a few that induce the attention, either
    way round: few queries to many keys, where the keys are shared out among threads, and many queries to few
    keys. Scores are never stored.

    Parameters
    ----------
    q
        [B, H, N, D], float32 or float64, on a GPU also float16 and bfloat16: queries of B sets with H heads.
    k, v
        [B, H, M, D] and [B, H, M, E]: keys and values, of which there is at least one.
    scale
        Of the scores, greater than 0; 1 / sqrt(D) if None.

    Returns
    -------
    array
        [B, H, N, E] of the kind and dtype of `q`. Arrays that lie in memory as [B, N, H, D], as heads do that
        features were split into, are read as they are; the result then lies in memory as `q` does, and each
        gradient as its array does.

    Raises
    ------
    ValueError
        For shapes that do not fit together, an empty set of keys, NaN or infinity, a scale out of range,
        devices that differ, or arrays so large that scores or sums of values could overflow.
    TypeError
        For arrays of different frameworks or dtypes, dtypes other than those named, or a scale of
        another type.
    medkernels.BackendError
        For arrays on a GPU without Triton and PyTorch, or of JAX, unless ``MEDKERNELS_CPU_FALLBACK=1``.

    Notes
    -----
    Costs O(N M (D + E)) operations for each head and O(N + M) memory, forward and backward: the backward pass
    computes the scores once more. D and E from 8 to 32 are what it is fast for; any are accepted.
    Differentiable in `q`, `k` and `v` (PyTorch and JAX). Results do not depend on the number of threads.

    Source: Milakov and Gimelshein 2018, "Online normalizer calculation for softmax", algorithm 3; Dao 2023,
    "FlashAttention-2: faster attention with better parallelism and work partitioning", section 3.1. The sets:
    Lee et al. 2019, "Set Transformer", equations 6 and 9.

    Examples
    --------
    >>> import numpy as np
    >>> import medkernels as mk
    >>> random = np.random.default_rng(0)
    >>> points, induced = random.normal(size=(1, 4, 1000, 8)), random.normal(size=(1, 4, 16, 8))
    >>> summary = mk.attention.set_attention(induced, points, points)
    >>> summary.shape
    (1, 4, 16, 8)
    >>> mk.attention.set_attention(points, induced, summary).shape
    (1, 4, 1000, 8)
    """
    if scale is not None:
        scale = check_scale(scale)

    def options(shapes: Sequence[Shape]) -> Options:
        dims, count = shapes[0][3], shapes[1][2]
        if count < 1:
            raise ValueError(f"k must hold at least one key, but has shape {list(shapes[1])}")
        return (1 / math.sqrt(dims) if scale is None else scale,)

    return run(SET_ATTENTION, {"q": q, "k": k, "v": v}, options)


def _outputs(shapes: Sequence[Shape], options: Options) -> list[tuple[Shape, str | None]]:
    return [((*shapes[0][:3], shapes[2][3]), None), (shapes[0][:3], "sums")]


def _forward(arrays: Sequence[Array], options: Options) -> tuple[Array, ...]:
    found: tuple[Array, ...] = _core.attention.set_attention(*arrays, *options)
    return found


def _backward(
    grad: Array, arrays: Sequence[Array], outputs: Sequence[Array], options: Options
) -> tuple[Array, ...]:
    grads: tuple[Array, ...] = _core.attention.set_attention_backward(grad, *arrays, *outputs, *options)
    return grads


SET_ATTENTION = Op(
    name="set_attention",
    shapes={"q": "B H N D", "k": "B H M D", "v": "B H M E"},
    options="float scale",
    kept=1,
    outputs=_outputs,
    forward=_forward,
    backward=_backward,
    differentiable=3,
    heads_inside=True,
)

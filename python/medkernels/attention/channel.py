"""Attention between the channels of a sequence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from medkernels import _core
from medkernels.attention._op import Array, Op, Options, Shape, check_scale, run


def channel(q: Any, k: Any, v: Any, *, scale: float | None = None) -> Any:
    """Attention between the channels of each head, over the whole sequence.

        P = softmax_rows(scale q^T k)    [D, D]
        X = v P^T

    Channel i of the result is the mean of the channels of `v`, weighted by the softmax of the products of
    channel i of `q` with the channels of `k`.

    Parameters
    ----------
    q, k, v
        [B, H, L, D], float32 or float64, on a GPU also float16 and bfloat16: queries, keys and values of B
        sequences with H heads.
    scale
        Of the scores, greater than 0; 1 / sqrt(D) if None.

    Returns
    -------
    array
        [B, H, L, D] of the kind and dtype of `q`. Arrays that lie in memory as [B, L, H, D], as heads do that
        features were split into, are read as they are; the result then lies in memory as `q` does, and each
        gradient as its array does.

    Raises
    ------
    ValueError
        For shapes that do not fit together, NaN or infinity, a scale out of range, devices that differ, or
        arrays so large that scores or sums of values could overflow.
    TypeError
        For arrays of different frameworks or dtypes, dtypes other than those named, or a scale of
        another type.
    medkernels.BackendError
        For arrays on a GPU without Triton and PyTorch, or of JAX, unless ``MEDKERNELS_CPU_FALLBACK=1``.

    Notes
    -----
    Costs O(L D^2) operations for each head and O(L D) memory beside the [D, D] weights, forward and backward.
    Differentiable in `q`, `k` and `v` (PyTorch and JAX). Results do not depend on the number of threads.

    Source: "DRIVPocket: a dual-stream rotation invariance in feature sampling and voxel fusion approach for
    protein binding site prediction", ICPR 2024, its channel attention, with P transposed in the product as in
    the released code; compare Zamir et al. 2022, "Restormer: efficient transformer for high-resolution image
    restoration", CVPR, section 3.1.

    Examples
    --------
    >>> import numpy as np
    >>> import medkernels as mk
    >>> q, k, v = np.random.default_rng(0).normal(size=(3, 1, 2, 100, 8))
    >>> mk.attention.channel(q, k, v).shape
    (1, 2, 100, 8)

    Without any preference it is the mean over the channels:

    >>> even = mk.attention.channel(0 * q, k, v)
    >>> bool(np.allclose(even, v.mean(axis=3, keepdims=True)))
    True
    """
    if scale is not None:
        scale = check_scale(scale)

    def options(shapes: Sequence[Shape]) -> Options:
        return (1 / math.sqrt(shapes[0][3]) if scale is None else scale,)

    return run(CHANNEL, {"q": q, "k": k, "v": v}, options)


def _outputs(shapes: Sequence[Shape], options: Options) -> list[tuple[Shape, str | None]]:
    batch, heads, _, dims = shapes[0]
    return [(shapes[0], None), ((batch, heads, dims, dims), "sums")]


def _forward(arrays: Sequence[Array], options: Options) -> tuple[Array, ...]:
    found: tuple[Array, ...] = _core.attention.channel(*arrays, *options)
    return found


def _backward(
    grad: Array, arrays: Sequence[Array], outputs: Sequence[Array], options: Options
) -> tuple[Array, ...]:
    grads: tuple[Array, ...] = _core.attention.channel_backward(grad, *arrays, outputs[1], *options)
    return grads


CHANNEL = Op(
    name="channel",
    shapes={"q": "B H L D", "k": "B H L D", "v": "B H L D"},
    options="float scale",
    kept=1,
    outputs=_outputs,
    forward=_forward,
    backward=_backward,
    differentiable=3,
    heads_inside=True,
)

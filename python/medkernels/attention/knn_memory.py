"""Attention to the nearest entries of a memory."""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from medkernels import _checks, _core, _interop
from medkernels.attention._op import Array, Op, Options, Shape, check_scale, run


def knn_memory(
    q: Any,
    keys: Any,
    values: Any,
    *,
    k: int = 32,
    scale: float | None = None,
    gate: Any = None,
    local: Any = None,
) -> Any:
    """Attention of each query to the k entries of a memory whose keys have the greatest products with it.

    With N_i the k entries with the greatest q_i . K_j (ties: the lowest index),

        o_i = sum_{j in N_i} p_ij V_j,    p_ij = softmax_{j in N_i}(scale q_i . K_j)

    and with a gate, g_h = sigmoid(gate_h) for head h, the result is g_h o_i + (1 - g_h) local_i. The search
    is exact. With rows of unit length products are cosines, which keeps old entries comparable with new ones.

    Parameters
    ----------
    q
        [B, H, N, D], float32 or float64, on a GPU also float16 and bfloat16: queries.
    keys, values
        [B, H, M, D] and [B, H, M, E]: the memory of each head, such as that of a `MemoryBank`. Constants: no
        gradient reaches them.
    k
        Entries of a query, at least 1; a smaller memory is taken as a whole.
    scale
        Of the scores, greater than 0; 1 / sqrt(D) if None.
    gate
        [H], or None: the share of the memory in the result, before the sigmoid. Given together with `local`.
    local
        [B, H, N, E], or None: attention to other keys, such as those of the current input. Where the memory
        is empty it is the result.

    Returns
    -------
    array
        [B, H, N, E] of the kind and dtype of `q`.

    Raises
    ------
    ValueError
        For shapes that do not fit together, an empty memory without `local`, NaN or infinity, options out of
        range, devices that differ, only one of `gate` and `local`, or arrays so large that scores or sums of
        values could overflow.
    TypeError
        For arrays of different frameworks or dtypes, dtypes other than those named, or options of
        another type.
    medkernels.BackendError
        For arrays on a GPU without Triton and PyTorch, or of JAX, unless ``MEDKERNELS_CPU_FALLBACK=1``.

    Notes
    -----
    Costs O(N M D) operations for each head, O(N k (D + E)) backward, and O(N k) memory: scores are searched
    tile by tile and never stored. Differentiable in `q`, `gate` and `local` (PyTorch and JAX); the selection
    has no gradient. Results do not depend on the number of threads. On a GPU more than 64 entries of a query
    take one search for every 64 of them.

    Source: Wu, Rabe, Hutchins, Szegedy 2022, "Memorizing transformers", ICLR, section 3.2, with an exact
    search in place of an approximate one.

    Examples
    --------
    >>> import numpy as np
    >>> import medkernels as mk
    >>> q, keys, values = np.random.default_rng(0).normal(size=(3, 1, 2, 50, 4))
    >>> mk.attention.knn_memory(q[:, :, :7], keys, values, k=3).shape
    (1, 2, 7, 4)

    With one entry for each query, the result is its value:

    >>> nearest = (q @ keys.swapaxes(2, 3)).argmax(axis=3)
    >>> out = mk.attention.knn_memory(q, keys, values, k=1)
    >>> bool((out == np.take_along_axis(values, nearest[..., None], axis=2)).all())
    True
    """
    k = _checks.check_count("k", k)
    if scale is not None:
        scale = check_scale(scale)
    if (gate is None) != (local is None):
        missing, given = ("gate", "local") if gate is None else ("local", "gate")
        raise ValueError(f"{missing} must be given where {given} is, but is None")
    entries = keys.shape if hasattr(keys, "shape") else np.shape(keys)
    if len(entries) == 4 and entries[2] == 0:
        if local is None:
            raise ValueError(
                "keys must hold at least one entry where there is no local attention, but M is 0"
            )
        return local

    def options(shapes: Sequence[Shape]) -> Options:
        count, dims = shapes[1][2:]
        return k if k < count else count, 1 / math.sqrt(dims) if scale is None else scale

    found = run(KNN_MEMORY, {"q": q, "keys": keys, "values": values}, options)
    return found if gate is None else _mix(found, gate, local)


def _mix(found: Any, gate: Any, local: Any) -> Any:
    """Memory and local attention by the gate: plain expressions, differentiable where the framework is."""
    framework = _interop.common_framework({"q": found, "gate": gate, "local": local})
    heads = found.shape[1]
    share: Any
    if framework == "torch":
        import torch

        gate, local = (
            torch.as_tensor(array, dtype=found.dtype, device=found.device) for array in (gate, local)
        )
        _check_mixed(found, gate, local, heads)
        share = torch.sigmoid(gate)[:, None, None]
    elif framework == "jax":
        import jax
        import jax.numpy as jnp

        gate, local = jnp.asarray(gate, found.dtype), jnp.asarray(local, found.dtype)
        _check_mixed(found, gate, local, heads)
        share = jax.nn.sigmoid(gate)[:, None, None]
    else:
        numbers = importlib.import_module("cupy") if framework == "cupy" else np
        gate, local = (numbers.asarray(array, found.dtype) for array in (gate, local))
        _check_mixed(found, gate, local, heads)
        share = (0.5 * (1 + numbers.tanh(0.5 * gate)))[:, None, None]
    return share * found + (1 - share) * local


def _check_mixed(found: Any, gate: Any, local: Any, heads: Any) -> None:
    if tuple(gate.shape) != (heads,):
        raise ValueError(f"gate must have shape [H] with H = {heads}, but has shape {list(gate.shape)}")
    if tuple(local.shape) != tuple(found.shape):
        raise ValueError(f"local must have shape {list(found.shape)}, but has shape {list(local.shape)}")


def _outputs(shapes: Sequence[Shape], options: Options) -> list[tuple[Shape, str | None]]:
    chosen = (*shapes[0][:3], options[0])
    return [((*shapes[0][:3], shapes[2][3]), None), (chosen, "int32"), (chosen, "sums")]


def _forward(arrays: Sequence[Array], options: Options) -> tuple[Array, ...]:
    found: tuple[Array, ...] = _core.attention.knn_memory(*arrays, *options)
    return found


def _backward(
    grad: Array, arrays: Sequence[Array], outputs: Sequence[Array], options: Options
) -> tuple[Array, ...]:
    _, entries, weights = outputs
    return (_core.attention.knn_memory_backward(grad, *arrays, entries, weights, options[1]),)


KNN_MEMORY = Op(
    name="knn_memory",
    shapes={"q": "B H N D", "keys": "B H M D", "values": "B H M E"},
    options="SymInt k, float scale",
    kept=2,
    outputs=_outputs,
    forward=_forward,
    backward=_backward,
    differentiable=1,
)

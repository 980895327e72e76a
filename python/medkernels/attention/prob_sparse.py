"""ProbSparse self-attention."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from medkernels import _checks, _core
from medkernels.attention._op import Array, Op, Options, Shape, check_scale, run

#: floor(e^n): a length above the first n of these has ceil(ln length) = n. Compared one by one, as the length
#: may be one of torch's symbolic integers.
_POWERS_OF_E = tuple(math.floor(math.exp(n)) for n in range(22))


def prob_sparse(
    q: Any,
    k: Any,
    v: Any,
    *,
    factor: int = 5,
    seed: int = 0,
    scale: float | None = None,
    mean: str = "reference",
) -> Any:
    """ProbSparse self-attention: exact rows for the queries that matter, the mean for all others.

    Each query i is compared with ``n = factor * ceil(ln L)`` random keys, drawn with replacement, and rated
    by how far its greatest product stands above their mean,

        M_i = max_s(q_i . k_s) - sum_s(q_i . k_s) / L

    The n queries with the greatest M_i (ties: the lowest index) get softmax(scale q_i K^T) V; every other row
    is the mean of V over the sequence. Where n reaches L this is full attention. Not causal.

    Parameters
    ----------
    q, k
        [B, H, L, D], float32 or float64, on a GPU also float16 and bfloat16: queries and keys of B sequences
        with H heads.
    v
        [B, H, L, E]: values.
    factor
        How many keys are drawn, and how many queries chosen, for each unit of ln L; at least 1.
    seed
        Of the random keys, 0 to 2^63 - 1. Query i takes key ``(x * L) >> 32`` for each 32-bit number x that
        Philox4x32-10 with key `seed` gives for the counters (i, 0, 0, 0), (i, 1, 0, 0), ...: the same keys in
        all sequences and heads, whatever the framework, the processor and the number of threads.
    scale
        Of the scores, greater than 0; 1 / sqrt(D) if None.
    mean
        ``"reference"`` divides the sum of the sampled products by L, as above and as the published code does;
        ``"sample"`` by their number n, which makes it their mean.

    Returns
    -------
    array
        [B, H, L, E] of the kind and dtype of `q`.

    Raises
    ------
    ValueError
        For shapes that do not fit together, NaN or infinity, options out of range, devices that differ, or
        arrays so large that scores or sums of values could overflow.
    TypeError
        For arrays of different frameworks or dtypes, dtypes other than those named, or options of
        another type.
    medkernels.BackendError
        For arrays on a GPU without Triton and PyTorch, or of JAX, unless ``MEDKERNELS_CPU_FALLBACK=1``.

    Notes
    -----
    Costs O(L ln L (D + E)) operations for each head and O(L) memory, forward and backward: neither sampled
    keys nor scores are stored. Differentiable in `q`, `k` and `v` (PyTorch and JAX); the selection has no
    gradient, so queries that were not chosen have none. Results do not depend on the number of threads.
    Between processors with different instruction sets, and on GPUs, sums may be rounded differently, and a
    query whose M_i is within rounding of the limit may then be chosen on one and not on the other. On one
    processor or GPU results are the same in every run.

    Source: Zhou et al. 2021, "Informer: beyond efficient transformer for long sequence time-series
    forecasting", AAAI 35, equations 3 to 5. The generator: Salmon et al. 2011, "Parallel random numbers: as
    easy as 1, 2, 3".

    Examples
    --------
    >>> import numpy as np
    >>> import medkernels as mk
    >>> q, k, v = np.random.default_rng(0).normal(size=(3, 1, 2, 100, 8))
    >>> out = mk.attention.prob_sparse(q, k, v, factor=1)
    >>> out.shape
    (1, 2, 100, 8)

    Five queries of each head were chosen; the other rows are the mean:

    >>> (abs(out - v.mean(axis=2, keepdims=True)).max(axis=3) > 1e-12).sum(axis=2)
    array([[5, 5]])
    """
    factor = _checks.check_count("factor", factor)
    seed = _checks.check_count("seed", seed, 0, 2**63 - 1)
    if scale is not None:
        scale = check_scale(scale)
    _checks.check_choice("mean", mean, ("reference", "sample"))

    def options(shapes: Sequence[Shape]) -> Options:
        length, dims = shapes[0][2:]
        drawn = factor * sum(length > power for power in _POWERS_OF_E)
        count = drawn if drawn < length else length
        return count, count, seed, 1 / math.sqrt(dims) if scale is None else scale, mean == "sample"

    return run(PROB_SPARSE, {"q": q, "k": k, "v": v}, options)


def _outputs(shapes: Sequence[Shape], options: Options) -> list[tuple[Shape, str | None]]:
    chosen = (*shapes[0][:2], options[1])
    return [(shapes[2], None), (chosen, "int32"), (chosen, "sums")]


def _forward(arrays: Sequence[Array], options: Options) -> tuple[Array, ...]:
    found: tuple[Array, ...] = _core.attention.prob_sparse(*arrays, *options)
    return found


def _backward(
    grad: Array, arrays: Sequence[Array], outputs: Sequence[Array], options: Options
) -> tuple[Array, ...]:
    scale = options[3]
    grads: tuple[Array, ...] = _core.attention.prob_sparse_backward(grad, *arrays, *outputs, scale)
    return grads


PROB_SPARSE = Op(
    name="prob_sparse",
    shapes={"q": "B H L D", "k": "B H L D", "v": "B H L E"},
    options="SymInt samples, SymInt active, int seed, float scale, bool sample_mean",
    kept=2,
    outputs=_outputs,
    forward=_forward,
    backward=_backward,
    differentiable=3,
)

"""ProbSparse self-attention (Triton). Definition: ``medkernels.attention.prob_sparse``.

Every query is rated by its products with random keys, which are drawn where they are needed by the same
counter-based generator as on the CPU: neither keys nor scores are stored. Queries are chosen by a stable sort
of the ratings. The chosen ones get softmax attention to all keys by the kernels of ``set_attention``; all
other rows are the mean of the values.

Derived, not measured: a drawn key costs about 25 integer operations and 2 D of arithmetic for the D numbers
that are read from anywhere in the second-level cache, which is the limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from medkernels.kernels.attention_inputs import accumulator, check_values, padded, rows, strides
from medkernels.kernels.attention_softmax import first_of
from medkernels.kernels.set_attention import attend_all, differentiate_all
from torch import Tensor

COUNTERS = tl.constexpr(4)  # of the generator at a time, with four keys each
BYTES = 8192  # of keys that are gathered at a time, in the dtype of the sums


@triton.jit
def drawn_keys(seed, query, counter, length):
    """The four keys of each pair of a query and a counter: its four numbers, as shares of the length."""
    query += tl.zeros_like(counter)
    counter += tl.zeros_like(query)
    n0, n1, n2, n3 = tl.philox(seed, query, counter, tl.zeros_like(query), tl.zeros_like(query))
    length = tl.zeros_like(n0) + length.to(tl.uint32)
    return tl.umulhi(n0, length), tl.umulhi(n1, length), tl.umulhi(n2, length), tl.umulhi(n3, length)


@triton.jit
def rate(
    q, k, ratings, heads, length, dims, samples, seed, divisor, blocks,
    q_batch, q_head, q_row, k_batch, k_head, k_row, QUERIES: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    """How far the greatest product of each query with its samples stands above their sum / divisor."""
    kind: tl.constexpr = ratings.dtype.element_ty
    head = tl.program_id(0) // blocks
    query = tl.program_id(0) % blocks * QUERIES + tl.arange(0, QUERIES)
    here = query < length
    query_at = first_of(q, head, heads, q_batch, q_head) + query.to(tl.int64) * q_row
    keys = first_of(k, head, heads, k_batch, k_head)
    top = tl.full([QUERIES, COUNTERS], float("-inf"), kind)
    total = tl.zeros([QUERIES, COUNTERS], kind)
    for first in range(0, samples, 4 * COUNTERS):
        counter = first // 4 + tl.arange(0, COUNTERS)
        key0, key1, key2, key3 = drawn_keys(seed, query[:, None], counter[None, :], length)
        for number in tl.static_range(4):
            if number == 0:
                key = key0
            elif number == 1:
                key = key1
            elif number == 2:
                key = key2
            else:
                key = key3
            wanted = here[:, None] & (counter * 4 + number < samples)[None, :]
            key_at = keys + key.to(tl.int64) * k_row
            product = tl.zeros([QUERIES, COUNTERS], kind)
            for d in range(0, dims, DEPTH):
                element = d + tl.arange(0, DEPTH)
                inside = element < dims
                a = tl.load(
                    query_at[:, None, None] + element[None, None, :],
                    mask=here[:, None, None] & inside[None, None, :],
                    other=0,
                )
                b = tl.load(
                    key_at[:, :, None] + element[None, None, :],
                    mask=wanted[:, :, None] & inside[None, None, :],
                    other=0,
                )
                product += tl.sum(a.to(kind) * b.to(kind), 2)
            top = tl.where(wanted, tl.maximum(top, product), top)
            total += product
    mean = tl.sum(total, 1)
    divisors = tl.zeros_like(mean) + divisor
    # Rounded as on the CPU, which "/" of float32 would not be.
    mean = mean / divisors if kind == tl.float64 else tl.div_rn(mean, divisors)
    rating = tl.max(top, 1) - mean
    rating = tl.where(rating == 0, 0.0, rating)  # not -0, which the sort might tell from 0
    tl.store(ratings + head.to(tl.int64) * length + query, rating, mask=here)


def forward(arrays: Sequence[Tensor], options: Sequence[Any]) -> tuple[Tensor, Tensor, Tensor]:
    """Rows [B, H, L, E]; the chosen queries in ascending order, and their levels, [B, H, active]."""
    q, k, v = arrays
    samples, active, seed, scale, sample_mean = options
    check_values({"q": q, "k": k, "v": v}, q.shape[3], scale)
    chosen = _choose(q, k, samples, active, seed, sample_mean)
    found, levels = attend_all(_take(q, chosen), k, v, scale)
    mean = v.mean(2, keepdim=True, dtype=torch.float64).to(v.dtype)
    results = mean.expand(v.shape).contiguous()
    results.scatter_(2, _places(chosen, v), found)
    return results, chosen.int(), levels


def backward(
    grad: Tensor, arrays: Sequence[Tensor], outputs: Sequence[Tensor], options: Sequence[Any]
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of q, k and v."""
    q, k, v = arrays
    results, chosen, levels = outputs
    chosen = chosen.long()
    own_grad, own_q, own_results = (_take(array, chosen) for array in (grad, q, results))
    d_rows, d_keys, d_values = (array.new_empty(array.shape) for array in (own_q, k, v))
    differentiate_all(own_grad, own_q, k, v, own_results, levels, options[3], (d_rows, d_keys, d_values))
    d_queries = q.new_zeros(q.shape).scatter_(2, _places(chosen, q), d_rows)
    others = grad.sum(2, keepdim=True, dtype=torch.float64)
    others -= own_grad.sum(2, keepdim=True, dtype=torch.float64)
    d_values += (others / max(1, v.shape[2])).to(v.dtype)
    return d_queries, d_keys, d_values


def _choose(q: Tensor, k: Tensor, samples: int, active: int, seed: int, sample_mean: bool) -> Tensor:
    """The `active` queries with the greatest ratings, in ascending order, int64 [B, H, active]."""
    batch, heads, length, _ = q.shape
    if active in (0, length):
        return torch.arange(active, device=q.device).expand(batch, heads, active)
    ratings = rate_all(q, k, samples, seed, samples if sample_mean else length)
    order = ratings.sort(dim=2, descending=True, stable=True).indices  # equal ones by index
    return order[..., :active].sort(dim=2).values


def rate_all(q: Tensor, k: Tensor, samples: int, seed: int, divisor: int) -> Tensor:
    """The rating of every query, [B, H, L]."""
    q, k = rows(q), rows(k)
    batch, heads, length, dims = q.shape
    ratings = q.new_empty(batch, heads, length, dtype=accumulator(q.dtype))
    depth = padded(dims, 32 if q.dtype == torch.float64 else 64)
    queries = min(16, BYTES // (ratings.element_size() * COUNTERS.value * depth))  # of a block
    blocks = triton.cdiv(length, queries)
    with torch.cuda.device_of(q):
        if ratings.numel():
            rate[(batch * heads * blocks,)](
                q, k, ratings, heads, length, dims, samples, seed, divisor, blocks,
                *strides(q), *strides(k), QUERIES=queries, DEPTH=depth,
            )  # fmt: skip
    return ratings


def _places(chosen: Tensor, array: Tensor) -> Tensor:
    return chosen[..., None].expand(*chosen.shape, array.shape[3])


def _take(array: Tensor, chosen: Tensor) -> Tensor:
    return array.gather(2, _places(chosen, array))

"""Gradients of softmax attention (Triton): weights are computed once more, from the levels of the queries.

With P the weights, G the gradient of the result o, and dS = P (G V^T - G . o): dQ = scale dS K,
dK = scale dS^T Q, dV = P^T G. A program sums up over a run of keys (or of queries) for its queries (or keys);
runs are added up in their order.

Source: Dao 2023, "FlashAttention-2", algorithm 2, with a kernel for each side in place of atomic sums.
"""

from __future__ import annotations

import triton
import triton.language as tl
from medkernels.kernels.attention_softmax import first_of, products, read, write


@triton.jit
def slopes(
    grad, results, found, total_rows, value_dims, heads, count,
    g_batch, g_head, g_row, r_batch, r_head, r_row,
    ROWS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """G . o of each query."""
    kind: tl.constexpr = found.dtype.element_ty
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    here = row < total_rows
    head = row // count
    grad_at = first_of(grad, head, heads, g_batch, g_head) + row % count * g_row
    result_at = first_of(results, head, heads, r_batch, r_head) + row % count * r_row
    sums = tl.zeros([ROWS], kind)
    for first in range(0, value_dims, WIDTH):
        a = read(grad_at, here, first, value_dims, WIDTH).to(kind)
        b = read(result_at, here, first, value_dims, WIDTH).to(kind)
        sums += tl.sum(a * b, 1)
    tl.store(found + row, sums, mask=here)


@triton.jit
def differentiate_queries(
    grad, q, k, v, levels, slope, d_q,
    heads, count, entries, dims, value_dims, blocks, parts, run, chunks,
    g_batch, g_head, g_row, q_batch, q_head, q_row, k_batch, k_head, k_row, v_batch, v_head, v_row,
    d_batch, d_head, d_row, d_part, scale, scale_rest,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr, WIDTH: tl.constexpr,
    WHOLE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """What a run of keys adds to DEPTH elements of the gradients of a block of queries."""
    kind: tl.constexpr = levels.dtype.element_ty
    program = tl.program_id(0)
    chunk = program % chunks
    block = program // chunks % blocks
    part = program // chunks // blocks % parts
    head = program // chunks // blocks // parts
    factor = tl.zeros([ROWS, COLUMNS], kind) + scale + scale_rest
    row = block * ROWS + tl.arange(0, ROWS)
    here = row < count
    row_at = first_of(q, head, heads, q_batch, q_head) + row.to(tl.int64) * q_row
    grad_at = first_of(grad, head, heads, g_batch, g_head) + row.to(tl.int64) * g_row
    queries = read(row_at, here, 0, dims, DEPTH)
    grads = read(grad_at, here, 0, value_dims, WIDTH)
    keys = first_of(k, head, heads, k_batch, k_head)
    values = first_of(v, head, heads, v_batch, v_head)
    level = tl.load(levels + head.to(tl.int64) * count + row, mask=here, other=0)
    mean = tl.load(slope + head.to(tl.int64) * count + row, mask=here, other=0)
    sums = tl.zeros([ROWS, DEPTH], kind)
    for first in range(part * run, part * run + tl.minimum(run, entries - part * run), COLUMNS):
        column = first + tl.arange(0, COLUMNS)
        there = column < entries
        key_at = keys + column.to(tl.int64) * k_row
        scores = products(
            queries, row_at, here, key_at, there, dims, ROWS, COLUMNS, DEPTH, WHOLE, PRECISION, kind
        )
        weights = tl.where(there[None, :], tl.exp(scores * factor - level[:, None]), 0)
        rates = products(
            grads, grad_at, here, values + column.to(tl.int64) * v_row, there, value_dims,
            ROWS, COLUMNS, WIDTH, WHOLE, PRECISION, kind,
        )  # fmt: skip
        weights = weights * (rates - mean[:, None]) * factor
        key = read(key_at + chunk * DEPTH, there, 0, dims - chunk * DEPTH, DEPTH)
        sums = tl.dot(weights.to(key.dtype), key, sums, input_precision=PRECISION, out_dtype=kind)
    at = first_of(d_q + part.to(tl.int64) * d_part, head, heads, d_batch, d_head) + chunk * DEPTH
    write(at, row, d_row, here, dims - chunk * DEPTH, sums, DEPTH)


@triton.jit
def differentiate_entries(
    grad, q, k, v, levels, slope, d_k, d_v,
    heads, count, entries, dims, value_dims, blocks, parts, run, chunks,
    g_batch, g_head, g_row, q_batch, q_head, q_row, k_batch, k_head, k_row, v_batch, v_head, v_row,
    dk_batch, dk_head, dk_row, dk_part, dv_batch, dv_head, dv_row, dv_part, scale, scale_rest,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr, WIDTH: tl.constexpr,
    WHOLE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """What a run of queries adds to DEPTH and WIDTH elements of the gradients of a block of keys and values;
    here keys are the rows and queries the columns."""
    kind: tl.constexpr = levels.dtype.element_ty
    program = tl.program_id(0)
    chunk = program % chunks
    block = program // chunks % blocks
    part = program // chunks // blocks % parts
    head = program // chunks // blocks // parts
    factor = tl.zeros([ROWS, COLUMNS], kind) + scale + scale_rest
    row = block * ROWS + tl.arange(0, ROWS)
    here = row < entries
    key_at = first_of(k, head, heads, k_batch, k_head) + row.to(tl.int64) * k_row
    value_at = first_of(v, head, heads, v_batch, v_head) + row.to(tl.int64) * v_row
    keys = read(key_at, here, 0, dims, DEPTH)
    values = read(value_at, here, 0, value_dims, WIDTH)
    queries = first_of(q, head, heads, q_batch, q_head)
    grads = first_of(grad, head, heads, g_batch, g_head)
    key_sums = tl.zeros([ROWS, DEPTH], kind)
    value_sums = tl.zeros([ROWS, WIDTH], kind)
    for first in range(part * run, part * run + tl.minimum(run, count - part * run), COLUMNS):
        column = first + tl.arange(0, COLUMNS)
        there = column < count
        level = tl.load(levels + head.to(tl.int64) * count + column, mask=there, other=0)
        mean = tl.load(slope + head.to(tl.int64) * count + column, mask=there, other=0)
        query_at = queries + column.to(tl.int64) * q_row
        grad_at = grads + column.to(tl.int64) * g_row
        scores = products(
            keys, key_at, here, query_at, there, dims, ROWS, COLUMNS, DEPTH, WHOLE, PRECISION, kind
        )
        weights = tl.where(there[None, :], tl.exp(scores * factor - level[None, :]), 0)
        grad_part = read(grad_at + chunk * WIDTH, there, 0, value_dims - chunk * WIDTH, WIDTH)
        value_sums = tl.dot(
            weights.to(grad_part.dtype), grad_part, value_sums, input_precision=PRECISION, out_dtype=kind
        )
        rates = products(
            values, value_at, here, grad_at, there, value_dims,
            ROWS, COLUMNS, WIDTH, WHOLE, PRECISION, kind,
        )  # fmt: skip
        weights = weights * (rates - mean[None, :]) * factor
        query = read(query_at + chunk * DEPTH, there, 0, dims - chunk * DEPTH, DEPTH)
        key_sums = tl.dot(weights.to(query.dtype), query, key_sums, input_precision=PRECISION, out_dtype=kind)
    at = first_of(d_k + part.to(tl.int64) * dk_part, head, heads, dk_batch, dk_head) + chunk * DEPTH
    write(at, row, dk_row, here, dims - chunk * DEPTH, key_sums, DEPTH)
    at = first_of(d_v + part.to(tl.int64) * dv_part, head, heads, dv_batch, dv_head) + chunk * WIDTH
    write(at, row, dv_row, here, value_dims - chunk * WIDTH, value_sums, WIDTH)

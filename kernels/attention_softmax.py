"""Softmax attention of a block of queries to a run of keys, and the merge of runs (Triton).

A program takes its queries through its keys with the greatest score so far and the sums below it. What a run
gives is softmax attention to its keys, and the logarithm of its sum of exp(score): the level of each query.
So one run alone gives the final result, and several are merged by their levels, in their order.

Source: Dao 2023, "FlashAttention-2"; the shares of keys as in its successor "Flash-Decoding".
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def first_of(values, head, heads, batch_stride, head_stride):
    """Where the rows of a head begin."""
    batch = (head // heads).to(tl.int64)
    return values + batch * batch_stride + (head % heads).to(tl.int64) * head_stride


@triton.jit
def read(at, here, first, length, DEPTH: tl.constexpr):
    """Elements from `first` on of the rows that begin at the addresses `at`: [len(at), DEPTH]."""
    element = first + tl.arange(0, DEPTH)
    return tl.load(at[:, None] + element[None, :], mask=here[:, None] & (element < length)[None, :], other=0)


@triton.jit
def write(at, row, stride, here, length, numbers, WIDTH: tl.constexpr):
    """Up to WIDTH elements of rows; `length` are left of each."""
    element = tl.arange(0, WIDTH)
    tl.store(
        at + row.to(tl.int64)[:, None] * stride + element[None, :],
        numbers.to(at.dtype.element_ty),
        mask=here[:, None] & (element < length)[None, :],
    )


@triton.jit
def products(
    left, left_at, left_here, right_at, right_here, length,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr, WHOLE: tl.constexpr,
    PRECISION: tl.constexpr, KIND: tl.constexpr,
):  # fmt: skip
    """The products of rows with columns, which begin at addresses; `left` holds rows that are WHOLE."""
    if WHOLE:
        right = read(right_at, right_here, 0, length, DEPTH)
        found = tl.dot(left, tl.trans(right), input_precision=PRECISION, out_dtype=KIND)
    else:
        found = tl.zeros([ROWS, COLUMNS], KIND)
        for d in range(0, length, DEPTH):
            a = read(left_at, left_here, d, length, DEPTH)
            b = read(right_at, right_here, d, length, DEPTH)
            found = tl.dot(a, tl.trans(b), found, input_precision=PRECISION, out_dtype=KIND)
    return found


@triton.jit
def attend(
    q, k, v, results, levels,
    heads, count, entries, dims, value_dims, blocks, parts, run, chunks,
    q_batch, q_head, q_row, k_batch, k_head, k_row, v_batch, v_head, v_row,
    r_batch, r_head, r_row, r_part, scale, scale_rest,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr, WIDTH: tl.constexpr,
    WHOLE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """One block of queries, one run of keys, WIDTH elements of the values."""
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
    queries = read(row_at, here, 0, dims, DEPTH)
    keys = first_of(k, head, heads, k_batch, k_head)
    values = first_of(v, head, heads, v_batch, v_head) + chunk * WIDTH
    width = value_dims - chunk * WIDTH
    top = tl.full([ROWS], float("-inf"), kind)
    total = tl.zeros([ROWS], kind)
    sums = tl.zeros([ROWS, WIDTH], kind)
    for first in range(part * run, part * run + tl.minimum(run, entries - part * run), COLUMNS):
        column = first + tl.arange(0, COLUMNS)
        there = column < entries
        scores = products(
            queries, row_at, here, keys + column.to(tl.int64) * k_row, there, dims,
            ROWS, COLUMNS, DEPTH, WHOLE, PRECISION, kind,
        )  # fmt: skip
        scores = tl.where(there[None, :], scores * factor, float("-inf"))
        greatest = tl.maximum(top, tl.max(scores, 1))
        faded = tl.exp(top - greatest)
        weights = tl.exp(scores - greatest[:, None])
        total = total * faded + tl.sum(weights, 1)
        value = read(values + column.to(tl.int64) * v_row, there, 0, width, WIDTH)
        sums = tl.dot(
            weights.to(value.dtype), value, sums * faded[:, None], input_precision=PRECISION, out_dtype=kind
        )
        top = greatest
    at = first_of(results + part.to(tl.int64) * r_part, head, heads, r_batch, r_head) + chunk * WIDTH
    write(at, row, r_row, here, width, sums / total[:, None], WIDTH)
    total_heads = tl.num_programs(0) // chunks // blocks // parts
    place = (part * total_heads + head).to(tl.int64) * count + row
    tl.store(levels + place, top + tl.log(total), mask=here & (chunk == 0))


@triton.jit
def merge(
    part_results, part_levels, results, levels,
    total_rows, heads, count, parts, value_dims, chunks, r_batch, r_head, r_row,
    ALL: tl.constexpr, PARTS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """Joins the runs of one query, for WIDTH elements of the values; there are at most ALL runs."""
    kind: tl.constexpr = levels.dtype.element_ty
    chunk = tl.program_id(0) % chunks
    row = (tl.program_id(0) // chunks).to(tl.int64)
    run = tl.arange(0, ALL)
    level = tl.load(part_levels + run.to(tl.int64) * total_rows + row, mask=run < parts, other=float("-inf"))
    top = tl.max(level, 0)
    total = tl.sum(tl.exp(level - top), 0)
    sums = tl.zeros([WIDTH], kind)
    element = chunk * WIDTH + tl.arange(0, WIDTH)
    inside = element < value_dims
    for first in range(0, parts, PARTS):
        part = first + tl.arange(0, PARTS)
        there = part < parts
        place = part.to(tl.int64) * total_rows + row
        weight = tl.exp(tl.load(part_levels + place, mask=there, other=float("-inf")) - top)
        value = tl.load(
            part_results + place[:, None] * value_dims + element[None, :],
            mask=there[:, None] & inside[None, :],
            other=0,
        )
        sums += tl.sum(weight[:, None] * value, 0)
    at = first_of(results, row // count, heads, r_batch, r_head) + row % count * r_row
    tl.store(at + element, (sums / total).to(results.dtype.element_ty), mask=inside)
    tl.store(levels + row, top + tl.log(total), mask=chunk == 0)

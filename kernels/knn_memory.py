"""Attention to the nearest entries of a memory (Triton). Definition: ``medkernels.attention.knn_memory``.

A program compares a block of queries with a run of keys, tile by tile. Each query keeps its best entries in
registers, in no order; whatever of a tile scores more than the least of them takes its place. Where queries
are few the keys are shared out over many programs, and a second kernel joins what they found. A third gives
the softmax of the scores and the sum of the values. More than 64 entries are found by several searches, each
for what comes after the last one's least: only entries and weights are ever stored.

Derived, not measured: of M random keys about k (1 + ln(M / k)) enter a query's best, each at the cost of some
operations for every key of a tile; for k = 32, M = 16384 and D = 24 that is of the order of the products.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from medkernels.kernels.attention_inputs import (
    accumulator,
    check_values,
    in_two_parts,
    padded,
    rows,
    share,
    strides,
)
from medkernels.kernels.attention_softmax import first_of, products, read
from torch import Tensor

ROWS = 16  # queries of a block: few, as all of them wait for the one with the most new entries
COLUMNS, COLUMNS_LESS = 64, 32  # keys of a tile; fewer in float64 and of long rows
WHOLE, PIECE = 64, 16  # elements of a row that are multiplied at once, and of longer ones at a time
WARPS = 2  # of a search: with these sizes nothing spills on sm_80 and sm_90
MOST_KEPT = 64  # entries of a query that registers hold
LEAST_RUN = 1024  # keys of a share: each has to find all of its best
NUMBERS = 4096  # of keys or values that are gathered at a time
LAST = tl.constexpr(2**31 - 1)  # more than any entry
FREE = tl.constexpr(2**31 - 65)  # as entries, places that hold none count from here on


@triton.jit
def keep_best(scores, names, best, entries, least):
    """Let scores [ROWS, n], with their entries, take the places of lower ones; `least` is the least kept one.

    Of equal scores the lowest entry counts more: entries of later calls are higher than those before.
    """
    top = tl.max(scores, 1)
    while tl.max((top > least).to(tl.int32), 0) > 0:
        name = tl.min(tl.where(scores == top[:, None], names, LAST), 1)
        last = tl.max(tl.where(best == least[:, None], entries, -1), 1)
        place = (entries == last[:, None]) & (top > least)[:, None]
        best = tl.where(place, top[:, None], best)
        entries = tl.where(place, name[:, None], entries)
        least = tl.min(best, 1)
        scores = tl.where(names == name[:, None], float("-inf"), scores)
        top = tl.max(scores, 1)
    return best, entries, least


@triton.jit
def no_entries(wanted, kind: tl.constexpr, ROWS: tl.constexpr, KEPT: tl.constexpr):
    """Places for `wanted` entries; the others are closed."""
    slot = tl.arange(0, KEPT)[None, :] + tl.zeros([ROWS, KEPT], tl.int32)
    best = tl.where(slot < wanted, float("-inf"), float("inf")).to(kind)
    return best, FREE + slot, tl.min(best, 1)


@triton.jit
def search(
    q, keys, bounds, bound_entries, scores, found,
    heads, count, entries, dims, blocks, parts, run, wanted,
    q_batch, q_head, q_row, k_batch, k_head, k_row,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr, KEPT: tl.constexpr, WHOLE: tl.constexpr,
):  # fmt: skip
    """The best of a run of keys for a block of queries, among those that rank after the last ones that
    earlier searches found, of the scores `bounds`."""
    kind: tl.constexpr = scores.dtype.element_ty
    program = tl.program_id(0)
    block = program % blocks
    part = program // blocks % parts
    head = program // blocks // parts
    total_rows = (tl.num_programs(0) // parts // blocks).to(tl.int64) * count
    row = block * ROWS + tl.arange(0, ROWS)
    here = row < count
    row_at = first_of(q, head, heads, q_batch, q_head) + row.to(tl.int64) * q_row
    queries = read(row_at, here, 0, dims, DEPTH)
    first_key = first_of(keys, head, heads, k_batch, k_head)
    place = head.to(tl.int64) * count + row
    bound = tl.load(bounds + place, mask=here, other=float("-inf"))[:, None]
    bound_entry = tl.load(bound_entries + place, mask=here, other=0)[:, None]
    best, names, least = no_entries(wanted, kind, ROWS, KEPT)
    for first in range(part * run, part * run + tl.minimum(run, entries - part * run), COLUMNS):
        column = first + tl.arange(0, COLUMNS)
        there = column < entries
        tile = products(
            queries, row_at, here, first_key + column.to(tl.int64) * k_row, there, dims,
            ROWS, COLUMNS, DEPTH, WHOLE, "ieee", kind,
        )  # fmt: skip
        after = (tile < bound) | ((tile == bound) & (column[None, :] > bound_entry))
        tile = tl.where(there[None, :] & after, tile, float("-inf"))
        best, names, least = keep_best(tile, column[None, :], best, names, least)
    slot = tl.arange(0, KEPT)
    at = (part * total_rows + place)[:, None] * wanted + slot[None, :]
    mask = here[:, None] & (slot < wanted)[None, :]
    tl.store(scores + at, best, mask=mask)
    tl.store(found + at, names, mask=mask)


@triton.jit
def join(
    part_scores, part_found, scores, found, total_rows, parts, wanted,
    ROWS: tl.constexpr, KEPT: tl.constexpr,
):  # fmt: skip
    """The best of all runs, in their order."""
    kind: tl.constexpr = scores.dtype.element_ty
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    here = row < total_rows
    slot = tl.arange(0, KEPT)
    mask = here[:, None] & (slot < wanted)[None, :]
    best, names, least = no_entries(wanted, kind, ROWS, KEPT)
    place = row
    for _part in range(parts):
        at = place[:, None] * wanted + slot[None, :]
        place += total_rows
        tile = tl.load(part_scores + at, mask=mask, other=float("-inf"))
        entries = tl.load(part_found + at, mask=mask, other=-1)
        best, names, least = keep_best(tile, entries, best, names, least)
    at = row[:, None] * wanted + slot[None, :]
    tl.store(scores + at, best, mask=mask)
    tl.store(found + at, names, mask=mask)


@triton.jit
def gathered_products(
    rows_at, here, values, entries, there, stride, length,
    ROWS: tl.constexpr, KEPT: tl.constexpr, DEPTH: tl.constexpr, KIND: tl.constexpr,
):  # fmt: skip
    """Products of rows at addresses [ROWS] with rows of their own, [ROWS, KEPT]."""
    found = tl.zeros([ROWS, KEPT], KIND)
    for d in range(0, length, DEPTH):
        a = read(rows_at, here, d, length, DEPTH).to(KIND)
        b = gather(values, entries, there, stride, d, length, DEPTH).to(KIND)
        found += tl.sum(a[:, None, :] * b, 2)
    return found


@triton.jit
def gather(values, entries, there, stride, first, length, DEPTH: tl.constexpr):
    """Elements from `first` on of rows [ROWS, KEPT] of a memory."""
    element = first + tl.arange(0, DEPTH)
    return tl.load(
        values + entries.to(tl.int64)[:, :, None] * stride + element[None, None, :],
        mask=there[:, :, None] & (element < length)[None, None, :],
        other=0,
    )


@triton.jit
def attend(
    q, keys, values, entries, results, weights,
    total_rows, heads, count, k, dims, value_dims, chunks,
    q_batch, q_head, q_row, k_batch, k_head, k_row, v_batch, v_head, v_row, scale, scale_rest,
    ROWS: tl.constexpr, KEPT: tl.constexpr, DEPTH: tl.constexpr, WIDTH: tl.constexpr, ALL: tl.constexpr,
):  # fmt: skip
    """Softmax weights of the entries, and WIDTH elements of the sums of their values; KEPT of them at a time,
    or ALL at once."""
    kind: tl.constexpr = weights.dtype.element_ty
    chunk = tl.program_id(0) % chunks
    row = (tl.program_id(0) // chunks).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    here = row < total_rows
    head = row // count
    factor = tl.zeros([ROWS, KEPT], kind) + scale + scale_rest
    row_at = first_of(q, head, heads, q_batch, q_head) + row % count * q_row
    key = first_of(keys, head, heads, k_batch, k_head)[:, None, None]
    value = first_of(values, head, heads, v_batch, v_head)[:, None, None] + chunk * WIDTH
    top = tl.full([ROWS], float("-inf"), kind)
    total = tl.zeros([ROWS], kind)
    scores = tl.zeros([ROWS, KEPT], kind)
    for first in range(0, k, KEPT):
        slot = first + tl.arange(0, KEPT)
        there = here[:, None] & (slot < k)[None, :]
        entry = tl.load(entries + row[:, None] * k + slot[None, :], mask=there, other=0)
        scores = factor * gathered_products(
            row_at, here, key, entry, there, k_row, dims, ROWS, KEPT, DEPTH, kind
        )
        scores = tl.where((slot < k)[None, :], scores, float("-inf"))
        greatest = tl.maximum(top, tl.max(scores, 1))
        total = total * tl.exp(top - greatest) + tl.sum(tl.exp(scores - greatest[:, None]), 1)
        top = greatest
    sums = tl.zeros([ROWS, WIDTH], kind)
    width = value_dims - chunk * WIDTH
    for first in range(0, k, KEPT):
        slot = first + tl.arange(0, KEPT)
        there = here[:, None] & (slot < k)[None, :]
        at = row[:, None] * k + slot[None, :]
        entry = tl.load(entries + at, mask=there, other=0)
        if not ALL:
            scores = factor * gathered_products(
                row_at, here, key, entry, there, k_row, dims, ROWS, KEPT, DEPTH, kind
            )
        weight = tl.where((slot < k)[None, :], tl.exp(scores - top[:, None]) / total[:, None], 0)
        tl.store(weights + at, weight, mask=there & (chunk == 0))
        own = gather(value, entry, there, v_row, 0, width, WIDTH).to(kind)
        sums += tl.sum(weight[:, :, None] * own, 1)
    element = tl.arange(0, WIDTH)
    tl.store(
        results + row[:, None] * value_dims + (chunk * WIDTH + element)[None, :],
        sums.to(results.dtype.element_ty),
        mask=here[:, None] & (element < width)[None, :],
    )


@triton.jit
def differentiate(
    grad, keys, values, entries, weights, results, d_q,
    total_rows, heads, count, k, dims, value_dims, chunks,
    g_batch, g_head, g_row, k_batch, k_head, k_row, v_batch, v_head, v_row, scale, scale_rest,
    ROWS: tl.constexpr, KEPT: tl.constexpr, DEPTH: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """DEPTH elements of the gradients of queries: scale sum_j p_j (G . V_j - G . o) K_j."""
    kind: tl.constexpr = weights.dtype.element_ty
    chunk = tl.program_id(0) % chunks
    row = (tl.program_id(0) // chunks).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    here = row < total_rows
    head = row // count
    factor = tl.zeros([ROWS, KEPT], kind) + scale + scale_rest
    grad_at = first_of(grad, head, heads, g_batch, g_head) + row % count * g_row
    key = first_of(keys, head, heads, k_batch, k_head)[:, None, None] + chunk * DEPTH
    value = first_of(values, head, heads, v_batch, v_head)[:, None, None]
    mean = tl.zeros([ROWS], kind)
    for first in range(0, value_dims, WIDTH):
        a = read(grad_at, here, first, value_dims, WIDTH).to(kind)
        mean += tl.sum(a * read(results + row * value_dims, here, first, value_dims, WIDTH).to(kind), 1)
    sums = tl.zeros([ROWS, DEPTH], kind)
    depth = dims - chunk * DEPTH
    for first in range(0, k, KEPT):
        slot = first + tl.arange(0, KEPT)
        there = here[:, None] & (slot < k)[None, :]
        at = row[:, None] * k + slot[None, :]
        entry = tl.load(entries + at, mask=there, other=0)
        weight = tl.load(weights + at, mask=there, other=0)
        rate = gathered_products(
            grad_at, here, value, entry, there, v_row, value_dims, ROWS, KEPT, WIDTH, kind
        )
        weight = factor * weight * (rate - mean[:, None])
        own = gather(key, entry, there, k_row, 0, depth, DEPTH).to(kind)
        sums += tl.sum(weight[:, :, None] * own, 1)
    element = tl.arange(0, DEPTH)
    tl.store(
        d_q + row[:, None] * dims + (chunk * DEPTH + element)[None, :],
        sums.to(d_q.dtype.element_ty),
        mask=here[:, None] & (element < depth)[None, :],
    )


def forward(arrays: Sequence[Tensor], options: Sequence[Any]) -> tuple[Tensor, Tensor, Tensor]:
    """Rows [B, H, N, E]; the chosen entries in ascending order, and their weights, [B, H, N, k]."""
    q, keys, values = arrays
    k, scale = options
    check_values({"q": q, "keys": keys, "values": values}, q.shape[3], scale)
    q, keys, values = rows(q), rows(keys), rows(values)
    found = nearest(q, keys, k)
    (batch, heads, count, dims), value_dims = q.shape, values.shape[3]
    results = q.new_empty(batch, heads, count, value_dims)
    weights = q.new_empty(batch, heads, count, k, dtype=accumulator(q.dtype))
    chunks, choices = _gathering(q.dtype, k, dims, value_dims, value_dims)
    total = batch * heads * count
    with torch.cuda.device_of(q):
        if total:
            attend[(triton.cdiv(total, choices["ROWS"]) * chunks,)](
                q, keys, values, found, results, weights,
                total, heads, count, k, dims, value_dims, chunks,
                *strides(q), *strides(keys), *strides(values), *in_two_parts(scale),
                **choices, ALL=k <= choices["KEPT"],
            )  # fmt: skip
    return results, found, weights


def backward(
    grad: Tensor, arrays: Sequence[Tensor], outputs: Sequence[Tensor], options: Sequence[Any]
) -> tuple[Tensor]:
    """The gradient of q; one of the rows that is not finite is passed on, not refused."""
    q, keys, values = arrays
    grad, keys, values = rows(grad), rows(keys), rows(values)
    results, entries, weights = (output.contiguous() for output in outputs)
    (batch, heads, count, dims), value_dims = q.shape, values.shape[3]
    chunks, choices = _gathering(q.dtype, weights.shape[3], dims, value_dims, dims)
    total = batch * heads * count
    d_q = q.new_empty(q.shape)
    with torch.cuda.device_of(q):
        if total:
            differentiate[(triton.cdiv(total, choices["ROWS"]) * chunks,)](
                grad, keys, values, entries, weights, results, d_q,
                total, heads, count, weights.shape[3], dims, value_dims, chunks,
                *strides(grad), *strides(keys), *strides(values), *in_two_parts(options[1]),
                **choices,
            )  # fmt: skip
    return (d_q,)


def nearest(q: Tensor, keys: Tensor, k: int) -> Tensor:
    """The k entries of each query with the greatest products, in ascending order, int32 [B, H, N, k]."""
    batch, heads, count, dims = q.shape
    entries = keys.shape[2]
    if k == entries or q.numel() == 0:
        whole = torch.arange(k, dtype=torch.int32, device=q.device)
        return whole.expand(batch, heads, count, k).contiguous()
    kind, total = accumulator(q.dtype), batch * heads * count
    kept = padded(k, MOST_KEPT)
    blocks = triton.cdiv(count, ROWS)
    columns = COLUMNS_LESS if kind == torch.float64 or dims > WHOLE else COLUMNS
    depth = padded(dims, WHOLE if dims <= WHOLE else PIECE)
    run, parts = share(entries, batch * heads * blocks, columns, LEAST_RUN)
    bounds = q.new_full((total,), float("inf"), dtype=kind)
    bound_entries = q.new_zeros(total, dtype=torch.int32)
    pieces = []
    with torch.cuda.device_of(q):
        for first in range(0, k, kept):
            wanted = min(kept, k - first)
            scores = q.new_empty(parts, total, wanted, dtype=kind)
            found = q.new_empty(scores.shape, dtype=torch.int32)
            search[(batch * heads * blocks * parts,)](
                q, keys, bounds, bound_entries, scores, found,
                heads, count, entries, dims, blocks, parts, run, wanted,
                *strides(q), *strides(keys),
                ROWS=ROWS, COLUMNS=columns, DEPTH=depth, KEPT=kept, WHOLE=dims <= depth, num_warps=WARPS,
            )  # fmt: skip
            if parts > 1:
                part_scores, part_found = scores, found
                scores, found = scores.new_empty(1, total, wanted), found.new_empty(1, total, wanted)
                join[(triton.cdiv(total, ROWS),)](
                    part_scores, part_found, scores, found, total, parts, wanted,
                    ROWS=ROWS, KEPT=kept, num_warps=WARPS,
                )  # fmt: skip
            pieces.append(found[0])
            if first + wanted < k:
                bounds = scores[0].amin(1)
                bound_entries = torch.where(scores[0] == bounds[:, None], found[0], -1).amax(1)
    return torch.cat(pieces, 1).sort(1).values.reshape(batch, heads, count, k)


def _gathering(
    dtype: torch.dtype, k: int, dims: int, value_dims: int, divided: int
) -> tuple[int, dict[str, int]]:
    """Into how many chunks the `divided` elements of results are cut, and what kernels that gather rows are
    compiled for."""
    most = WHOLE // 2 if dtype == torch.float64 or max(dims, value_dims) > WHOLE else WHOLE
    kept, depth, width = padded(k, MOST_KEPT), padded(dims, most), padded(value_dims, most)
    chunks = triton.cdiv(divided, padded(divided, most))
    count = max(1, NUMBERS // (kept * max(depth, width)))
    return chunks, {"ROWS": count, "KEPT": kept, "DEPTH": depth, "WIDTH": width}

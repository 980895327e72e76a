"""Attention between channels (Triton). Definition: ``medkernels.attention.channel``.

One kernel gives products of channels over the sequence, left^T right, which is shared out in runs whose sums
are added up in their order, in float64. Another multiplies rows with a matrix. Half precision is multiplied
as TF32, which holds its digits, so that sums over the sequence do not leave its range.

With P = softmax_rows(scale q^T k) the result is v P^T. Backward, with G its gradient: dV = G P,
dS = P (G^T V - rowsum(P G^T V)), dQ = scale k dS^T, dK = scale q dS. The matrices [D, D] in between are so
small that PyTorch's operations on them cost their launches only.

Derived, not measured: each number of 4 bytes takes part in D multiply-adds, of three products each, so that
up to about D = 64 the memory is the limit.
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
    empty_rows,
    padded,
    rows,
    share,
    strides,
)
from medkernels.kernels.attention_softmax import first_of, read, write
from torch import Tensor

ROWS = 32  # of the sequence at a time
LEAST_RUN, MOST_RUN = 512, 2048  # of a share: sums in float32 of more rows would lose digits
CHANNELS, CHANNELS_FLOAT64 = 64, 32  # of a tile
PRECISION = {  # of products of matrices
    torch.float16: "tf32",
    torch.bfloat16: "tf32",
    torch.float32: "tf32x3",
    torch.float64: "ieee",
}


@triton.jit
def channel_products(
    left, right, sums, heads, length, dims, tiles, parts, run,
    l_batch, l_head, l_row, r_batch, r_head, r_row,
    ROWS: tl.constexpr, CHANNELS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """left^T right of a run of rows, for CHANNELS of the channels on either side."""
    kind: tl.constexpr = sums.dtype.element_ty
    program = tl.program_id(0)
    first_left = program % tiles * CHANNELS
    first_right = program // tiles % tiles * CHANNELS
    part = program // tiles // tiles % parts
    head = program // tiles // tiles // parts
    left_rows = first_of(left, head, heads, l_batch, l_head) + first_left
    right_rows = first_of(right, head, heads, r_batch, r_head) + first_right
    found = tl.zeros([CHANNELS, CHANNELS], kind)
    for first in range(part * run, part * run + tl.minimum(run, length - part * run), ROWS):
        row = first + tl.arange(0, ROWS)
        here = row < length
        a = read(left_rows + row.to(tl.int64) * l_row, here, 0, dims - first_left, CHANNELS).to(kind)
        b = read(right_rows + row.to(tl.int64) * r_row, here, 0, dims - first_right, CHANNELS).to(kind)
        found = tl.dot(tl.trans(a), b, found, input_precision=PRECISION, out_dtype=kind)
    total_heads = tl.num_programs(0) // tiles // tiles // parts
    channel = first_left + tl.arange(0, CHANNELS)
    at = sums + (part * total_heads + head).to(tl.int64) * dims * dims + first_right
    write(at, channel, dims, channel < dims, dims - first_right, found, CHANNELS)


@triton.jit
def times_matrix(
    values, matrices, results, heads, length, dims, blocks, tiles,
    v_batch, v_head, v_row, r_batch, r_head, r_row,
    ROWS: tl.constexpr, CHANNELS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """A block of rows of a head times its matrix, for CHANNELS of the result."""
    kind: tl.constexpr = matrices.dtype.element_ty
    program = tl.program_id(0)
    first = program % tiles * CHANNELS
    block = program // tiles % blocks
    head = program // tiles // blocks
    row = block * ROWS + tl.arange(0, ROWS)
    here = row < length
    row_at = first_of(values, head, heads, v_batch, v_head) + row.to(tl.int64) * v_row
    matrix = matrices + head.to(tl.int64) * dims * dims + first
    channel = tl.arange(0, CHANNELS)
    found = tl.zeros([ROWS, CHANNELS], kind)
    for c in range(0, dims, CHANNELS):
        a = read(row_at, here, c, dims, CHANNELS).to(kind)
        b = read(matrix + (c + channel).to(tl.int64) * dims, c + channel < dims, 0, dims - first, CHANNELS)
        found = tl.dot(a, b, found, input_precision=PRECISION, out_dtype=kind)
    at = first_of(results, head, heads, r_batch, r_head) + first
    write(at, row, r_row, here, dims - first, found, CHANNELS)


def forward(arrays: Sequence[Tensor], options: Sequence[Any]) -> tuple[Tensor, Tensor]:
    """Rows [B, H, L, D], and the weights P, [B, H, D, D]."""
    q, k, v = arrays
    (scale,) = options
    check_values({"q": q, "k": k, "v": v}, q.shape[2], scale)
    weights = torch.softmax(scale * products(q, k), dim=3)
    results = empty_rows(q)
    multiply(v, weights.mT, results)
    return results, weights.to(accumulator(q.dtype))


def backward(
    grad: Tensor, arrays: Sequence[Tensor], outputs: Sequence[Tensor], options: Sequence[Any]
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of q, k and v; one of the rows that is not finite is passed on, not refused."""
    q, k, v = arrays
    (scale,) = options
    weights = outputs[1].double()
    rates = products(grad, v)
    slopes = scale * weights * (rates - (weights * rates).sum(3, keepdim=True))
    d_q, d_k, d_v = (empty_rows(array) for array in (q, k, v))
    multiply(k, slopes.mT, d_q)
    multiply(q, slopes, d_k)
    multiply(grad, weights, d_v)
    return d_q, d_k, d_v


def products(left: Tensor, right: Tensor) -> Tensor:
    """left^T right of each head over all rows, float64 [B, H, D, D]."""
    left, right = rows(left), rows(right)
    batch, heads, length, dims = left.shape
    channels = _channels(left)
    tiles = triton.cdiv(dims, channels)
    programs = batch * heads * tiles * tiles
    run = min(MOST_RUN, share(length, programs, ROWS, LEAST_RUN)[0])
    parts = max(1, triton.cdiv(length, run))
    sums = left.new_empty(parts, batch, heads, dims, dims, dtype=accumulator(left.dtype))
    with torch.cuda.device_of(left):
        if sums.numel():
            channel_products[(programs * parts,)](
                left, right, sums, heads, length, dims, tiles, parts, run, *strides(left), *strides(right),
                ROWS=ROWS, CHANNELS=channels, PRECISION=PRECISION[left.dtype],
            )  # fmt: skip
    return sums.sum(0, dtype=torch.float64)


def multiply(values: Tensor, matrices: Tensor, results: Tensor) -> None:
    """results = values times a matrix for each head, [B, H, D, D]."""
    values, matrices = rows(values), matrices.to(accumulator(values.dtype)).contiguous()
    batch, heads, length, dims = values.shape
    channels = _channels(values)
    blocks, tiles = triton.cdiv(length, ROWS), triton.cdiv(dims, channels)
    with torch.cuda.device_of(values):
        if values.numel():
            times_matrix[(batch * heads * blocks * tiles,)](
                values, matrices, results, heads, length, dims, blocks, tiles,
                *strides(values), *strides(results), ROWS=ROWS, CHANNELS=channels,
                PRECISION=PRECISION[values.dtype],
            )  # fmt: skip


def _channels(array: Tensor) -> int:
    return padded(array.shape[3], CHANNELS_FLOAT64 if array.dtype == torch.float64 else CHANNELS)

"""Softmax attention between sets (Triton). Definition: ``medkernels.attention.set_attention``.

Made for few queries and very many keys, and the reverse: long loops are shared out over programs, whose sums
are added up in a fixed order, so that results are the same in every run. Float32 is multiplied as three
products of TF32 on tensor cores, which keeps nearly all of its digits; half precision with sums in float32.

Derived, not measured: N queries cost N (D + E) multiply-adds for the 4 (D + E) bytes of a key and its value,
so that for a few dozen of them the memory is the limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import triton
from medkernels.kernels.attention_inputs import (
    accumulator,
    check_values,
    empty_rows,
    in_two_parts,
    padded,
    precision,
    rows,
    share,
    strides,
    strides_of_parts,
)
from medkernels.kernels.attention_softmax import attend, merge
from medkernels.kernels.attention_softmax_backward import (
    differentiate_entries,
    differentiate_queries,
    slopes,
)
from torch import Tensor


class Tiles(NamedTuple):
    """Sizes of what a program multiplies at a time, such that nothing spills on sm_80 and sm_90.

    columns : of a tile of scores.
    depth : elements that are held of rows; longer rows are taken in pieces of half as many.
    forward, backward : rows of a tile, by their length: up to half of `depth`, up to `depth`, and more.
    """

    columns: int
    depth: int
    forward: tuple[int, int, int]
    backward: tuple[int, int, int]


TILES = {  # by the bytes of a number
    2: Tiles(64, 64, (64, 64, 32), (64, 64, 16)),
    4: Tiles(32, 64, (64, 64, 32), (32, 16, 16)),
    8: Tiles(16, 32, (32, 32, 16), (32, 32, 16)),
}
LEAST_RUN = 512  # of a share, so that its sums cost little beside it
PARTS_PER_STEP = 64  # that are merged at a time
SLOPES = 16  # of a block


def forward(arrays: Sequence[Tensor], options: Sequence[Any]) -> tuple[Tensor, Tensor]:
    """Rows [B, H, N, E], and the level of each query, [B, H, N]."""
    q, k, v = arrays
    check_values({"q": q, "k": k, "v": v}, q.shape[3], options[0])
    return attend_all(q, k, v, options[0])


def backward(
    grad: Tensor, arrays: Sequence[Tensor], outputs: Sequence[Tensor], options: Sequence[Any]
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of q, k and v."""
    q, k, v = arrays
    gradients = empty_rows(q), empty_rows(k), empty_rows(v)
    differentiate_all(grad, q, k, v, *outputs, options[0], gradients)
    return gradients


def attend_all(q: Tensor, k: Tensor, v: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """What `forward` gives, of values that have been checked."""
    results = empty_rows(q, v.shape[3])
    q, k, v = (rows(array) for array in (q, k, v))
    (batch, heads, count, dims), (entries, value_dims) = q.shape, v.shape[2:]
    kind, choices = accumulator(q.dtype), _choices(q, count, dims, value_dims)
    blocks, chunks = triton.cdiv(count, choices["ROWS"]), triton.cdiv(value_dims, choices["WIDTH"])
    programs = batch * heads * blocks * chunks
    levels = q.new_empty(batch, heads, count, dtype=kind)
    if results.numel() == 0:
        return results, levels
    run, parts = share(entries, programs, choices["COLUMNS"], LEAST_RUN)
    found = (results, levels)
    if parts > 1:
        shape = (batch, heads, count, value_dims)
        found = (q.new_empty(parts, *shape, dtype=kind), levels.new_empty(parts, *levels.shape))
    with torch.cuda.device_of(q):
        attend[(programs * parts,)](
            q, k, v, *found,
            heads, count, entries, dims, value_dims, blocks, parts, run, chunks,
            *strides(q), *strides(k), *strides(v), *strides_of_parts(found[0]), *in_two_parts(scale),
            **choices,
        )  # fmt: skip
        if parts > 1:
            merge[(levels.numel() * chunks,)](
                *found, results, levels, levels.numel(), heads, count, parts, value_dims, chunks,
                *strides(results),
                ALL=triton.next_power_of_2(parts), PARTS=PARTS_PER_STEP, WIDTH=choices["WIDTH"],
            )  # fmt: skip
    return results, levels


def differentiate_all(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    results: Tensor,
    levels: Tensor,
    scale: float,
    gradients: tuple[Tensor, Tensor, Tensor],
) -> None:
    """Fill in the gradients of q, k and v; one of the rows that is not finite is passed on, not refused."""
    d_q, d_k, d_v = gradients
    grad, q, k, v, results = (rows(array) for array in (grad, q, k, v, results))
    levels = levels.contiguous()
    (batch, heads, count, dims), (entries, value_dims) = q.shape, v.shape[2:]
    if results.numel() == 0:
        d_k.zero_()
        d_v.zero_()
        return
    choices = _choices(q, count, dims, value_dims, backward=True)
    slope = torch.empty_like(levels)
    layout = [stride for array in (grad, q, k, v) for stride in strides(array)]

    def launch(kernel: Any, wide: int, long: int, chunks: int, *outputs: Tensor) -> None:
        """Block by block of `wide` rows through a loop that is `long`; shares of it are added up."""
        choices = _choices(q, wide, dims, value_dims, backward=True)
        blocks = triton.cdiv(wide, choices["ROWS"])
        programs = batch * heads * blocks * chunks
        run, parts = share(long, programs, choices["COLUMNS"], LEAST_RUN)
        found = list(outputs)
        if parts > 1:
            found = [q.new_empty(parts, *o.shape, dtype=accumulator(q.dtype)) for o in outputs]
        kernel[(programs * parts,)](
            grad, q, k, v, levels, slope, *found,
            heads, count, entries, dims, value_dims, blocks, parts, run, chunks,
            *layout, *(stride for f in found for stride in strides_of_parts(f)), *in_two_parts(scale),
            **choices,
        )  # fmt: skip
        if parts > 1:
            for output, sums in zip(outputs, found, strict=True):
                output.copy_(sums.sum(0))

    depth, width = choices["DEPTH"], choices["WIDTH"]
    chunks = triton.cdiv(dims, depth)
    with torch.cuda.device_of(q):
        slopes[(triton.cdiv(levels.numel(), SLOPES),)](
            grad, results, slope, levels.numel(), value_dims, heads, count,
            *strides(grad), *strides(results), ROWS=SLOPES, WIDTH=width,
        )  # fmt: skip
        launch(differentiate_queries, count, entries, chunks, d_q)
        launch(differentiate_entries, entries, count, max(chunks, triton.cdiv(value_dims, width)), d_k, d_v)


def _choices(array: Tensor, wide: int, dims: int, value_dims: int, backward: bool = False) -> dict[str, Any]:
    """What kernels are compiled for that take `wide` rows, block by block."""
    tiles = TILES[array.element_size()]
    longest = max(dims, value_dims)
    size = 0 if longest <= tiles.depth // 2 else 1 if longest <= tiles.depth else 2
    most = tiles.depth if size < 2 else tiles.depth // 2
    return {
        "ROWS": padded(wide, (tiles.backward if backward else tiles.forward)[size]),
        "COLUMNS": tiles.columns,
        "DEPTH": padded(dims, most),
        "WIDTH": padded(value_dims, most),
        "WHOLE": size < 2,
        "PRECISION": precision(array.dtype),
    }

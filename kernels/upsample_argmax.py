"""Labels of upsampled logits (Triton). Definition: ``medkernels.segmentation.upsample_argmax``.

A program owns some outputs of one item, keeps the eight places and six weights of each in registers, and goes
over the classes. Neighbouring outputs read the same inputs, from the first-level cache.

Derived, not measured: a class costs an output eight loads and 21 operations of interpolation. Products are
rounded before they are added, as on the CPU, so the labels are the same. Compiled for sm_80 and sm_90,
nothing spills.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from medkernels.kernels.upsampling import BLOCK, check_finite, corners, interpolate, make_grid


@triton.jit
def choose(
    logits, labels, z_first, z_low, z_high, y_first, y_low, y_high, x_first, x_low, x_high,
    classes, depth, height, width, places, to_height, to_width, blocks, BLOCK: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0).to(tl.int64)
    item = program // blocks
    place = (program % blocks).to(tl.int32) * BLOCK + tl.arange(0, BLOCK)
    here = place < places
    a, b, c, d, x0, x1, lz, hz, ly, hy, lx, hx = corners(
        place, here, z_first, z_low, z_high, y_first, y_low, y_high, x_first, x_low, x_high,
        depth, height, width, to_height, to_width,
    )  # fmt: skip
    volume = logits + item * classes * depth * height * width
    best = interpolate(volume, a, b, c, d, x0, x1, here, lz, hz, ly, hy, lx, hx)
    which = tl.zeros([BLOCK], tl.int32)
    for number in range(1, classes):
        volume += depth * height * width
        value = interpolate(volume, a, b, c, d, x0, x1, here, lz, hz, ly, hy, lx, hx)
        which = tl.where(value > best, number, which)
        best = tl.maximum(value, best)
    tl.store(labels + item * places + place, which.to(labels.dtype.element_ty), mask=here)


def upsample_argmax_forward(logits: torch.Tensor, size: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """Labels [B, *size] of this dtype."""
    check_finite(logits)
    labels = torch.empty((len(logits), *size), dtype=dtype, device=logits.device)
    if not len(logits):
        return labels
    grid = make_grid(logits, size)
    blocks = triton.cdiv(grid.places, BLOCK)
    choose[(len(logits) * blocks,)](
        grid.logits, labels, *grid.tables(), *grid.logits.shape[1:], grid.places, *grid.size[1:], blocks,
        BLOCK=BLOCK, enable_fp_fusion=False,
    )  # fmt: skip
    return labels

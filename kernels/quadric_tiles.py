"""Which tiles each ellipse or ellipsoid touches: the lists that the renderer walks.

A primitive is the set |A (x - c)| <= reach with A = diag(1/axes) R^T. Its bounding box gives the tiles it may
touch; one (tile, primitive) entry is written for each, and a stable sort by tile leaves the primitives of a
tile in index order. Entries keep their unsorted place ("slot") as well, where those of one primitive are
contiguous: sums over a primitive are then taken in a fixed order, without atomics.

Boxes are enough: for random ellipses on the three grids of the autoencoder that this renderer was written for
(spacing 8, 16 and 32 on 256x256) they name 10 % more tiles than the ellipses touch, and the renderer leaves
such a tile after its first radius test.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from medkernels.kernels.quadric_checks import flag_values, refuse
from medkernels.kernels.quadric_frames import set_up

PRIMITIVES_PER_PROGRAM = 64
ENTRIES_PER_STEP = 32  # lanes of the one warp that writes or sums a primitive's entries


class Grid(NamedTuple):
    """Canvas and tile extents, in pixels and in tiles, as (x, y, z)."""

    canvas: tuple[int, int, int]
    tile: tuple[int, int, int]

    @property
    def tiles(self) -> tuple[int, int, int]:
        (x, y, z), (tx, ty, tz) = self.canvas, self.tile
        return -(-x // tx), -(-y // ty), -(-z // tz)


class Binned(NamedTuple):
    """Entry lists and the per-primitive rows the renderer reads."""

    frames: torch.Tensor  # [B*K, 8 or 16]: centre, rows of A, opacity
    boxes: torch.Tensor  # [B*K, 6] int32: first tile and number of tiles along x, y, z
    ends: torch.Tensor  # [B*K] int64: one past the last slot of each primitive
    primitives: torch.Tensor  # [entries] int32, sorted by tile
    slots: torch.Tensor  # [entries] int64: unsorted place of each sorted entry
    bounds: torch.Tensor  # [B*tiles + 1] int32: where the entries of each tile begin


@triton.jit
def emit(boxes, ends, keys, primitives, per_image, tiles_x, tiles_y, tiles_z, STEP: tl.constexpr):
    """Write the entries of one primitive: keys[slot] = tile, primitives[slot] = primitive."""
    k = tl.program_id(0).to(tl.int64)
    box = boxes + k * 6
    start_x = tl.load(box)
    start_y = tl.load(box + 1)
    start_z = tl.load(box + 2)
    count_x = tl.load(box + 3)
    count_y = tl.load(box + 4)
    count = count_x * count_y * tl.load(box + 5)
    first_slot = tl.load(ends + k) - count
    first_key = (k // per_image).to(tl.int32) * (tiles_x * tiles_y * tiles_z)
    for i in range(0, count, STEP):
        lane = i + tl.arange(0, STEP)
        x = start_x + lane % count_x
        y = start_y + lane // count_x % count_y
        z = start_z + lane // count_x // count_y
        tl.store(keys + first_slot + lane, first_key + (z * tiles_y + y) * tiles_x + x, mask=lane < count)
        tl.store(primitives + first_slot + lane, k.to(tl.int32), mask=lane < count)


@triton.jit
def sum_slots(values, boxes, ends, sums, width, STEP: tl.constexpr, COLUMNS: tl.constexpr):
    """Rows values[slot, :width] of one primitive added up in float64, always in the same order."""
    k = tl.program_id(0).to(tl.int64)
    box = boxes + k * 6
    stop = tl.load(ends + k)
    start = stop - tl.load(box + 3).to(tl.int64) * tl.load(box + 4) * tl.load(box + 5)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    total = tl.zeros([STEP, COLUMNS], tl.float64)
    for i in range(start, stop, STEP):
        slot = i + tl.arange(0, STEP).to(tl.int64)
        inside = (slot < stop)[:, None] & (column < width)[None, :]
        row = values + slot[:, None] * width
        total += tl.load(row + column[None, :], mask=inside, other=0.0).to(tl.float64)
    tl.store(sums + k * width + column, tl.sum(total, 0), mask=column < width)


def bin_primitives(
    centers: torch.Tensor,
    axes: torch.Tensor,
    turns: torch.Tensor,
    colors: torch.Tensor,
    opacity: torch.Tensor,
    background: torch.Tensor,
    grid: Grid,
    reach: float,
    dtype: torch.dtype,
    check_background: bool,
) -> Binned:
    """Place every primitive on the tile grid. Waits for the device once, to learn the number of entries.

    Raises
    ------
    ValueError
        A value is not finite or out of range, or there are more entries than 32-bit indices hold.
    """
    batch, per_image, dim = centers.shape
    total, device = batch * per_image, centers.device
    tiles = grid.tiles
    frames = torch.empty(total, 8 if dim == 2 else 16, dtype=dtype, device=device)
    boxes = torch.empty(total, 6, dtype=torch.int32, device=device)
    counts = torch.empty(total, dtype=torch.int64, device=device)
    state = torch.zeros(2, dtype=torch.int64, device=device)
    if check_background:
        flag_values(background, state)
    if total:
        tx, ty, tz = grid.tile
        set_up[(triton.cdiv(total, PRIMITIVES_PER_PROGRAM),)](
            centers, axes, turns, colors, opacity, frames, boxes, counts, state,
            total, colors.shape[-1], reach, *grid.canvas,
            DIM=dim, ROW=frames.shape[1], TX=tx, TY=ty, TZ=tz, BLOCK=PRIMITIVES_PER_PROGRAM,
            num_warps=2, enable_fp_fusion=True,
        )  # fmt: skip
    ends = counts.cumsum(0)
    bad, entries = state.tolist()
    if bad:
        refuse(centers, axes, turns, colors, opacity, background)
    cells = batch * math.prod(tiles)
    if max(entries, cells) >= 2**31:
        raise ValueError(
            f"axes and size give {entries} overlaps with {cells} tiles, more than 32-bit indices hold: "
            "render fewer images at a time, or smaller ones"
        )
    keys = torch.empty(entries, dtype=torch.int32, device=device)
    primitives = torch.empty(entries, dtype=torch.int32, device=device)
    if entries:
        emit[(total,)](
            boxes, ends, keys, primitives, per_image, *tiles,
            STEP=ENTRIES_PER_STEP, num_warps=1, enable_fp_fusion=True,
        )  # fmt: skip
    keys, slots = torch.sort(keys, stable=True)
    cell = torch.arange(cells + 1, dtype=torch.int32, device=device)
    bounds = torch.searchsorted(keys, cell, out_int32=True)
    return Binned(frames, boxes, ends, primitives[slots], slots, bounds)

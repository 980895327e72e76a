"""Linear interpolation of logits between the cells of a coarser grid (Triton), for `upsample_argmax` and
`upsample_dice_ce`. Definition: ``medkernels.segmentation.upsample_argmax``.

An axis is a table of the first of the two inputs of each output, and both weights, rounded as on the CPU.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import triton
import triton.language as tl

BLOCK = 256  # outputs of a program
MAX_PLACES = 2**31 - 2**16  # of one class: with a block to spare they are 32-bit integers


class Axis(NamedTuple):
    """Of each output the first input and both weights; of each input the first output, with the end."""

    first: torch.Tensor
    low: torch.Tensor
    high: torch.Tensor
    starts: torch.Tensor


class Grid(NamedTuple):
    """Logits [B, C, D, H, W], how each axis is resampled, and the size of the outputs."""

    logits: torch.Tensor
    axes: tuple[Axis, Axis, Axis]
    size: tuple[int, int, int]

    @property
    def places(self) -> int:
        return self.size[0] * self.size[1] * self.size[2]

    def tables(self) -> list[torch.Tensor]:
        """What kernels read of the axes."""
        return [table for axis in self.axes for table in axis[:3]]


def computed_dtype(logits: torch.Tensor) -> torch.dtype:
    """What is computed with."""
    return torch.float64 if logits.dtype == torch.float64 else torch.float32


def make_grid(logits: torch.Tensor, size: tuple[int, ...]) -> Grid:
    """Logits in two or three dimensions, C-contiguous, to be upsampled to `size`."""
    volumes = logits.contiguous().reshape(*logits.shape[:2], *[1] * (5 - logits.ndim), *logits.shape[2:])
    depth, height, width = [1] * (3 - len(size)) + list(size)
    grid = Grid(
        volumes,
        tuple(
            _axis(int(n), int(to), computed_dtype(logits), logits.device)
            for n, to in zip(volumes.shape[2:], (depth, height, width), strict=True)
        ),
        (depth, height, width),
    )
    for name, sizes in (("size", grid.size), ("logits", volumes.shape[2:])):
        if math.prod(sizes) > MAX_PLACES:
            raise ValueError(f"{name} must be of at most {MAX_PLACES} places on a GPU, but is {tuple(sizes)}")
    return grid


def _axis(from_size: int, to_size: int, dtype: torch.dtype, device: torch.device) -> Axis:
    outputs = torch.arange(to_size, dtype=torch.float64)
    places = ((from_size / to_size) * (outputs + 0.5) - 0.5).clamp(min=0)
    first = places.long().clamp(max=from_size - 1)
    high = torch.where(first + 1 < from_size, places - first, 0.0)
    starts = torch.searchsorted(first, torch.arange(from_size + 1))
    kinds = (torch.int32, dtype, dtype, torch.int32)
    tables = (first, 1 - high, high, starts)
    return Axis(*(table.to(kind).to(device) for table, kind in zip(tables, kinds, strict=True)))


def check_finite(logits: torch.Tensor) -> None:
    """Refuse NaN and infinity, as the CPU does."""
    finite = torch.isfinite(logits)
    if not bool(finite.all()):
        at = int((~finite).flatten().nonzero()[0])
        raise ValueError(
            f"logits must be finite, but element {at} (in row-major order) is {float(logits.flatten()[at])}"
        )


@triton.jit
def corners(
    place, here, z_first, z_low, z_high, y_first, y_low, y_high, x_first, x_low, x_high,
    depth, height, width, to_height, to_width,
):  # fmt: skip
    """Of outputs, numbered within their item: the places of the eight inputs around, and the weights."""
    x = place % to_width
    y = place // to_width % to_height
    z = place // to_width // to_height
    z0 = tl.load(z_first + z, mask=here, other=0)
    y0 = tl.load(y_first + y, mask=here, other=0)
    x0 = tl.load(x_first + x, mask=here, other=0)
    z1 = tl.minimum(z0 + 1, depth - 1)
    y1 = tl.minimum(y0 + 1, height - 1)
    x1 = tl.minimum(x0 + 1, width - 1)
    lz = tl.load(z_low + z, mask=here, other=0)
    hz = tl.load(z_high + z, mask=here, other=0)
    ly = tl.load(y_low + y, mask=here, other=0)
    hy = tl.load(y_high + y, mask=here, other=0)
    lx = tl.load(x_low + x, mask=here, other=0)
    hx = tl.load(x_high + x, mask=here, other=0)
    a = (z0 * height + y0) * width
    b = (z0 * height + y1) * width
    c = (z1 * height + y0) * width
    d = (z1 * height + y1) * width
    return a, b, c, d, x0, x1, lz, hz, ly, hy, lx, hx


@triton.jit
def side(volume, a, b, c, d, x, here, lz, hz, ly, hy):
    """Interpolated along z, then y, at input x of the rows a (z0, y0), b (z0, y1), c (z1, y0), d (z1, y1)."""
    kind: tl.constexpr = lz.dtype
    first = lz * tl.load(volume + a + x, mask=here, other=0).to(kind)
    first += hz * tl.load(volume + c + x, mask=here, other=0).to(kind)
    second = lz * tl.load(volume + b + x, mask=here, other=0).to(kind)
    second += hz * tl.load(volume + d + x, mask=here, other=0).to(kind)
    return ly * first + hy * second


@triton.jit
def interpolate(volume, a, b, c, d, x0, x1, here, lz, hz, ly, hy, lx, hx):
    """The interpolated logits of the class whose logits start at `volume`."""
    before = side(volume, a, b, c, d, x0, here, lz, hz, ly, hy)
    after = side(volume, a, b, c, d, x1, here, lz, hz, ly, hy)
    return lx * before + hx * after

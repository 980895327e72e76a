"""The drawing of ellipses and ellipsoids, and its gradients, on tensors of one device."""

from __future__ import annotations

import math
import struct
from typing import NamedTuple

import torch
import triton
from medkernels.kernels.quadric_frames import chain_rule
from medkernels.kernels.quadric_pixels import render
from medkernels.kernels.quadric_pixels_backward import render_backward
from medkernels.kernels.quadric_tiles import (
    ENTRIES_PER_STEP,
    PRIMITIVES_PER_PROGRAM,
    Binned,
    Grid,
    bin_primitives,
    sum_slots,
)

TILE_2D = (16, 16, 1)
TILE_3D = (8, 8, 4)
CHANNELS_PER_PROGRAM = 4  # what the renderer's named registers hold


def in_two_parts(value: float) -> tuple[float, float]:
    """A float64 as the sum of two float32, the only floating-point type of a kernel's scalar arguments."""
    high = struct.unpack("f", struct.pack("f", value))[0]
    return high, value - high


class Scene(NamedTuple):
    """Contiguous inputs; turns are angles [B,K] or quaternions [B,K,4], size is (H,W) or (D,H,W)."""

    centers: torch.Tensor
    axes: torch.Tensor
    turns: torch.Tensor
    colors: torch.Tensor
    opacity: torch.Tensor
    background: torch.Tensor
    size: tuple[int, ...]
    composition: str
    profile: str
    tau: float

    @property
    def grid(self) -> Grid:
        x_first = tuple(reversed(self.size))
        return Grid((*x_first, 1), TILE_2D) if len(x_first) == 2 else Grid(x_first, TILE_3D)

    @property
    def dtype(self) -> torch.dtype:
        return torch.float64 if self.centers.dtype == torch.float64 else torch.float32

    @property
    def reach(self) -> float:
        """Normalised radius beyond which a primitive is absent, part of the definition."""
        return 1.0 + 6.0 * self.tau if self.profile == "sigmoid" else math.sqrt(12.0)

    @property
    def flat(self) -> bool:
        return self.background.dim() == 2

    @property
    def groups(self) -> tuple[int, int]:
        """Number of channel groups, channels in each."""
        channels = self.colors.shape[-1]
        groups = max(1, -(-channels // CHANNELS_PER_PROGRAM))
        return groups, max(1, -(-channels // groups))

    def bin(self, check_background: bool) -> Binned:
        return bin_primitives(*self[:6], self.grid, self.reach, self.dtype, check_background)

    def launch(self) -> tuple[tuple[int, int], tuple[float | int, ...], dict[str, int | bool]]:
        """What both renderers are launched with: programs, run-time sizes, compile-time choices."""
        grid, (groups, channels) = self.grid, self.groups
        pixels, total = math.prod(self.size), self.colors.shape[-1]
        strides = (total, 1, 0) if self.flat else (total * pixels, pixels, 1)
        look = (*in_two_parts(1.0 / self.tau), *in_two_parts(self.reach * self.reach))
        sizes = (total, *grid.canvas, pixels, *grid.tiles, *strides, *look)
        tx, ty, tz = grid.tile
        choices = {
            "DIM": len(self.size),
            "ROW": 8 if len(self.size) == 2 else 16,
            "UNION": self.composition == "union",
            "SIGMOID": self.profile == "sigmoid",
            "CHANNELS": channels,
            "TX": tx,
            "TY": ty,
            "TZ": tz,
            "num_warps": 1,
            "enable_fp_fusion": True,
        }
        return (self.colors.shape[0] * math.prod(grid.tiles), groups), sizes, choices


def scene(
    centers: torch.Tensor,
    axes: torch.Tensor,
    turns: torch.Tensor,
    colors: torch.Tensor,
    opacity: torch.Tensor,
    background: torch.Tensor,
    size: tuple[int, ...],
    composition: str,
    profile: str,
    tau: float,
) -> Scene:
    """Gather checked arguments; copies only what is not contiguous."""
    tensors = (t.detach().contiguous() for t in (centers, axes, turns, colors, opacity, background))
    return Scene(*tensors, tuple(size), composition, profile, float(tau))


def draw(scene: Scene) -> torch.Tensor:
    """Image [B,C,*size] in the dtype of the centers."""
    batch, _, channels = scene.colors.shape
    image = torch.empty(batch, channels, *scene.size, dtype=scene.centers.dtype, device=scene.centers.device)
    with torch.cuda.device_of(image):
        binned = scene.bin(check_background=True)
        programs, sizes, choices = scene.launch()
        if image.numel():
            render[programs](
                binned.frames, scene.colors, scene.background, image, binned.primitives, binned.bounds,
                *sizes, **choices,
            )  # fmt: skip
    return image


def differentiate(scene: Scene, grad_image: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Gradients of centers, axes, turns, colors, opacity and background, each like its input.

    A gradient of the image that is not finite is passed on, not refused: loss scaling relies on it.
    """
    batch, per_image, channels = scene.colors.shape
    total, device, dtype = batch * per_image, scene.colors.device, scene.dtype
    groups, group_channels = scene.groups
    width = (5 if len(scene.size) == 2 else 9) + 1 + group_channels
    gradients = [torch.zeros_like(t, dtype=dtype) for t in scene[:5]]
    tiles = math.prod(scene.grid.tiles)
    shape = (batch, tiles, channels) if scene.flat else scene.background.shape
    fading = torch.empty(shape, dtype=dtype if scene.flat else scene.background.dtype, device=device)
    with torch.cuda.device_of(fading):
        binned = scene.bin(check_background=False)
        programs, sizes, choices = scene.launch()
        entries = binned.slots.numel()
        # Zero, because tiles that only a primitive's box touches are left out.
        rows = torch.zeros(entries, groups * width, dtype=dtype, device=device)
        if fading.numel():
            render_backward[programs](
                binned.frames, scene.colors, scene.background, grad_image.contiguous(), fading, rows,
                binned.primitives, binned.slots, binned.bounds, *sizes, FLAT=scene.flat, **choices,
            )  # fmt: skip
        if entries:
            sums = torch.empty(total, groups * width, dtype=torch.float64, device=device)
            columns = 16
            sum_slots[(total, triton.cdiv(groups * width, columns))](
                rows, binned.boxes, binned.ends, sums, groups * width,
                STEP=ENTRIES_PER_STEP, COLUMNS=columns, num_warps=1, enable_fp_fusion=True,
            )  # fmt: skip
            chain_rule[(triton.cdiv(total, PRIMITIVES_PER_PROGRAM),)](
                sums, scene.axes, scene.turns, *gradients, total, channels, groups,
                DIM=len(scene.size), CHANNELS=group_channels, BLOCK=PRIMITIVES_PER_PROGRAM,
                num_warps=2, enable_fp_fusion=True,
            )  # fmt: skip
    gradients.append(fading.sum(dim=1) if scene.flat else fading)
    return tuple(d.to(t.dtype) for d, t in zip(gradients, scene[:6], strict=True))

"""Checks of values on the device: kernels only raise a flag, the host words the error once it is up."""

from __future__ import annotations

from typing import NoReturn

import torch
import triton
import triton.language as tl

VALUES_PER_PROGRAM = 4096


@triton.jit
def is_finite(value):
    return tl.abs(value) < float("inf")


@triton.jit
def axis_in_range(axis):
    """The bounds of the C++ kernels; the upper one lets 1e30 rounded to float32 pass."""
    return (axis >= 1e-30) & (axis <= 1.0001e30)


@triton.jit
def flag_not_finite(values, flag, total, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    value = tl.load(values + i, mask=i < total, other=0.0).to(tl.float32)
    if tl.max(is_finite(value).to(tl.int32) ^ 1, 0) > 0:
        tl.store(flag, 1)


def flag_values(values: torch.Tensor, flag: torch.Tensor) -> None:
    """Set flag[0] if any value is NaN or infinite."""
    if values.numel():
        flag_not_finite[(triton.cdiv(values.numel(), VALUES_PER_PROGRAM),)](
            values, flag, values.numel(), BLOCK=VALUES_PER_PROGRAM, enable_fp_fusion=True
        )


def refuse(
    centers: torch.Tensor,
    axes: torch.Tensor,
    turns: torch.Tensor,
    colors: torch.Tensor,
    opacity: torch.Tensor,
    background: torch.Tensor,
) -> NoReturn:
    """Raise the ValueError that names the first bad value; one of the arguments has one."""
    turn = "angles" if centers.shape[-1] == 2 else "rotations"
    for name, values, wanted, good in (
        ("centers", centers, "finite", centers.isfinite()),
        (
            "axes",
            axes,
            "finite and greater than 0 (from 1e-30 to 1e30)",
            (axes.double() >= 1e-30) & (axes.double() <= 1.0001e30),
        ),
        ("colors", colors, "finite", colors.isfinite()),
        ("opacity", opacity, "at least 0 and less than 1", (opacity >= 0) & (opacity < 1)),
        ("background", background, "finite", background.isfinite()),
        (turn, turns, "finite", turns.isfinite()),
    ):
        bad = (~good).flatten().nonzero()
        if len(bad):
            i = int(bad[0])
            value = values.flatten()[i].item()
            raise ValueError(f"{name} must be {wanted}, but element {i} (in row-major order) is {value:g}")
    zero = int((turns == 0).all(dim=-1).flatten().nonzero()[0])
    raise ValueError(f"{turn} must be quaternions of non-zero length, but number {zero} is all zeros")

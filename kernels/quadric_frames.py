"""From the parameters of primitives to inverse maps and boxes, and from sums over pixels back to gradients.

One lane a primitive, in float64: there are few primitives, and squares of any float32 axis stay in range.
"""

from __future__ import annotations

import triton
import triton.language as tl
from medkernels.kernels.quadric_checks import axis_in_range, is_finite


@triton.jit
def ellipse_axes(axes, angles, k, here):
    """Semi-axes a_l, unit directions e_l, no quaternion: an ellipse is an ellipsoid whose third axis is z."""
    a0 = tl.load(axes + k * 2, mask=here, other=1.0).to(tl.float64)
    a1 = tl.load(axes + k * 2 + 1, mask=here, other=1.0).to(tl.float64)
    angle = tl.load(angles + k, mask=here, other=0.0).to(tl.float64)
    cos = tl.cos(angle)
    sin = tl.sin(angle)
    zero = tl.zeros_like(cos)
    one = zero + 1.0
    return a0, a1, one, cos, sin, zero, -sin, cos, zero, zero, zero, one, zero, zero, zero, zero


@triton.jit
def ellipsoid_axes(axes, rotations, k, here):
    """Semi-axes a_l, unit directions e_l, and the unit quaternion over the length of the given one."""
    a0 = tl.load(axes + k * 3, mask=here, other=1.0).to(tl.float64)
    a1 = tl.load(axes + k * 3 + 1, mask=here, other=1.0).to(tl.float64)
    a2 = tl.load(axes + k * 3 + 2, mask=here, other=1.0).to(tl.float64)
    w = tl.load(rotations + k * 4, mask=here, other=1.0).to(tl.float64)
    x = tl.load(rotations + k * 4 + 1, mask=here, other=0.0).to(tl.float64)
    y = tl.load(rotations + k * 4 + 2, mask=here, other=0.0).to(tl.float64)
    z = tl.load(rotations + k * 4 + 3, mask=here, other=0.0).to(tl.float64)
    norm = tl.sqrt(w * w + x * x + y * y + z * z)
    w = w / norm
    x = x / norm
    y = y / norm
    z = z / norm
    return (
        a0, a1, a2,
        1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y + w * z), 2.0 * (x * z - w * y),
        2.0 * (x * y - w * z), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z + w * x),
        2.0 * (x * z + w * y), 2.0 * (y * z - w * x), 1.0 - 2.0 * (x * x + y * y),
        w / norm, x / norm, y / norm, z / norm,
    )  # fmt: skip


@triton.jit
def principal_axes(axes, turns, k, here, DIM: tl.constexpr):
    return ellipse_axes(axes, turns, k, here) if DIM == 2 else ellipsoid_axes(axes, turns, k, here)


@triton.jit
def tile_span(center, half, pixels, EXTENT: tl.constexpr):
    """First tile and number of tiles that [center - half, center + half] touches along one direction."""
    # A hair wider than the cut-off, so that only the renderer's own radius test decides what is drawn.
    slack = 1e-3 + 1e-5 * half
    first = tl.minimum(tl.maximum(tl.ceil(center - half - slack), 0.0), pixels).to(tl.int32)
    last = tl.maximum(tl.minimum(tl.floor(center + half + slack), pixels - 1.0), -1.0).to(tl.int32)
    start = first // EXTENT
    count = tl.where(first <= last, last // EXTENT - start + 1, 0)
    return start, count


@triton.jit
def set_up(
    centers, axes, turns, colors, opacity, frames, boxes, counts, state,
    total, channels, reach, width, height, depth,
    DIM: tl.constexpr, ROW: tl.constexpr, TX: tl.constexpr, TY: tl.constexpr, TZ: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Inverse map, box and tile count of each primitive; state gets a flag for bad values, the entries."""
    k = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    here = k < total
    a0, a1, a2, e00, e01, e02, e10, e11, e12, e20, e21, e22, _w, _x, _y, _z = principal_axes(
        axes, turns, k, here, DIM
    )
    cx = tl.load(centers + k * DIM, mask=here, other=0.0).to(tl.float64)
    cy = tl.load(centers + k * DIM + 1, mask=here, other=0.0).to(tl.float64)
    cz = cx * 0.0
    if DIM == 3:
        cz = tl.load(centers + k * DIM + 2, mask=here, other=0.0).to(tl.float64)
    seen = tl.load(opacity + k, mask=here, other=0.0).to(tl.float64)

    sound = is_finite(cx) & is_finite(cy) & is_finite(cz) & is_finite(e00 + e11 + e22)
    sound = sound & axis_in_range(a0) & axis_in_range(a1) & axis_in_range(a2) & (seen >= 0.0) & (seen < 1.0)
    for c in range(channels):
        sound = sound & is_finite(tl.load(colors + k * channels + c, mask=here, other=0.0).to(tl.float32))

    half_x = reach * tl.sqrt(a0 * e00 * a0 * e00 + a1 * e10 * a1 * e10 + a2 * e20 * a2 * e20)
    half_y = reach * tl.sqrt(a0 * e01 * a0 * e01 + a1 * e11 * a1 * e11 + a2 * e21 * a2 * e21)
    half_z = reach * tl.sqrt(a0 * e02 * a0 * e02 + a1 * e12 * a1 * e12 + a2 * e22 * a2 * e22)
    # A faulty primitive is not placed: the caller raises once it has read state.
    start_x, count_x = tile_span(tl.where(sound, cx, 0.0), tl.where(sound, half_x, 0.0), width, TX)
    start_y, count_y = tile_span(tl.where(sound, cy, 0.0), tl.where(sound, half_y, 0.0), height, TY)
    start_z, count_z = tile_span(tl.where(sound, cz, 0.0), tl.where(sound, half_z, 0.0), depth, TZ)
    count = count_x.to(tl.int64) * count_y * count_z

    row = frames + k * ROW
    tl.store(row, cx, mask=here)
    tl.store(row + 1, cy, mask=here)
    if DIM == 2:
        tl.store(row + 2, e00 / a0, mask=here)
        tl.store(row + 3, e01 / a0, mask=here)
        tl.store(row + 4, e10 / a1, mask=here)
        tl.store(row + 5, e11 / a1, mask=here)
        tl.store(row + 6, seen, mask=here)
    else:
        tl.store(row + 2, cz, mask=here)
        tl.store(row + 3, e00 / a0, mask=here)
        tl.store(row + 4, e01 / a0, mask=here)
        tl.store(row + 5, e02 / a0, mask=here)
        tl.store(row + 6, e10 / a1, mask=here)
        tl.store(row + 7, e11 / a1, mask=here)
        tl.store(row + 8, e12 / a1, mask=here)
        tl.store(row + 9, e20 / a2, mask=here)
        tl.store(row + 10, e21 / a2, mask=here)
        tl.store(row + 11, e22 / a2, mask=here)
        tl.store(row + 12, seen, mask=here)
    box = boxes + k * 6
    tl.store(box, start_x, mask=here)
    tl.store(box + 1, start_y, mask=here)
    tl.store(box + 2, start_z, mask=here)
    tl.store(box + 3, count_x, mask=here)
    tl.store(box + 4, count_y, mask=here)
    tl.store(box + 5, count_z, mask=here)
    tl.store(counts + k, count, mask=here)
    # Neither a flag nor an integer sum depends on the order of the programs.
    if tl.min((sound | (k >= total)).to(tl.int32), 0) == 0:
        tl.store(state, 1)
    tl.atomic_add(state + 1, tl.sum(tl.where(here, count, 0), 0))


@triton.jit
def chain_rule(
    sums, axes, turns, d_centers, d_axes, d_turns, d_colors, d_opacity, total, channels, groups,
    DIM: tl.constexpr, CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Gradients of the primitives from their summed rows."""
    moments: tl.constexpr = 5 if DIM == 2 else 9
    width: tl.constexpr = moments + 1 + CHANNELS
    k = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    here = k < total
    a0, a1, a2, e00, e01, e02, e10, e11, e12, e20, e21, e22, qw, qx, qy, qz = principal_axes(
        axes, turns, k, here, DIM
    )
    zeros = tl.zeros([BLOCK], tl.float64)
    u = zeros
    v = zeros
    w = zeros
    uu = zeros
    uv = zeros
    uw = zeros
    vv = zeros
    vw = zeros
    ww = zeros
    seen = zeros
    for group in range(groups):
        row = sums + (k * groups + group) * width
        u += tl.load(row, mask=here, other=0.0)
        v += tl.load(row + 1, mask=here, other=0.0)
        if DIM == 2:
            uu += tl.load(row + 2, mask=here, other=0.0)
            uv += tl.load(row + 3, mask=here, other=0.0)
            vv += tl.load(row + 4, mask=here, other=0.0)
        else:
            w += tl.load(row + 2, mask=here, other=0.0)
            uu += tl.load(row + 3, mask=here, other=0.0)
            uv += tl.load(row + 4, mask=here, other=0.0)
            uw += tl.load(row + 5, mask=here, other=0.0)
            vv += tl.load(row + 6, mask=here, other=0.0)
            vw += tl.load(row + 7, mask=here, other=0.0)
            ww += tl.load(row + 8, mask=here, other=0.0)
        seen += tl.load(row + moments, mask=here, other=0.0)
        for c in tl.static_range(CHANNELS):
            channel = group * CHANNELS + c
            color = tl.load(row + moments + 1 + c, mask=here, other=0.0)
            tl.store(
                d_colors + k * channels + channel, color, mask=tl.where(here, channel, channels) < channels
            )
    tl.store(d_opacity + k, seen, mask=here)

    u = -2.0 * u / a0
    v = -2.0 * v / a1
    w = -2.0 * w / a2
    tl.store(d_centers + k * DIM, u * e00 + v * e10 + w * e20, mask=here)
    tl.store(d_centers + k * DIM + 1, u * e01 + v * e11 + w * e21, mask=here)
    tl.store(d_axes + k * DIM, -2.0 * uu / a0, mask=here)
    tl.store(d_axes + k * DIM + 1, -2.0 * vv / a1, mask=here)
    # dL/d(small rotation about e2, e1, e0), the torque.
    about2 = 2.0 * (a1 / a0 - a0 / a1) * uv
    if DIM == 2:
        tl.store(d_turns + k, about2, mask=here)
    else:
        tl.store(d_centers + k * DIM + 2, u * e02 + v * e12 + w * e22, mask=here)
        tl.store(d_axes + k * DIM + 2, -2.0 * ww / a2, mask=here)
        about1 = 2.0 * (a0 / a2 - a2 / a0) * uw
        about0 = 2.0 * (a2 / a1 - a1 / a2) * vw
        tx = about0 * e00 + about1 * e10 + about2 * e20
        ty = about0 * e01 + about1 * e11 + about2 * e21
        tz = about0 * e02 + about1 * e12 + about2 * e22
        # A change dq of the unit quaternion q = (w, v) turns by 2 (w dv - dw v - dv x v).
        tl.store(d_turns + k * 4, -2.0 * (tx * qx + ty * qy + tz * qz), mask=here)
        tl.store(d_turns + k * 4 + 1, 2.0 * (qw * tx - (qy * tz - qz * ty)), mask=here)
        tl.store(d_turns + k * 4 + 2, 2.0 * (qw * ty - (qz * tx - qx * tz)), mask=here)
        tl.store(d_turns + k * 4 + 3, 2.0 * (qw * tz - (qx * ty - qy * tx)), mask=here)

"""Soft ellipses and ellipsoids over a background: one renderer for both.

A program is one warp and owns one tile of one image: it walks the tile's entries (see ``quadric_tiles``) and
keeps what every pixel needs in registers; nothing per primitive and pixel is ever stored.

Derived, not measured: one warp per 256 pixels (8 a thread) lets reductions stay inside the warp, without
barriers, and gives each thread eight independent chains to hide latency; up to 4 colour channels live in
registers, further channels are handled by further programs. Compiled for sm_80 and sm_90, neither direction
spills or uses shared memory.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def locate(
    tile,
    width,
    height,
    depth,
    tiles_x,
    tiles_y,
    tiles_z,
    TX: tl.constexpr,
    TY: tl.constexpr,
    TZ: tl.constexpr,
):
    """Image number, and of each lane: coordinates, whether they lie on the canvas, place in a channel."""
    lane = tl.arange(0, TX * TY * TZ)
    x = tile % tiles_x * TX + lane % TX
    y = tile // tiles_x % tiles_y * TY + lane // TX % TY
    z = tile // tiles_x // tiles_y % tiles_z * TZ + lane // (TX * TY)
    here = (x < width) & (y < height) & (z < depth)
    pixel = (z.to(tl.int64) * height + y) * width + x
    return (tile // tiles_x // tiles_y // tiles_z).to(tl.int64), x, y, z, here, pixel


@triton.jit
def local_coordinates(row, x, y, z, DIM: tl.constexpr):
    """u = A (x - c), rho^2 = |u|^2 + 1e-6 and the primitive's opacity."""
    dx = x - tl.load(row)
    dy = y - tl.load(row + 1)
    if DIM == 2:
        u = tl.load(row + 2) * dx + tl.load(row + 3) * dy
        v = tl.load(row + 4) * dx + tl.load(row + 5) * dy
        w = tl.zeros_like(u)
        seen = tl.load(row + 6)
    else:
        dz = z - tl.load(row + 2)
        u = tl.load(row + 3) * dx + tl.load(row + 4) * dy + tl.load(row + 5) * dz
        v = tl.load(row + 6) * dx + tl.load(row + 7) * dy + tl.load(row + 8) * dz
        w = tl.load(row + 9) * dx + tl.load(row + 10) * dy + tl.load(row + 11) * dz
        seen = tl.load(row + 12)
    return u, v, w, u * u + v * v + w * w + 1e-6, seen


@triton.jit
def falloff(rho2, inside, sharpness, SIGMOID: tl.constexpr):
    """Profile p(rho) and dp/d(rho^2), both zero outside the cut-off."""
    rho2 = tl.where(inside, rho2, 1.0)
    if SIGMOID:
        inverse = tl.rsqrt(rho2)
        p = 1.0 / (1.0 + tl.exp((rho2 * inverse - 1.0) * sharpness))
        slope = -0.5 * sharpness * inverse * p * (1.0 - p)
    else:
        p = tl.exp(-0.5 * rho2)
        slope = -0.5 * p
    return tl.where(inside, p, 0.0), tl.where(inside, slope, 0.0)


@triton.jit
def passes(alpha):
    """1 - alpha, kept above zero so that it can be divided out again where a primitive is fully opaque."""
    return tl.maximum(1.0 - alpha, 1e-20)


@triton.jit
def tint(colors, channel, channels, DTYPE: tl.constexpr):
    return tl.load(colors + channel, mask=channel < channels, other=0.0).to(DTYPE)


@triton.jit
def shown_channel(here, channel, channels):
    return tl.where(here, channel, channels) < channels


@triton.jit
def read(image, channel, channels, stride, here, DTYPE: tl.constexpr):
    return tl.load(image + channel * stride, mask=shown_channel(here, channel, channels), other=0.0).to(DTYPE)


@triton.jit
def read_group(image, channel, channels, stride, here, DTYPE: tl.constexpr, CHANNELS: tl.constexpr):
    """Up to 4 channels, in registers of their own; zeros for those beyond the group."""
    b0 = read(image, channel, channels, stride, here, DTYPE)
    b1 = tl.zeros_like(b0)
    b2 = tl.zeros_like(b0)
    b3 = tl.zeros_like(b0)
    if CHANNELS > 1:
        b1 = read(image, channel + 1, channels, stride, here, DTYPE)
    if CHANNELS > 2:
        b2 = read(image, channel + 2, channels, stride, here, DTYPE)
    if CHANNELS > 3:
        b3 = read(image, channel + 3, channels, stride, here, DTYPE)
    return b0, b1, b2, b3


@triton.jit
def render(
    frames, colors, background, image, primitives, bounds,
    channels, width, height, depth, pixels, tiles_x, tiles_y, tiles_z,
    background_b, background_c, background_p, sharpness, sharpness_rest, reach_squared, reach_squared_rest,
    DIM: tl.constexpr, ROW: tl.constexpr, UNION: tl.constexpr, SIGMOID: tl.constexpr, CHANNELS: tl.constexpr,
    TX: tl.constexpr, TY: tl.constexpr, TZ: tl.constexpr,
):  # fmt: skip
    """Image of one tile and up to CHANNELS channels."""
    dtype: tl.constexpr = frames.dtype.element_ty
    tile = tl.program_id(0)
    channel = tl.program_id(1).to(tl.int64) * CHANNELS
    batch, column, line, sheet, here, pixel = locate(
        tile, width, height, depth, tiles_x, tiles_y, tiles_z, TX, TY, TZ
    )
    x = column.to(dtype)
    y = line.to(dtype)
    z = sheet.to(dtype)
    sharpness = tl.zeros([TX * TY * TZ], dtype) + sharpness + sharpness_rest
    reach_squared = tl.zeros([TX * TY * TZ], dtype) + reach_squared + reach_squared_rest

    zeros = tl.zeros([TX * TY * TZ], dtype)
    ones = zeros + 1.0
    through = ones
    weight = zeros + 1e-6
    ground = background + batch * background_b + pixel * background_p
    # c0..c3: sum(alpha color) for "union", the image so far for "over".
    c0 = zeros
    c1 = zeros
    c2 = zeros
    c3 = zeros
    if not UNION:
        c0, c1, c2, c3 = read_group(ground, channel, channels, background_c, here, dtype, CHANNELS)

    for i in range(tl.load(bounds + tile), tl.load(bounds + tile + 1)):
        k = tl.load(primitives + i).to(tl.int64)
        _u, _v, _w, rho2, seen = local_coordinates(frames + k * ROW, x, y, z, DIM)
        inside = rho2 <= reach_squared
        # Boxes are looser than the primitives: skip the tiles that only the box touches.
        if tl.max(inside.to(tl.int32), 0) > 0:
            p, _slope = falloff(rho2, inside, sharpness, SIGMOID)
            alpha = seen * p
            kept = ones if UNION else 1.0 - alpha
            if UNION:
                through = through * passes(alpha)
                weight += alpha
            tints = colors + k * channels
            c0 = kept * c0 + alpha * tint(tints, channel, channels, dtype)
            if CHANNELS > 1:
                c1 = kept * c1 + alpha * tint(tints, channel + 1, channels, dtype)
            if CHANNELS > 2:
                c2 = kept * c2 + alpha * tint(tints, channel + 2, channels, dtype)
            if CHANNELS > 3:
                c3 = kept * c3 + alpha * tint(tints, channel + 3, channels, dtype)

    if UNION:
        share = (1.0 - through) / weight
        b0, b1, b2, b3 = read_group(ground, channel, channels, background_c, here, dtype, CHANNELS)
        c0 = through * b0 + share * c0
        c1 = through * b1 + share * c1
        c2 = through * b2 + share * c2
        c3 = through * b3 + share * c3
    out = image + batch * channels * pixels + pixel
    tl.store(out + channel * pixels, c0, mask=shown_channel(here, channel, channels))
    if CHANNELS > 1:
        tl.store(out + (channel + 1) * pixels, c1, mask=shown_channel(here, channel + 1, channels))
    if CHANNELS > 2:
        tl.store(out + (channel + 2) * pixels, c2, mask=shown_channel(here, channel + 2, channels))
    if CHANNELS > 3:
        tl.store(out + (channel + 3) * pixels, c3, mask=shown_channel(here, channel + 3, channels))

"""Soft ellipses and ellipsoids over a background, forward and backward: one renderer for both.

A program is one warp and owns one tile of one image: it walks the tile's entries (see ``quadric_tiles``) and
keeps what every pixel needs in registers: nothing per primitive and pixel is ever stored. The backward program
walks them twice: first to know the finished pixel, then to turn dL/dpixel into sums per entry: moments of
q = dL/d(rho^2) in the primitive's own coordinates u = A (x - c), which do not cancel for thin primitives.

Derived, not measured: one warp per 256 pixels (8 a thread) lets reductions stay inside the warp, without
barriers, and gives each thread eight independent chains to hide latency; up to 4 colour channels live in
registers, further channels are handled by further programs.
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
def falloff(rho2, inside, tau, SIGMOID: tl.constexpr):
    """Profile p(rho) and dp/d(rho^2), both zero outside the cut-off."""
    if SIGMOID:
        rho = tl.sqrt(tl.where(inside, rho2, 1.0))
        p = 1.0 / (1.0 + tl.exp((rho - 1.0) / tau))
        slope = -p * (1.0 - p) / (2.0 * tau * rho)
    else:
        p = tl.exp(-0.5 * tl.where(inside, rho2, 0.0))
        slope = -0.5 * p
    return tl.where(inside, p, 0.0), tl.where(inside, slope, 0.0)


@triton.jit
def passes(alpha):
    """1 - alpha, kept above zero so that it can be divided out again where a primitive is fully opaque."""
    return tl.maximum(1.0 - alpha, 1e-20)


@triton.jit
def add_exactly(high, low, term):
    """(high + low) + term with the rounding error of the sum caught in low (Knuth's two-sum)."""
    total = high + term
    back = total - high
    return total, low + ((high - (total - back)) + (term - back))


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
def render(
    frames, colors, background, image, primitives, bounds,
    channels, width, height, depth, pixels, tiles_x, tiles_y, tiles_z,
    background_b, background_c, background_p, tau, reach_squared,
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

    zeros = tl.zeros([TX * TY * TZ], dtype)
    ones = zeros + 1.0
    through = ones
    weight = zeros + 1e-6
    ground = background + batch * background_b + pixel * background_p
    b0 = read(ground, channel, channels, background_c, here, dtype)
    b1 = zeros
    b2 = zeros
    b3 = zeros
    if CHANNELS > 1:
        b1 = read(ground, channel + 1, channels, background_c, here, dtype)
    if CHANNELS > 2:
        b2 = read(ground, channel + 2, channels, background_c, here, dtype)
    if CHANNELS > 3:
        b3 = read(ground, channel + 3, channels, background_c, here, dtype)
    # c0..c3: sum(alpha color) for "union", the image so far for "over".
    c0 = zeros if UNION else b0
    c1 = zeros if UNION else b1
    c2 = zeros if UNION else b2
    c3 = zeros if UNION else b3

    for i in range(tl.load(bounds + tile), tl.load(bounds + tile + 1)):
        k = tl.load(primitives + i).to(tl.int64)
        _u, _v, _w, rho2, seen = local_coordinates(frames + k * ROW, x, y, z, DIM)
        inside = rho2 <= reach_squared
        # Boxes are looser than the primitives: skip the tiles that only the box touches.
        if tl.max(inside.to(tl.int32), 0) > 0:
            p, _slope = falloff(rho2, inside, tau, SIGMOID)
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


@triton.jit
def receive(
    incoming, ground, fading, channel, channels, pixels, background_c, here, through, share, mean,
    direct, common, mixed, DTYPE: tl.constexpr, FLAT: tl.constexpr,
):  # fmt: skip
    """Read dL/dimage of one channel, store the background's gradient, add to the sums over channels."""
    g = read(incoming, channel, channels, pixels, here, DTYPE)
    b = read(ground, channel, channels, background_c, here, DTYPE)
    if FLAT:
        tl.store(fading + channel, tl.sum(through * g, 0), mask=channel < channels)
    else:
        tl.store(fading + channel * pixels, through * g, mask=shown_channel(here, channel, channels))
    return share * g, direct + through * g * (mean - b), common - share * g * mean, mixed + g * b


@triton.jit
def render_backward(
    frames, colors, background, grad_image, grad_background, rows, primitives, slots, bounds,
    channels, width, height, depth, pixels, tiles_x, tiles_y, tiles_z,
    background_b, background_c, background_p, tau, reach_squared,
    DIM: tl.constexpr, ROW: tl.constexpr, UNION: tl.constexpr, SIGMOID: tl.constexpr, CHANNELS: tl.constexpr,
    FLAT: tl.constexpr, TX: tl.constexpr, TY: tl.constexpr, TZ: tl.constexpr,
):  # fmt: skip
    """Background gradient of one tile, and per entry a row of sums over its pixels.

    A row is, per group of channels: moments of q (DIM = 2: u v uu uv vv, DIM = 3: u v w uu uv uw vv vw ww),
    the gradient of the opacity, the gradients of the group's colours.
    """
    dtype: tl.constexpr = frames.dtype.element_ty
    moments: tl.constexpr = 5 if DIM == 2 else 9
    tile = tl.program_id(0)
    channel = tl.program_id(1).to(tl.int64) * CHANNELS
    batch, column, line, sheet, here, pixel = locate(
        tile, width, height, depth, tiles_x, tiles_y, tiles_z, TX, TY, TZ
    )
    x = column.to(dtype)
    y = line.to(dtype)
    z = sheet.to(dtype)
    start = tl.load(bounds + tile)
    stop = tl.load(bounds + tile + 1)

    # First walk: what is left of the background; sum(alpha color) for "union", sum log(1 - alpha) for "over".
    zeros = tl.zeros([TX * TY * TZ], dtype)
    ones = zeros + 1.0
    through = ones
    weight = zeros + 1e-6
    high = zeros
    low = zeros
    c0 = zeros
    c1 = zeros
    c2 = zeros
    c3 = zeros
    for i in range(start, stop):
        k = tl.load(primitives + i).to(tl.int64)
        _u, _v, _w, rho2, seen = local_coordinates(frames + k * ROW, x, y, z, DIM)
        inside = rho2 <= reach_squared
        if tl.max(inside.to(tl.int32), 0) > 0:
            p, _slope = falloff(rho2, inside, tau, SIGMOID)
            alpha = seen * p
            if UNION:
                through = through * passes(alpha)
                weight += alpha
                tints = colors + k * channels
                c0 += alpha * tint(tints, channel, channels, dtype)
                if CHANNELS > 1:
                    c1 += alpha * tint(tints, channel + 1, channels, dtype)
                if CHANNELS > 2:
                    c2 += alpha * tint(tints, channel + 2, channels, dtype)
                if CHANNELS > 3:
                    c3 += alpha * tint(tints, channel + 3, channels, dtype)
            else:
                high, low = add_exactly(high, low, tl.log(passes(alpha)))
    share = ones
    if UNION:
        share = (1.0 - through) / weight
    else:
        through = tl.exp(high + low)

    # g0..g3: dL/dimage times a colour's share.
    # "union": dL/dalpha = direct / (1 - alpha) + common + color . g.
    # "over": dL/dalpha = S (color . g - mixed), mixed = g . (image below), S = what later ones let through.
    incoming = grad_image + batch * channels * pixels + pixel
    ground = background + batch * background_b + pixel * background_p
    if FLAT:
        fading = grad_background + tile.to(tl.int64) * channels
    else:
        fading = grad_background + batch * channels * pixels + pixel
    g1 = zeros
    g2 = zeros
    g3 = zeros
    g0, direct, common, mixed = receive(
        incoming, ground, fading, channel, channels, pixels, background_c, here, through, share,
        c0 / weight, zeros, zeros, zeros, dtype, FLAT,
    )  # fmt: skip
    if CHANNELS > 1:
        g1, direct, common, mixed = receive(
            incoming, ground, fading, channel + 1, channels, pixels, background_c, here, through, share,
            c1 / weight, direct, common, mixed, dtype, FLAT,
        )  # fmt: skip
    if CHANNELS > 2:
        g2, direct, common, mixed = receive(
            incoming, ground, fading, channel + 2, channels, pixels, background_c, here, through, share,
            c2 / weight, direct, common, mixed, dtype, FLAT,
        )  # fmt: skip
    if CHANNELS > 3:
        g3, direct, common, mixed = receive(
            incoming, ground, fading, channel + 3, channels, pixels, background_c, here, through, share,
            c3 / weight, direct, common, mixed, dtype, FLAT,
        )  # fmt: skip

    # Second walk, in index order: high + low becomes the log of what the primitives to come let through.
    for i in range(start, stop):
        k = tl.load(primitives + i).to(tl.int64)
        u, v, w, rho2, seen = local_coordinates(frames + k * ROW, x, y, z, DIM)
        inside = rho2 <= reach_squared
        if tl.max(inside.to(tl.int32), 0) > 0:
            p, slope = falloff(rho2, inside, tau, SIGMOID)
            alpha = seen * p
            keep = passes(alpha)
            tints = colors + k * channels
            tinted = tint(tints, channel, channels, dtype) * g0
            if CHANNELS > 1:
                tinted += tint(tints, channel + 1, channels, dtype) * g1
            if CHANNELS > 2:
                tinted += tint(tints, channel + 2, channels, dtype) * g2
            if CHANNELS > 3:
                tinted += tint(tints, channel + 3, channels, dtype) * g3
            if UNION:
                d_alpha = direct / keep + common + tinted
                shown = alpha
            else:
                high, low = add_exactly(high, low, -tl.log(keep))
                later = tl.exp(high + low)
                d_alpha = later * (tinted - mixed)
                mixed = alpha * tinted + (1.0 - alpha) * mixed
                shown = later * alpha
            q = d_alpha * seen * slope
            u = tl.where(inside, u, 0.0)
            v = tl.where(inside, v, 0.0)
            width_of_group: tl.constexpr = moments + 1 + CHANNELS
            slot = tl.load(slots + i)
            row = rows + (slot * tl.num_programs(1) + tl.program_id(1)) * width_of_group
            tl.store(row, tl.sum(q * u, 0))
            tl.store(row + 1, tl.sum(q * v, 0))
            if DIM == 2:
                tl.store(row + 2, tl.sum(q * u * u, 0))
                tl.store(row + 3, tl.sum(q * u * v, 0))
                tl.store(row + 4, tl.sum(q * v * v, 0))
            else:
                w = tl.where(inside, w, 0.0)
                tl.store(row + 2, tl.sum(q * w, 0))
                tl.store(row + 3, tl.sum(q * u * u, 0))
                tl.store(row + 4, tl.sum(q * u * v, 0))
                tl.store(row + 5, tl.sum(q * u * w, 0))
                tl.store(row + 6, tl.sum(q * v * v, 0))
                tl.store(row + 7, tl.sum(q * v * w, 0))
                tl.store(row + 8, tl.sum(q * w * w, 0))
            row += moments
            tl.store(row, tl.sum(d_alpha * p, 0))
            tl.store(row + 1, tl.sum(shown * g0, 0))
            if CHANNELS > 1:
                tl.store(row + 2, tl.sum(shown * g1, 0))
            if CHANNELS > 2:
                tl.store(row + 3, tl.sum(shown * g2, 0))
            if CHANNELS > 3:
                tl.store(row + 4, tl.sum(shown * g3, 0))

"""Gradient of the renderer in ``quadric_pixels``: background gradients a pixel, sums a (tile, primitive).

The program of a tile walks its entries twice: first to know the finished pixel, then to turn dL/dpixel into
one row of sums per entry. The geometry enters through moments of q = dL/d(rho^2) in the primitive's own
coordinates u = A (x - c), which do not cancel for thin primitives; ``quadric_frames.chain_rule`` turns them
into gradients.
"""

from __future__ import annotations

import triton
import triton.language as tl
from medkernels.kernels.quadric_pixels import (
    falloff,
    local_coordinates,
    locate,
    passes,
    read,
    shown_channel,
    tint,
)


@triton.jit
def add_exactly(high, low, term):
    """(high + low) + term with the rounding error of the sum caught in low (Knuth's two-sum)."""
    total = high + term
    back = total - high
    return total, low + ((high - (total - back)) + (term - back))


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
    background_b, background_c, background_p, sharpness, sharpness_rest, reach_squared, reach_squared_rest,
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
    sharpness = tl.zeros([TX * TY * TZ], dtype) + sharpness + sharpness_rest
    reach_squared = tl.zeros([TX * TY * TZ], dtype) + reach_squared + reach_squared_rest
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
            p, _slope = falloff(rho2, inside, sharpness, SIGMOID)
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
            p, slope = falloff(rho2, inside, sharpness, SIGMOID)
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

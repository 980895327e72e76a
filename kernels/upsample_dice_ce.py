"""Dice and entropy of upsampled logits (Triton). Definition: ``medkernels.segmentation.upsample_dice_ce``.

Forward, `log_sums` goes over the classes for each output and leaves the logarithm of its sum of exponentials;
then the programs of `class_sums` each add up the probabilities of one class over a stretch of outputs.
Backward, `offsets` goes over the classes once more for what the softmax subtracts at each output, and
`carry_back` carries the slopes of one class between two planes and two rows of inputs to these rows. Programs
that share inputs run one after the other, in four launches. No atomics: sums have one order.

Derived, not measured: besides the logits, memory is two numbers an output and some sums. Compiled for sm_80
and sm_90, nothing spills.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from medkernels.kernels.upsampling import (
    BLOCK,
    Grid,
    check_finite,
    computed_dtype,
    corners,
    interpolate,
    make_grid,
    side,
)

TILES = 32  # most blocks of outputs that a program of `class_sums` goes over
NODES, OUTPUTS = 16, 64  # inputs of a row, and outputs at a time, of a program of `carry_back`
SMOOTHING = 1e-5


@triton.jit
def log_sums(
    logits, labels, sums, entropies, z_first, z_low, z_high, y_first, y_low, y_high, x_first, x_low, x_high,
    classes, depth, height, width, places, to_height, to_width, blocks, BLOCK: tl.constexpr,
):  # fmt: skip
    """Of each output the logarithm of the sum of exponentials; of each program the sum of -log p_label."""
    program = tl.program_id(0).to(tl.int64)
    item = program // blocks
    place = (program % blocks).to(tl.int32) * BLOCK + tl.arange(0, BLOCK)
    here = place < places
    a, b, c, d, x0, x1, lz, hz, ly, hy, lx, hx = corners(
        place, here, z_first, z_low, z_high, y_first, y_low, y_high, x_first, x_low, x_high,
        depth, height, width, to_height, to_width,
    )  # fmt: skip
    label = tl.load(labels + item * places + place, mask=here, other=-1)
    volume = logits + item * classes * depth * height * width
    top = interpolate(volume, a, b, c, d, x0, x1, here, lz, hz, ly, hy, lx, hx)
    own = top  # the logit of the label
    total = tl.full([BLOCK], 1.0, top.dtype)
    for number in range(1, classes):
        volume += depth * height * width
        value = interpolate(volume, a, b, c, d, x0, x1, here, lz, hz, ly, hy, lx, hx)
        less = tl.exp(-tl.abs(value - top))
        total = tl.where(value > top, total * less + 1, total + less)
        top = tl.maximum(value, top)
        own = tl.where(label == number, value, own)
    log_total = tl.log(total)
    tl.store(sums + item * places + place, top + log_total, mask=here)
    entropy = tl.where(label >= 0, (top - own) + log_total, 0.0)
    tl.store(entropies + program, tl.sum(entropy.to(tl.float64), 0))


@triton.jit
def class_sums(
    logits, labels, sums, results, z_first, z_low, z_high, y_first, y_low, y_high, x_first, x_low, x_high,
    classes, depth, height, width, places, to_height, to_width, stretches,
    BLOCK: tl.constexpr, TILES: tl.constexpr,
):  # fmt: skip
    """Sums of p y, p^2 and y of one class over a stretch of outputs that count: [B, C, stretches, 3]."""
    program = tl.program_id(0).to(tl.int64)
    stretch = (program % stretches).to(tl.int32)
    number = (program // stretches % classes).to(tl.int32)
    item = program // stretches // classes
    volume = logits + (item * classes + number) * depth * height * width
    kind: tl.constexpr = sums.dtype.element_ty
    products = tl.zeros([BLOCK], kind)
    squares = tl.zeros([BLOCK], kind)
    counts = tl.zeros([BLOCK], tl.int32)
    for tile in range(TILES):
        place = (stretch * TILES + tile) * BLOCK + tl.arange(0, BLOCK)
        here = place < places
        a, b, c, d, x0, x1, lz, hz, ly, hy, lx, hx = corners(
            place, here, z_first, z_low, z_high, y_first, y_low, y_high, x_first, x_low, x_high,
            depth, height, width, to_height, to_width,
        )  # fmt: skip
        label = tl.load(labels + item * places + place, mask=here, other=-1)
        log_sum = tl.load(sums + item * places + place, mask=here, other=0)
        p = tl.exp(interpolate(volume, a, b, c, d, x0, x1, here, lz, hz, ly, hy, lx, hx) - log_sum)
        p = tl.where(label >= 0, p, 0.0)
        products += tl.where(label == number, p, 0.0)
        squares += p * p
        counts += (label == number).to(tl.int32)
    tl.store(results + program * 3, tl.sum(products.to(tl.float64), 0))
    tl.store(results + program * 3 + 1, tl.sum(squares.to(tl.float64), 0))
    tl.store(results + program * 3 + 2, tl.sum(counts, 0).to(tl.float64))


@triton.jit
def offsets(
    logits, labels, sums, factors, results,
    z_first, z_low, z_high, y_first, y_low, y_high, x_first, x_low, x_high,
    classes, depth, height, width, places, to_height, to_width, blocks, BLOCK: tl.constexpr,
):  # fmt: skip
    """What is added to the slope at each output: g - sum over classes of p G, 0 where it does not count.

    `factors` holds for each item the slope g of the entropy, then for each class those of p y and of p^2.
    """
    program = tl.program_id(0).to(tl.int64)
    item = program // blocks
    place = (program % blocks).to(tl.int32) * BLOCK + tl.arange(0, BLOCK)
    here = place < places
    a, b, c, d, x0, x1, lz, hz, ly, hy, lx, hx = corners(
        place, here, z_first, z_low, z_high, y_first, y_low, y_high, x_first, x_low, x_high,
        depth, height, width, to_height, to_width,
    )  # fmt: skip
    label = tl.load(labels + item * places + place, mask=here, other=-1)
    log_sum = tl.load(sums + item * places + place, mask=here, other=0)
    volume = logits + item * classes * depth * height * width
    factor = factors + item * (2 * classes + 1)
    result = tl.zeros([BLOCK], log_sum.dtype) + tl.load(factor)
    for number in range(classes):
        p = tl.exp(interpolate(volume, a, b, c, d, x0, x1, here, lz, hz, ly, hy, lx, hx) - log_sum)
        slope = tl.load(factor + 2 + 2 * number) * p
        slope += tl.where(label == number, tl.load(factor + 1 + 2 * number), 0.0)
        result -= p * slope
        volume += depth * height * width
    tl.store(results + item * places + place, tl.where(label >= 0, result, 0.0), mask=here)


@triton.jit
def carry_back(
    logits, labels, sums, factors, added, gradient,
    z_first, z_low, z_high, y_first, y_low, y_high, x_first, x_low, x_high, z_starts, y_starts, x_starts,
    classes, depth, height, width, places, to_height, to_width, odd_plane, odd_row, planes, rows, groups,
    NODES: tl.constexpr, OUTPUTS: tl.constexpr,
):  # fmt: skip
    """Adds the slopes of one class between two planes and two rows of inputs to some inputs of these rows."""
    program = tl.program_id(0).to(tl.int64)
    node = (program % groups).to(tl.int32) * NODES
    y0 = (program // groups % rows).to(tl.int32) * 2 + odd_row
    z0 = (program // groups // rows % planes).to(tl.int32) * 2 + odd_plane
    number = (program // groups // rows // planes % classes).to(tl.int32)
    item = program // groups // rows // planes // classes
    y1 = tl.minimum(y0 + 1, height - 1)
    z1 = tl.minimum(z0 + 1, depth - 1)
    offset = (item * classes + number) * depth * height * width
    volume = logits + offset
    a = (z0 * height + y0) * width
    b = (z0 * height + y1) * width
    c = (z1 * height + y0) * width
    d = (z1 * height + y1) * width
    factor = factors + item * (2 * classes + 1)
    entropy = tl.load(factor)
    of_product = tl.load(factor + 1 + 2 * number)
    of_square = tl.load(factor + 2 + 2 * number)
    kind: tl.constexpr = sums.dtype.element_ty
    nodes = node + tl.arange(0, NODES)
    to_a = tl.zeros([NODES], kind)
    to_b = to_a
    to_c = to_a
    to_d = to_a
    begin = tl.load(x_starts + tl.maximum(node - 1, 0))
    end = tl.load(x_starts + tl.minimum(node + NODES, width))
    for at in range(begin, end, OUTPUTS):
        x = at + tl.arange(0, OUTPUTS)
        here = x < end
        x0 = tl.load(x_first + x, mask=here, other=0)
        x1 = tl.minimum(x0 + 1, width - 1)
        lx = tl.load(x_low + x, mask=here, other=0)
        hx = tl.load(x_high + x, mask=here, other=0)
        from_a = tl.zeros([OUTPUTS], kind)
        from_b = from_a
        from_c = from_a
        from_d = from_a
        for z in range(tl.load(z_starts + z0), tl.load(z_starts + z0 + 1)):
            lz = tl.load(z_low + z)
            hz = tl.load(z_high + z)
            for y in range(tl.load(y_starts + y0), tl.load(y_starts + y0 + 1)):
                ly = tl.load(y_low + y)
                hy = tl.load(y_high + y)
                place = item * places + (z * to_height + y) * to_width + x
                label = tl.load(labels + place, mask=here, other=-1)
                log_sum = tl.load(sums + place, mask=here, other=0)
                value = lx * side(volume, a, b, c, d, x0, here, lz, hz, ly, hy)
                value += hx * side(volume, a, b, c, d, x1, here, lz, hz, ly, hy)
                p = tl.exp(value - log_sum)
                slope = p * (tl.where(label >= 0, of_square, 0.0) * p)
                slope += p * tl.load(added + place, mask=here, other=0)
                slope += tl.where(label == number, of_product * p - entropy, 0.0)
                slope = tl.where(here, slope, 0.0)
                from_a += lz * ly * slope
                from_b += lz * hy * slope
                from_c += hz * ly * slope
                from_d += hz * hy * slope
        weight = tl.where(x0[None, :] == nodes[:, None], lx[None, :], 0.0)
        weight += tl.where((x0 + 1)[None, :] == nodes[:, None], hx[None, :], 0.0)
        to_a += tl.sum(weight * from_a[None, :], 1)
        to_b += tl.sum(weight * from_b[None, :], 1)
        to_c += tl.sum(weight * from_c[None, :], 1)
        to_d += tl.sum(weight * from_d[None, :], 1)
    # Beyond the last row or plane nothing is carried: its weights are 0.
    inside = nodes < width
    gradient += offset + nodes
    tl.store(gradient + a, tl.load(gradient + a, mask=inside, other=0) + to_a, mask=inside)
    inside_b = inside & (y1 > y0)
    tl.store(gradient + b, tl.load(gradient + b, mask=inside_b, other=0) + to_b, mask=inside_b)
    inside_c = inside & (z1 > z0)
    tl.store(gradient + c, tl.load(gradient + c, mask=inside_c, other=0) + to_c, mask=inside_c)
    inside_d = inside_b & inside_c
    tl.store(gradient + d, tl.load(gradient + d, mask=inside_d, other=0) + to_d, mask=inside_d)


def upsample_dice_ce_forward(
    logits: torch.Tensor, labels: torch.Tensor, include_background: bool, ignore_index: int | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Both losses [B, 2], how many places count [B], and sums of p y, p^2 and y, [B, 3, C] in float64."""
    check_finite(logits)
    own_labels = _labels(labels, logits.shape[1], ignore_index)
    grid = make_grid(logits, tuple(labels.shape[1:]))
    log_totals, entropy = _log_sums(grid, own_labels)
    items, classes = logits.shape[:2]
    tiles = min(TILES, triton.next_power_of_2(triton.cdiv(grid.places, BLOCK)))
    stretches = triton.cdiv(grid.places, BLOCK * tiles)
    parts = torch.empty((items, classes, stretches, 3), dtype=torch.float64, device=logits.device)
    class_sums[(items * classes * stretches,)](
        grid.logits, own_labels, log_totals, parts, *grid.tables(), *_sizes(grid), stretches,
        BLOCK=BLOCK, TILES=tiles,
    )  # fmt: skip
    sums = parts.sum(2).transpose(1, 2).contiguous()
    first = 0 if include_background else 1
    dice = ((2 * sums[:, 0] + SMOOTHING) / (sums[:, 1] + sums[:, 2] + SMOOTHING))[:, first:].mean(1)
    losses = torch.stack([entropy, 1 - dice], 1).to(computed_dtype(logits))
    return losses, sums[:, 2].sum(1).long(), sums


def upsample_dice_ce_backward(
    grad: torch.Tensor,
    logits: torch.Tensor,
    labels: torch.Tensor,
    sums: torch.Tensor,
    include_background: bool,
    ignore_index: int | None,
) -> torch.Tensor:
    """The gradient of the logits, from that of the losses."""
    own_labels = _labels(labels, logits.shape[1], ignore_index)
    grid = make_grid(logits, tuple(labels.shape[1:]))
    log_totals, _ = _log_sums(grid, own_labels)
    factors = _factors(grad.double(), sums, include_background).to(log_totals.dtype)
    added = torch.empty_like(log_totals)
    blocks = triton.cdiv(grid.places, BLOCK)
    offsets[(len(logits) * blocks,)](
        grid.logits,
        own_labels,
        log_totals,
        factors,
        added,
        *grid.tables(),
        *_sizes(grid),
        blocks,
        BLOCK=BLOCK,
    )
    gradient = torch.zeros(grid.logits.shape, dtype=log_totals.dtype, device=logits.device)
    depth, height, width = grid.logits.shape[2:]
    groups = triton.cdiv(width, NODES)
    for odd_plane in range(min(2, depth)):
        for odd_row in range(min(2, height)):
            planes, rows = (depth + 1 - odd_plane) // 2, (height + 1 - odd_row) // 2
            carry_back[(logits.shape[0] * logits.shape[1] * planes * rows * groups,)](
                grid.logits, own_labels, log_totals, factors, added, gradient, *grid.tables(),
                *(axis.starts for axis in grid.axes), *_sizes(grid), odd_plane, odd_row, planes, rows, groups,
                NODES=NODES, OUTPUTS=OUTPUTS,
            )  # fmt: skip
    return gradient.to(logits.dtype).reshape(logits.shape)


def _sizes(grid: Grid) -> tuple[int, ...]:
    return (*grid.logits.shape[1:], grid.places, *grid.size[1:])


def _log_sums(grid: Grid, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What `log_sums` finds, and the entropy of each item."""
    items, blocks = len(grid.logits), triton.cdiv(grid.places, BLOCK)
    device = grid.logits.device
    sums = torch.empty((items, grid.places), dtype=computed_dtype(grid.logits), device=device)
    entropies = torch.empty((items, blocks), dtype=torch.float64, device=device)
    log_sums[(items * blocks,)](
        grid.logits, labels, sums, entropies, *grid.tables(), *_sizes(grid), blocks, BLOCK=BLOCK
    )
    return sums, entropies.sum(1)


def _factors(grad: torch.Tensor, sums: torch.Tensor, include_background: bool) -> torch.Tensor:
    """Of each item the slope of the entropy, then for each class those of p y and of p^2."""
    first = 0 if include_background else 1
    share = 2 * grad[:, 1:] / (sums.shape[2] - first)
    inverse = 1 / (sums[:, 1] + sums[:, 2] + SMOOTHING)
    inverse[:, :first] = 0
    slopes = torch.stack([-share * inverse, share * (2 * sums[:, 0] + SMOOTHING) * inverse.square()], 2)
    return torch.cat([grad[:, :1], slopes.flatten(1)], 1).contiguous()


def _labels(labels: torch.Tensor, classes: int, ignored: int | None) -> torch.Tensor:
    """Labels [B, places] as int32, -1 where they do not count; others that are no class are refused."""
    flat = labels.flatten(1).to(torch.int64)
    counts = torch.ones_like(flat, dtype=torch.bool) if ignored is None else flat != ignored
    good = ~counts | ((flat >= 0) & (flat < classes))
    if not bool(good.all()):
        at = int((~good).flatten().nonzero()[0])
        wanted = f"from 0 to {classes - 1}" + ("" if ignored is None else f" or {ignored}")
        raise ValueError(
            f"labels must be {wanted}, but element {at} (in row-major order) is {int(flat.flatten()[at])}"
        )
    return torch.where(counts, flat, -1).to(torch.int32)

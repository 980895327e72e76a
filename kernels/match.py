"""The two nearest descriptors of each descriptor (Triton). Definition: ``medkernels.features.match``.

Scores of a block of queries against a block of targets are a product of small matrices; they are folded into
the four best of each query as they arise, and never stored. The score of a query a and a target b rises as
|a - b| falls: a.b - |b|^2 / 2 in float32 for numbers, 2 a.b - |b|^2 in 32-bit integers for bytes less 128.
A second kernel decides among the best four by distances in float64, added up in the order of the CPU's code;
queries for which rounding may have hidden a nearer target are compared with all targets by a third.

Derived, not measured: a target costs each query D multiply-adds and about ten operations of folding, so that
numbers are bound by the float32 rate and bytes by the folding. Compiled for sm_80 and sm_90, nothing spills.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import triton
import triton.language as tl

KEPT = tl.constexpr(4)  # best scores of a query: two are wanted, the others show how near the runners-up come
LAST = tl.constexpr(2**62)  # more than any index
QUERIES, TARGETS = 64, 64  # of a block
DEPTH_NUMBERS, DEPTH_BYTES = 16, 64  # elements of a descriptor that are multiplied at a time
WARPS_NUMBERS, WARPS_BYTES = 8, 4  # of a block; with 4 the products of numbers would not stay in registers
LONGEST_BYTES = 16384  # up to here 32-bit integers hold every score
WANTED_PROGRAMS = 4  # for each multiprocessor; with fewer blocks of queries the targets are shared out too


@triton.jit
def insert(score, index, s0, s1, s2, s3, i0, i1, i2, i3):
    """The best four and one more; of equal scores those that came first stay first."""
    above0 = score > s0
    above1 = score > s1
    above2 = score > s2
    above3 = score > s3
    i3 = tl.where(above2, i2, tl.where(above3, index, i3))
    s3 = tl.where(above2, s2, tl.where(above3, score, s3))
    i2 = tl.where(above1, i1, tl.where(above2, index, i2))
    s2 = tl.where(above1, s1, tl.where(above2, score, s2))
    i1 = tl.where(above0, i0, tl.where(above1, index, i1))
    s1 = tl.where(above0, s0, tl.where(above1, score, s1))
    i0 = tl.where(above0, index, i0)
    s0 = tl.where(above0, score, s0)
    return s0, s1, s2, s3, i0, i1, i2, i3


@triton.jit
def best_scores(
    queries, targets, biases, tasks, scores, indices, width,
    BYTES: tl.constexpr, NONE: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    """The best four targets, among some, of one block of queries; rows are padded with zeros to `width`, a
    multiple of DEPTH. A task is the first query, their end, the first target, their end, and where the
    results of query 0 would lie. Indices are counted from the first target."""
    task = tasks + tl.program_id(0).to(tl.int64) * 5
    query = tl.load(task) + tl.arange(0, ROWS)
    here = query < tl.load(task + 1)
    first_target = tl.load(task + 2)
    count = (tl.load(task + 3) - first_target).to(tl.int32)
    kind: tl.constexpr = biases.dtype.element_ty
    s0 = tl.full([ROWS], NONE, kind)
    s1 = s0
    s2 = s0
    s3 = s0
    i0 = tl.full([ROWS], -1, tl.int32)
    i1 = i0
    i2 = i0
    i3 = i0
    column = tl.arange(0, COLUMNS)
    element = tl.arange(0, DEPTH)
    left = queries + query[:, None] * width + element[None, :]
    right = targets + (first_target + column)[None, :] * width + element[:, None]
    biases += first_target + column
    for first in range(0, count, COLUMNS):
        there = column < count - first
        products = tl.zeros([ROWS, COLUMNS], kind)
        for k in range(0, width, DEPTH):
            a = tl.load(left + k, mask=here[:, None], other=0)
            b = tl.load(right + k, mask=there[None, :], other=0)
            if BYTES:
                products = tl.dot(a, b, products, out_dtype=tl.int32)
            else:
                products = tl.dot(a, b, products, input_precision="ieee")
        if BYTES:
            products += products
        bias = tl.load(biases + first, mask=there, other=NONE)
        block = tl.where(there[None, :], products + bias[None, :], NONE)
        top, at = tl.max(block, 1, return_indices=True)
        while tl.max((top > s3).to(tl.int32), 0) > 0:
            s0, s1, s2, s3, i0, i1, i2, i3 = insert(top, first + at, s0, s1, s2, s3, i0, i1, i2, i3)
            block = tl.where(column[None, :] == at[:, None], NONE, block)
            top, at = tl.max(block, 1, return_indices=True)
        right += COLUMNS * width.to(tl.int64)
    out = (tl.load(task + 4) + query) * KEPT
    tl.store(scores + out, s0, mask=here)
    tl.store(scores + out + 1, s1, mask=here)
    tl.store(scores + out + 2, s2, mask=here)
    tl.store(scores + out + 3, s3, mask=here)
    tl.store(indices + out, tl.where(i0 < 0, -1, i0 + first_target), mask=here)
    tl.store(indices + out + 1, tl.where(i1 < 0, -1, i1 + first_target), mask=here)
    tl.store(indices + out + 2, tl.where(i2 < 0, -1, i2 + first_target), mask=here)
    tl.store(indices + out + 3, tl.where(i3 < 0, -1, i3 + first_target), mask=here)


@triton.jit
def squared_distance(first, second, here, length, ROWS: tl.constexpr):
    """Squared distances of rows of numbers at addresses [ROWS], added up as on the CPU: in eight lanes."""
    sums = tl.zeros([ROWS, 8], tl.float64)
    for k in range(0, length, 8):
        at = k + tl.arange(0, 8)
        inside = here[:, None] & (at < length)[None, :]
        a = tl.load(first[:, None] + at[None, :], mask=inside, other=0).to(tl.float64)
        b = tl.load(second[:, None] + at[None, :], mask=inside, other=0).to(tl.float64)
        sums += (a - b) * (a - b)
    fours = tl.sum(tl.reshape(sums, [ROWS, 2, 4]), 1)
    return tl.sum(tl.sum(tl.reshape(fours, [ROWS, 2, 2]), 1), 1)


@triton.jit
def nearer(distance, index, d0, d1, i0):
    """The two least distances and the index of the first, with one more; equal ones rank by index."""
    first = (distance < d0) | ((distance == d0) & (index < i0))
    d1 = tl.where(first, d0, tl.minimum(d1, distance))
    i0 = tl.where(first, index, i0)
    return tl.where(first, distance, d0), d1, i0


@triton.jit
def decide(
    queries, targets, scores, indices, margins, nearest, distances, seconds, unsure,
    count, parts, stride, length,
    BYTES: tl.constexpr, NONE: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """Index and squared distance of the nearest target, and squared distance of the second nearest, from the
    best of all parts, `stride` apart. `unsure` is set where more targets may be as near."""
    query = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    here = query < count
    kind: tl.constexpr = scores.dtype.element_ty
    s0 = tl.full([ROWS], NONE, kind)
    s1 = s0
    s2 = s0
    s3 = s0
    i0 = tl.full([ROWS], -1, tl.int64)
    i1 = i0
    i2 = i0
    i3 = i0
    scores += query * KEPT
    indices += query * KEPT
    for _part in range(parts):
        for kept in tl.static_range(KEPT):
            score = tl.load(scores + kept, mask=here, other=NONE)
            index = tl.load(indices + kept, mask=here, other=-1)
            s0, s1, s2, s3, i0, i1, i2, i3 = insert(score, index, s0, s1, s2, s3, i0, i1, i2, i3)
        scores += stride
        indices += stride
    if BYTES:  # scores are exact
        enough = s1
        missed = i0 < -1
    else:  # whatever scores less than this is not among the two nearest
        enough = s1.to(tl.float64) - 2 * tl.load(margins + query, mask=here, other=0)
        missed = (i3 >= 0) & (s3.to(tl.float64) >= enough)
    d0 = tl.full([ROWS], float("inf"), tl.float64)
    d1 = d0
    first = tl.full([ROWS], -1, tl.int64)
    row = queries + query * length
    for kept in tl.static_range(2 if BYTES else KEPT):
        if kept == 0:
            index = i0
            score = s0
        elif kept == 1:
            index = i1
            score = s1
        elif kept == 2:
            index = i2
            score = s2
        else:
            index = i3
            score = s3
        wanted = here & (index >= 0) & (score >= enough)
        distance = squared_distance(row, targets + tl.maximum(index, 0) * length, wanted, length, ROWS)
        distance = tl.where(wanted, distance, float("inf"))
        d0, d1, first = nearer(distance, index, d0, d1, first)
    tl.store(nearest + query, first, mask=here)
    tl.store(distances + query, d0, mask=here)
    tl.store(seconds + query, d1, mask=here)
    tl.store(unsure + query, missed, mask=here)


@triton.jit
def compare_all(
    queries, targets, rows, bounds, nearest, distances, seconds, length, COLUMNS: tl.constexpr,
):  # fmt: skip
    """What `decide` finds, of the query that a row of `rows` names, by distances to all of its targets."""
    place = tl.program_id(0).to(tl.int64)
    query = tl.load(rows + place)
    end = tl.load(bounds + place * 2 + 1)
    d0 = tl.full([COLUMNS], float("inf"), tl.float64)
    d1 = d0
    i0 = tl.full([COLUMNS], -1, tl.int64)
    row = queries + query * length + tl.zeros([COLUMNS], tl.int64)
    for first in range(tl.load(bounds + place * 2), end, COLUMNS):
        target = first + tl.arange(0, COLUMNS)
        there = target < end
        distance = squared_distance(row, targets + target * length, there, length, COLUMNS)
        d0, d1, i0 = nearer(tl.where(there, distance, float("inf")), target, d0, d1, i0)
    least = tl.min(d0, 0)
    winner = tl.min(tl.where(d0 == least, i0, LAST), 0)
    tl.store(nearest + query, winner)
    tl.store(distances + query, least)
    tl.store(seconds + query, tl.min(tl.where(i0 == winner, d1, d0), 0))


class Sets(NamedTuple):
    """Descriptors [rows, length] of one set after another, and the first row of each, with the end."""

    values: torch.Tensor
    starts: list[int]


class Nearest(NamedTuple):
    """Of each query the row of its nearest target (-1: none), its squared distance, that of the second."""

    rows: torch.Tensor
    squared: torch.Tensor
    second_squared: torch.Tensor


def two_nearest(queries: Sets, targets: Sets, parts: int | None = None) -> Nearest:
    """The two nearest targets of each query, among those of the set with the same number.

    Descriptors are C-contiguous, finite, of one dtype (float32, float64 or uint8) and on one device. Equally
    near targets rank by row. `parts` is how many programs share the targets of a block of queries; by default
    as many as fill the device. Time is O(K1 K2 D), memory O((K1 + K2) D + K1 parts).
    """
    count, length = queries.values.shape
    device = queries.values.device
    owners = _owners(queries, device)
    exact = queries.values.dtype == torch.uint8 and length <= LONGEST_BYTES
    parts = parts or _parts(queries, targets, device)
    tasks = torch.from_numpy(_tasks(queries, targets, parts)).to(device)
    depth, warps = (DEPTH_BYTES, WARPS_BYTES) if exact else (DEPTH_NUMBERS, WARPS_NUMBERS)
    if exact:
        (ready, others), (_, biases) = zip(*map(_bytes, (queries, targets)), strict=True)
        margins = torch.empty(0, dtype=torch.float64, device=device)
        options = {"BYTES": True, "NONE": -(2**31)}
    else:
        ready, others, biases, margins = _numbers(queries, targets, owners)
        options = {"BYTES": False, "NONE": float("-inf")}

    scores = torch.empty((parts, count, KEPT.value), dtype=biases.dtype, device=device)
    indices = torch.empty(scores.shape, dtype=torch.int64, device=device)
    if len(tasks):
        ready, others = (torch.nn.functional.pad(rows, (0, -length % depth)) for rows in (ready, others))
        best_scores[(len(tasks),)](
            ready, others, biases, tasks, scores, indices, ready.shape[1],
            **options, ROWS=QUERIES, COLUMNS=TARGETS, DEPTH=depth, num_warps=warps,
        )  # fmt: skip
    rows = torch.empty(count, dtype=torch.int64, device=device)
    squared, seconds = (torch.empty(count, dtype=torch.float64, device=device) for _ in range(2))
    unsure = torch.empty(count, dtype=torch.int8, device=device)
    if count:
        # Products and sums are rounded one by one, as on the CPU.
        decide[(triton.cdiv(count, QUERIES),)](
            queries.values, targets.values, scores, indices, margins, rows, squared, seconds, unsure,
            count, parts, count * KEPT.value, length, **options, ROWS=QUERIES, enable_fp_fusion=False,
        )  # fmt: skip
    again = unsure.nonzero()[:, 0]
    if len(again):
        starts = torch.tensor(targets.starts, device=device)
        bounds = torch.stack([starts[owners[again]], starts[owners[again] + 1]], 1)
        compare_all[(len(again),)](
            queries.values, targets.values, again, bounds, rows, squared, seconds, length,
            COLUMNS=TARGETS, enable_fp_fusion=False,
        )  # fmt: skip
    return Nearest(rows, squared, seconds)


def _owners(sets: Sets, device: torch.device) -> torch.Tensor:
    """The set of each row."""
    counts = torch.tensor(np.diff(sets.starts), device=device)
    return torch.repeat_interleave(counts, output_size=sets.starts[-1])


def _parts(queries: Sets, targets: Sets, device: torch.device) -> int:
    """Shares of the targets: enough to fill the device, each with several blocks."""
    blocks = sum(triton.cdiv(int(n), QUERIES) for n in np.diff(queries.starts))
    most = max((int(n) for n in np.diff(targets.starts)), default=0)
    multiprocessors = 1
    if device.type == "cuda":
        multiprocessors = torch.cuda.get_device_properties(device).multi_processor_count
    wanted = triton.cdiv(WANTED_PROGRAMS * multiprocessors, max(1, blocks))
    return max(1, min(wanted, triton.cdiv(most, 8 * TARGETS)))


def _tasks(queries: Sets, targets: Sets, parts: int) -> np.ndarray:
    """What `best_scores` reads for each program, int64 [tasks, 5]."""
    tasks = []
    for i in range(len(queries.starts) - 1):
        (first, end), (begin, last) = queries.starts[i : i + 2], targets.starts[i : i + 2]
        blocks = np.arange(first, end, QUERIES)
        share = triton.cdiv(triton.cdiv(last - begin, parts), TARGETS) * TARGETS
        for part in range(parts):
            task = np.empty((len(blocks), 5), np.int64)
            task[:, 0], task[:, 1] = blocks, end
            task[:, 2], task[:, 3] = min(last, begin + part * share), min(last, begin + (part + 1) * share)
            task[:, 4] = part * queries.starts[-1]
            tasks.append(task)
    return np.concatenate(tasks) if tasks else np.empty((0, 5), np.int64)


def _bytes(sets: Sets) -> tuple[torch.Tensor, torch.Tensor]:
    """Bytes less 128, and minus their squared lengths."""
    ready = (sets.values.to(torch.int16) - 128).to(torch.int8)
    return ready, -ready.to(torch.int32).square().sum(1, dtype=torch.int32)


def _numbers(
    queries: Sets, targets: Sets, owners: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Both in float32, half the squared lengths of targets, and how far the scores of a query may be off.

    By a power of two, which changes no digit, all numbers of an item come below 1: products cannot overflow.
    """
    count, length = len(queries.starts) - 1, queries.values.shape[1]
    device = queries.values.device
    greatest = torch.zeros(count, dtype=torch.float64, device=device)
    places = owners, _owners(targets, device)
    for sets, place in zip((queries, targets), places, strict=True):
        greatest.scatter_reduce_(0, place, sets.values.double().abs().amax(1), "amax")
    scale = torch.ldexp(torch.ones_like(greatest), -torch.frexp(greatest).exponent.clamp(min=-1000))
    scaled = [s.values * scale[place, None] for s, place in zip((queries, targets), places, strict=True)]
    norms = [values.square().sum(1) for values in scaled]
    longest = torch.zeros_like(greatest).scatter_reduce_(0, places[1], norms[1], "amax")[owners]
    # The usual bound of a sum of n products (Higham 2002, "Accuracy and Stability of Numerical Algorithms",
    # section 3.1), where rows and biases are rounded too; there is none for rows as long as that.
    roundings = (length + 8) * 2.0**-24
    share = roundings / (1 - roundings) if roundings < 0.5 else float("inf")
    margins = share * ((norms[0] * longest).sqrt() + longest / 2) + (length + 8) * 2.0**-126
    return scaled[0].float(), scaled[1].float(), (norms[1] / -2).float(), margins

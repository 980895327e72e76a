"""Affine-covariant features from their definition, in double precision and one at a time.

Gaussian filters and interpolation are SciPy's, matrices are decomposed by NumPy.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
from scipy import ndimage

Floats = np.ndarray
BASE, INPUT = 1.6, 0.5


def blur(image: Floats, sigma: float) -> Floats:
    if sigma < 1e-3:
        return image
    return ndimage.gaussian_filter(image, sigma, mode="nearest", radius=math.ceil(4 * sigma))


def octaves(image: Floats, levels: int, doubled: bool) -> list[tuple[float, list[Floats]]]:
    """Pairs of the step from pixel to pixel and the blurred images."""
    step = 1.0
    if doubled:
        h, w = image.shape
        where = np.meshgrid(np.arange(2 * h) / 2, np.arange(2 * w) / 2, indexing="ij")
        image, step = ndimage.map_coordinates(image, where, order=1, mode="nearest"), 0.5
    image = blur(image, math.sqrt(BASE**2 - (INPUT / step) ** 2))
    found = []
    while True:
        stack = [image]
        for s in range(1, levels + 3):
            stack.append(blur(stack[-1], BASE * math.sqrt(4 ** (s / levels) - 4 ** ((s - 1) / levels))))
        found.append((step, stack))
        if min(image.shape) // 2 < 12:
            return found
        h, w = (size // 2 * 2 for size in image.shape)
        image, step = stack[levels][:h:2, :w:2], 2 * step


def blobs(space: list, levels: int, peak: float, edge: float) -> list[tuple[float, float, float, float]]:
    """(x, y, sigma, response) of each blob."""
    found = []
    for step, stack in space:
        d = np.diff(np.stack(stack), axis=0)
        around = np.ones((3, 3, 3), bool)
        around[1, 1, 1] = False
        above = d > ndimage.maximum_filter(d, footprint=around)
        below = d < ndimage.minimum_filter(d, footprint=around)
        candidates = np.argwhere(((above & (d > 0)) | (below & (d <= 0))) & (abs(d) >= 0.8 * peak))
        pixels = {}
        for s, y, x in candidates:
            inside = 0 < s < len(d) - 1 and 0 < y < d.shape[1] - 1 and 0 < x < d.shape[2] - 1
            refined = refine(d, s, y, x, peak, edge) if inside else None
            if refined is not None:
                pixels.setdefault(refined[0], refined[1:])
        for (s, y, x), (offset, response) in pixels.items():
            sigma = step * BASE * 2 ** ((s + offset[2]) / levels)
            found.append(((x + offset[0]) * step, (y + offset[1]) * step, sigma, response))
    return sorted(found, key=lambda blob: -abs(blob[3]))


def refine(d: Floats, s: int, y: int, x: int, peak: float, edge: float) -> tuple | None:
    for step in range(5):
        cube = d[s - 1 : s + 2, y - 1 : y + 2, x - 1 : x + 2].transpose(2, 1, 0)  # x, y, s
        gradient = np.array([np.take(cube, 2, k)[1, 1] - np.take(cube, 0, k)[1, 1] for k in range(3)]) / 2
        hessian = np.empty((3, 3))
        for i, j in itertools.product(range(3), repeat=2):
            e, f = np.eye(3, dtype=int)[[i, j]]
            at = lambda p, cube=cube: cube[tuple(p + 1)]  # noqa: E731
            if i == j:
                hessian[i, i] = at(e) + at(-e) - 2 * at(0 * e)
            else:
                hessian[i, j] = (at(e + f) + at(-e - f) - at(e - f) - at(f - e)) / 4
        offset = -np.linalg.solve(hessian, gradient)
        size = (d.shape[2], d.shape[1])
        move = [
            int(offset[k] > 0.6 and (x, y)[k] < size[k] - 2) - int(offset[k] < -0.6 and (x, y)[k] > 1)
            for k in range(2)
        ]
        if step == 4 or move == [0, 0]:
            break
        x, y = x + move[0], y + move[1]
    response = d[s, y, x] + gradient @ offset / 2
    low, high = sorted(abs(np.linalg.eigvalsh(hessian[:2, :2])))
    curved = np.linalg.det(hessian[:2, :2]) > 0 and high < edge * low
    if (abs(offset) < 1.5).all() and abs(response) >= peak and curved:
        return (int(s), int(y), int(x)), offset, response
    return None


def patch(space: list, levels: int, U: Floats, D: Floats, t: Floats, side: int, step: float) -> Floats:
    """Samples [side, side] around t along the columns of U D, blurred by 1 in these coordinates."""
    level_step, image, sigma = max(
        (
            (s, stack[k], s * BASE * 2 ** (k / levels))
            for s, stack in space
            for k in range(levels + 1)
            if s * BASE * 2 ** (k / levels) <= D[1] * (1 + 1e-9)
        ),
        key=lambda found: found[2] * (1 + 1e-6 * found[0]),
        default=(space[0][0], space[0][1][0], space[0][0] * BASE),
    )
    axes, widths = [], []
    for length in D:
        dense = max(1, math.ceil(step * length / (1.5 * sigma)))
        width = math.sqrt(max(0.0, 1 - (sigma / length) ** 2)) * dense / step
        margin = math.ceil(3 * width) if width >= 1e-3 else 0
        n = (side - 1) * dense + 2 * margin
        axes.append((np.arange(n + 1) - n / 2) * step / dense)
        widths.append((width, margin, dense))
    v, u = np.meshgrid(axes[1], axes[0], indexing="ij")
    where = (np.einsum("ij,jk,k...->i...", U, np.diag(D), np.stack([u, v])) + t[:, None, None]) / level_step
    samples = ndimage.map_coordinates(image, where[::-1], order=1, mode="nearest")
    for axis, (width, margin, dense) in ((0, widths[1]), (1, widths[0])):
        if margin:
            samples = ndimage.gaussian_filter1d(samples, width, axis=axis, radius=margin)
        keep = [slice(None)] * 2
        keep[axis] = slice(margin, margin + (side - 1) * dense + 1, dense)
        samples = samples[tuple(keep)]
    return samples


def svd(A: Floats) -> tuple[Floats, Floats]:
    """U without reflection and D of A = U D V^T."""
    U, D, _ = np.linalg.svd(A)
    if np.linalg.det(U) < 0:
        U[:, 1] *= -1
    return U, D


def adapt(space: list, levels: int, sigma: float, t: Floats) -> tuple[Floats, Floats]:
    A = sigma * np.eye(2)
    U, D = svd(A)
    grid = (np.arange(41) - 20) * 0.45
    window = np.exp(-(grid[:, None] ** 2 + grid**2) / 18)
    for _ in range(15):
        next_U, next_D = svd(A)
        if next_D[0] > 5 * next_D[1]:
            break
        U, D = next_U, next_D * sigma / math.sqrt(next_D[0] * next_D[1])
        y, x = np.gradient(patch(space, levels, U, D, t, 41, 0.45))
        inner = (slice(1, -1), slice(1, -1))
        M = [[(window * p * q)[inner].sum() for q in (x, y)] for p in (x, y)]
        Q, P = np.linalg.eigh(M)
        if Q[0] <= 0 or Q[1] < 1.001 * Q[0]:
            break
        A = U @ np.diag(D) @ P @ np.diag(1 / np.sqrt(Q))
    return U, D


def descriptor(samples: Floats, R: Floats) -> Floats:
    """SIFT of a patch with samples 0.5 apart, in a frame turned by R."""
    y, x = np.gradient(samples)
    half = samples.shape[0] // 2
    bins = np.zeros((6, 6, 8))
    for i, j in itertools.product(range(1, samples.shape[0] - 1), repeat=2):
        p = R.T @ ((np.array([j, i]) - half) * 0.5)
        g = R.T @ [x[i, j], y[i, j]]
        weight = np.hypot(*g) * np.exp(-(p @ p) / 72)
        column, row = p / 3 + 2.5
        direction = math.atan2(-g[1], g[0]) / (2 * math.pi) % 1 * 8
        if not (0 < column < 5 and 0 < row < 5):
            continue
        for a, b, c in itertools.product((0, 1), repeat=3):
            k, m, n = int(row) + a, int(column) + b, int(direction) + c
            share = (1 - abs(row - k)) * (1 - abs(column - m)) * (1 - abs(direction - n))
            bins[k, m, n % 8] += weight * share
    found = bins[1:5, 1:5].ravel()
    found = np.minimum(found / np.linalg.norm(found), 0.2)
    return found / np.linalg.norm(found)


def affine_covariant(
    image: Floats,
    *,
    peak_threshold: float = 0.01,
    edge_threshold: float = 10.0,
    levels: int = 3,
    doubled: bool = True,
    adapted: bool = True,
    count: int | None = None,
) -> tuple[Floats, Floats, Floats]:
    """Upright frames, descriptors and responses of the strongest blobs of a grey image."""
    space = octaves(image.astype(np.float64), levels, doubled)
    frames, descriptors, responses = [], [], []
    for x, y, sigma, response in blobs(space, levels, peak_threshold, edge_threshold)[:count]:
        t = np.array([x, y])
        U, D = adapt(space, levels, sigma, t) if adapted else (np.eye(2), np.array([sigma, sigma]))
        A = U @ np.diag(D)
        L = np.linalg.cholesky(A @ A.T)  # the one lower triangular L with L L^T = A A^T
        frames.append(np.concatenate([L, t[:, None]], axis=1))
        descriptors.append(descriptor(patch(space, levels, U, D, t, 45, 0.5), np.linalg.solve(A, L)))
        responses.append(response)
    return np.array(frames), np.array(descriptors), np.array(responses)

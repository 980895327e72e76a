"""`medkernels.regions.specular_mask` beside the same chain of OpenCV, scikit-image and NumPy."""

from __future__ import annotations

import itertools

import numpy as np
from medkernels.benchmarks.runner.cases import FORWARD, Case, Inputs, Outputs, Provider, Target, Work
from medkernels.benchmarks.runner.images import blurred_noise

import medkernels
from medkernels import get_num_threads

TITLE = "Masks of specular highlights in RGB frames"
UNITS = "pixels"
DIRECTIONS = (FORWARD,)
DEVICES = ("cpu",)

FRAME, FRAMES = "720 x 576", "8 frames of 720 x 576"
DELTA, MIN_AREA = 25, 3
AREA_SHARE, PATCH_SHARE = 0.005, 20 / (384 * 288)  # the defaults of `mmser` and `specular_mask`
TISSUE = np.array([0.6, 0.3, 0.25])
HIGHLIGHTS = 40  # in a frame of 384 x 288, and in proportion
SLOW = "its tree takes seconds for each frame"


def cases(sizes: str) -> list[Case]:
    """One frame, a batch, and a curve over the number of pixels."""
    if sizes == "small":
        return [
            _case("96 x 72", 1, (72, 96)),
            *(_case(f"pixels {n * n}", 1, (n, n), "pixels") for n in (32, 64)),
        ]
    return [
        _case(FRAME, 1, (576, 720)),
        _case(FRAMES, 8, (576, 720), excluded={"OpenCV, scikit-image": SLOW}),
        *(_case(f"pixels {n * n}", 1, (n, n), "pixels") for n in (128, 256, 512, 1024, 2048)),
    ]


def _case(
    name: str,
    count: int,
    shape: tuple[int, int],
    curve: str = "",
    excluded: dict[str, str] | None = None,
) -> Case:
    def inputs(device: str, seed: int) -> Inputs:
        return {"rgb": np.stack([_frame(shape, 100 * seed + i) for i in range(count)])}

    pixels = float(np.prod(shape))
    return Case(name, inputs, _work, curve, pixels if curve else 0.0, None, excluded or {})


def _frame(shape: tuple[int, int], seed: int) -> np.ndarray:
    """Textured tissue with soft round highlights."""
    random = np.random.default_rng(seed)
    light = 0.8 + 0.4 * blurred_noise(shape, "float32", 2.0, seed)
    rgb = light[..., None] * TISSUE
    y, x = np.mgrid[: shape[0], : shape[1]]
    for _ in range(max(1, round(HIGHLIGHTS * light.size / (384 * 288)))):
        cy, cx, radius = random.uniform((0, 0, 1), (*shape, 4.5))
        top, left = (max(int(c - 8), 0) for c in (cy, cx))
        here = np.s_[top : top + 17, left : left + 17]
        alpha = np.clip(radius + 0.5 - np.hypot(y[here] - cy, x[here] - cx), 0, 1)[..., None]
        rgb[here] += alpha * (random.uniform(0.7, 1.0) - rgb[here])
    return np.asarray(np.clip(rgb + random.normal(0, 0.008, rgb.shape), 0, 1) * 255).astype(np.uint8)


def _work(inputs: Inputs, backward: bool) -> Work:
    """Three bytes of a pixel are read and one is written."""
    pixels = inputs["rgb"].size // 3
    return Work(pixels, 0.0, 4.0 * pixels)


def _ours(inputs: Inputs, backward: bool) -> Outputs:
    return {"result": medkernels.regions.specular_mask(inputs["rgb"])}


def _chain(inputs: Inputs, backward: bool) -> Outputs:
    import cv2

    if cv2.getNumThreads() != get_num_threads():
        cv2.setNumThreads(get_num_threads())
    return {"result": np.stack([_chain_frame(rgb) for rgb in inputs["rgb"]])}


def _chain_frame(rgb: np.ndarray) -> np.ndarray:
    import cv2

    r, g, b = (rgb[..., c].astype(np.int32) for c in range(3))
    total = r + g + b
    saturation = np.where(b + r >= 2 * g, 2 * r - g - b, r + g - 2 * b)
    pale = (2 * total >= total.max()) & (3 * saturation <= saturation.max())
    _, labels, stats, _ = cv2.connectedComponentsWithStats(pale.view(np.uint8), connectivity=8)
    small = stats[:, cv2.CC_STAT_AREA] <= max(round(PATCH_SHARE * total.size), 1)
    small[0] = False
    return small[labels] | _bright(((total + 1) // 3).astype(np.uint8))


def _bright(image: np.ndarray) -> np.ndarray:
    """The modified stable regions, level by level on scikit-image's tree."""
    from skimage import morphology

    parents, order = morphology.max_tree(image, connectivity=2)
    parent, level = parents.ravel(), image.ravel().astype(np.int32)
    node = level[parent] != level
    node[order[0]] = True
    area = np.ones(level.size, np.int64)
    np.add.at(area, parent[~node], 1)
    nodes = order[node[order]]
    levels = np.flatnonzero(np.bincount(level[nodes], minlength=256))
    bounds = np.searchsorted(level[nodes], [*levels, 256])
    above_root = list(itertools.pairwise(bounds))[1:]
    for first, last in reversed(above_root):
        np.add.at(area, parent[nodes[first:last]], area[nodes[first:last]])
    lower = nodes.copy()
    while (move := (level[parent[lower]] >= level[nodes] - DELTA) & (parent[lower] != lower)).any():
        lower = np.where(move, parent[lower], lower)
    growth = np.zeros(level.size, np.int64)
    growth[nodes] = area[lower] - area[nodes]
    least = np.full(level.size, np.iinfo(np.int64).max)
    inner = nodes[1:]
    np.minimum.at(least, parent[inner], growth[inner])
    limit = max(round(AREA_SHARE * level.size), MIN_AREA + 1)
    keep = (2 * level[inner] >= level.max()) & (area[inner] >= MIN_AREA) & (area[inner] < limit)
    keep &= (growth[inner] <= area[inner]) & (growth[inner] <= growth[parent[inner]])
    chosen = inner[keep & (growth[inner] <= least[inner])]
    marked = np.zeros(level.size, bool)
    marked[np.setdiff1d(chosen, parent[chosen])] = True
    for first, last in above_root:
        marked[nodes[first:last]] |= marked[parent[nodes[first:last]]]
    return marked[np.where(node, np.arange(level.size), parent)].reshape(image.shape)


PROVIDERS = (
    Provider("medkernels", _ours),
    Provider("OpenCV, scikit-image", _chain, library="skimage"),
)
TARGETS = (Target(FRAME, FORWARD, "OpenCV, scikit-image", 5),)

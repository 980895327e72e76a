"""`medkernels.regions.max_tree` beside higra and scikit-image.

The peers work on the CPU, also where ours does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from medkernels.benchmarks.runner.cases import FORWARD, Case, Inputs, Outputs, Provider, Target, Work
from medkernels.benchmarks.runner.compare import Differences
from medkernels.benchmarks.runner.images import blurred_noise, retina

import medkernels

TITLE = "Max-trees with areas, 8 neighbours in pictures and 6 in volumes"
UNITS = "elements"
DIRECTIONS = (FORWARD,)

RETINA = "1411 x 1411 uint8, retina"
SMOOTH, NOISE = "1411 x 1411 uint8, blurred", "1411 x 1411 uint8, noise"
VOLUME = "256 x 256 x 256 uint8, blurred"
SMOOTHING = 2.0  # elements
SMALLER = "256 x 256 uint8, noise"
SLOW = "it takes minutes for one of these"


def cases(sizes: str) -> list[Case]:
    """Pictures and a volume, then curves over the number of elements and the depth of values."""
    if sizes == "small":
        return [
            _case("24 x 24 uint8, blurred", (24, 24), "uint8", SMOOTHING),
            _case("7 x 8 x 9 uint8, blurred", (7, 8, 9), "uint8", SMOOTHING),
            *(_case(f"elements {n * n}", (n, n), "uint8", SMOOTHING, "elements") for n in (16, 32)),
        ]
    return [
        Case(RETINA, _retina, _work),
        _case(SMOOTH, (1411, 1411), "uint8", SMOOTHING),
        _case(NOISE, (1411, 1411), "uint8", 0.0),
        _case(SMALLER, (256, 256), "uint8", 0.0),
        _case("1411 x 1411 uint16, blurred", (1411, 1411), "uint16", SMOOTHING),
        _case("1411 x 1411 float32, blurred", (1411, 1411), "float32", SMOOTHING),
        _case(VOLUME, (256, 256, 256), "uint8", SMOOTHING),
        *(_case(f"elements {n * n}", (n, n), "uint8", SMOOTHING, "elements") for n in (128, 512, 2048, 4096)),
        *(_case(f"noise {n * n}", (n, n), "float32", 0.0, "noise") for n in (128, 512, 2048)),
    ]


def _inputs(host: np.ndarray, device: str) -> Inputs:
    return {"image": host if device == "cpu" else torch.from_numpy(host).to(device), "host": host}


def _retina(device: str, seed: int) -> Inputs:
    return _inputs(retina(seed), device)


def _case(name: str, shape: tuple[int, ...], dtype: str, smoothing: float, curve: str = "") -> Case:
    def inputs(device: str, seed: int) -> Inputs:
        return _inputs(blurred_noise(shape, dtype, smoothing, seed), device)

    elements = float(np.prod(shape))
    excluded = {"scikit-image": SLOW} if elements > 1e5 else {}
    return Case(name, inputs, _work, curve, elements if curve else 0.0, None, excluded)


def _work(inputs: Inputs, backward: bool) -> Work:
    """The image is read; parents, order and areas are written."""
    image = inputs["host"]
    return Work(image.size, 0.0, image.size * (image.itemsize + 12.0))


def compare_trees(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Differences:
    """The greatest difference of the area of the smallest component that an element is in."""
    return {"largest": float(np.abs(ours["result"]() - theirs["result"]()).max(initial=0))}


def _areas(image: np.ndarray, parent: np.ndarray, area: np.ndarray) -> np.ndarray:
    flat, up = image.ravel(), parent.ravel()
    return area.ravel()[np.where(flat[up] == flat, up, np.arange(flat.size))].astype(np.int64)


def _ours(inputs: Inputs, backward: bool) -> Outputs:
    image = inputs["image"]
    tree = medkernels.regions.max_tree(image, connectivity=8 if image.ndim == 2 else 6)

    def areas() -> np.ndarray:
        parent, area = (np.asarray(torch.as_tensor(array).cpu()) for array in (tree.parent, tree.area))
        return _areas(inputs["host"], parent, area)

    return {"result": areas}


def _higra(inputs: Inputs, backward: bool) -> Outputs:
    import higra

    image = inputs["host"]
    if image.ndim == 2:
        graph = higra.get_8_adjacency_implicit_graph(image.shape)
    else:
        graph = higra.get_nd_regular_implicit_graph(image.shape, _faces(image.ndim))
    tree, _ = higra.component_tree_max_tree(graph, image)
    areas = higra.attribute_area(tree)
    return {"result": lambda: areas[tree.parents()[: image.size]].astype(np.int64)}


def _faces(dims: int) -> list[list[int]]:
    return [[sign * int(i == axis) for i in range(dims)] for axis in range(dims) for sign in (-1, 1)]


def _skimage(inputs: Inputs, backward: bool) -> Outputs:
    from skimage import morphology

    image = inputs["host"]
    parent, order = morphology.max_tree(image, connectivity=2 if image.ndim == 2 else 1)

    def areas() -> np.ndarray:
        # It leaves areas to its filters, so they are summed here, outside of what is timed.
        area, up = np.ones(image.size, np.int64), parent.ravel()
        for p in order[:0:-1]:
            area[up[p]] += area[p]
        return _areas(image, parent, area)

    return {"result": areas}


PROVIDERS = (
    Provider("medkernels", _ours),
    Provider("higra", _higra, compare=compare_trees, library="higra"),
    Provider("scikit-image", _skimage, compare=compare_trees, library="skimage"),
)
TARGETS = (
    Target(RETINA, FORWARD, "higra", 2),
    Target(RETINA, FORWARD, "scikit-image", 10),
    Target(SMOOTH, FORWARD, "higra", 2),
    Target(NOISE, FORWARD, "higra", 2),
    Target(SMALLER, FORWARD, "scikit-image", 10),
    Target(VOLUME, FORWARD, "higra", 2),
)

"""Masks and images for the tests of regions, random and degenerate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

import medkernels as mk

PICTURES, VOLUMES = (4, 8), (6, 18, 26)


@st.composite
def shapes(draw: Any, dims: int) -> tuple[int, ...]:
    """Small shapes, lines and empty ones among them; some rows are longer than a machine word."""
    if dims == 3:
        return tuple(draw(st.lists(st.integers(0, 5), min_size=3, max_size=3)))
    return draw(st.sampled_from([0, 1, 2, 5, 9])), draw(st.sampled_from([0, 1, 2, 7, 12, 63, 64, 65, 130]))


@st.composite
def masks(draw: Any) -> tuple[np.ndarray, int]:
    """A mask and a connectivity."""
    connectivity = draw(st.sampled_from(PICTURES + VOLUMES))
    shape = draw(shapes(2 if connectivity in PICTURES else 3))
    density = draw(st.sampled_from([0.0, 0.1, 0.4, 0.6, 0.9, 1.0]))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return random.random(shape) < density, connectivity


@st.composite
def images(draw: Any) -> tuple[np.ndarray, int]:
    """An image with many ties, and a connectivity."""
    connectivity = draw(st.sampled_from(PICTURES + VOLUMES))
    dims = 2 if connectivity in PICTURES else 3
    shape = tuple(draw(st.lists(st.integers(0, 6 if dims == 2 else 4), min_size=dims, max_size=dims)))
    levels = draw(st.sampled_from([1, 2, 4, 200]))
    dtype = draw(st.sampled_from(["uint8", "uint16", "int16", "float32", "float64"]))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = random.integers(0, levels, shape)
    if dtype == "uint16":
        return (values * 300).astype(dtype), connectivity
    if dtype != "uint8":
        return (values * 37.0 - 60).astype(dtype), connectivity
    return values.astype(dtype), connectivity


def smooth_image(seed: int, shape: tuple[int, ...], sigma: float = 2.0) -> np.ndarray:
    """Blurred noise over the whole range of uint8."""
    from scipy.ndimage import gaussian_filter

    noise = gaussian_filter(np.random.default_rng(seed).normal(size=shape), sigma)
    return np.asarray((noise - noise.min()) / np.ptp(noise) * 255).astype(np.uint8)


def with_threads(call: Callable[[], Any], counts: tuple[int, ...] = (1, 2, 5)) -> list[Any]:
    """What a call returns with several numbers of threads."""
    before = mk.get_num_threads()
    found = []
    try:
        for threads in counts:
            mk.set_num_threads(threads)
            found.append(call())
    finally:
        mk.set_num_threads(before)
    return found

"""Images for the benchmarks of regions."""

from __future__ import annotations

import numpy as np

RANGES = {"uint8": 255.0, "uint16": 65535.0, "float32": 1.0}


def blurred_noise(shape: tuple[int, ...], dtype: str, smoothing: float, seed: int) -> np.ndarray:
    """White noise over the whole range of `dtype`, blurred with a Gaussian of `smoothing` elements."""
    from scipy.ndimage import gaussian_filter

    random = np.random.default_rng(seed)
    noise = random.random(shape, dtype=np.float32)
    if smoothing:
        noise = gaussian_filter(noise, smoothing)
    noise = (noise - noise.min()) / np.ptp(noise)
    return (noise * RANGES[dtype]).astype(dtype)


def retina(turns: int) -> np.ndarray:
    """The photograph of a retina that scikit-image ships, grey, 1411 x 1411 uint8, in quarter turns."""
    from skimage import data

    grey = data.retina().mean(axis=2).astype(np.uint8)
    return np.ascontiguousarray(np.rot90(grey, turns))

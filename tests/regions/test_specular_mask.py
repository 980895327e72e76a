"""Highlights against the definition, and on pictures whose highlights are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from scipy.special import expit

import medkernels as mk
from tests.reference.specular_mask import specular_mask as reference
from tests.regions.scenes import with_threads


def endoscopy(seed: int, shape: tuple[int, int] = (144, 192)) -> tuple[np.ndarray, np.ndarray]:
    """Reddish tissue with white patches and highlights, a third of them on the white; and where they are."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]].astype(float)
    light = 1 - 0.35 * (((x - shape[1] / 2) / shape[1]) ** 2 + ((y - shape[0] / 2) / shape[0]) ** 2) * 2
    texture = gaussian_filter(random.normal(size=shape), 2)
    light += 0.04 * texture / texture.std()
    rgb = light[..., None] * np.array([0.62, 0.3, 0.25])

    def soft_ellipse(cx: float, cy: float, a: float, b: float, turn: float, rim: float) -> np.ndarray:
        u = np.cos(turn) * (x - cx) + np.sin(turn) * (y - cy)
        v = -np.sin(turn) * (x - cx) + np.cos(turn) * (y - cy)
        return expit((1 - np.hypot(u / a, v / b)) * np.sqrt(a * b) / rim)

    white = []
    for _ in range(random.integers(1, 3)):
        place = random.uniform((40, 40), (shape[1] - 40, shape[0] - 40))
        alpha = soft_ellipse(
            *place, random.uniform(12, 24), random.uniform(9, 16), random.uniform(0, np.pi), 1.5
        )
        level = random.uniform(0.6, 0.8) * np.array([1.0, 0.96, 0.93])
        rgb += alpha[..., None] * (level - rgb)
        white.append(place)
    truth = np.zeros(shape)
    for i in range(random.integers(25, 46)):
        place = random.uniform((5, 5), (shape[1] - 5, shape[0] - 5))
        if i % 3 == 0:
            place = white[i % len(white)] + random.uniform(-9, 9, 2)
        alpha = soft_ellipse(
            *place, random.uniform(0.8, 4.5), random.uniform(0.8, 4.5), random.uniform(0, np.pi), 0.35
        )
        here = tuple(np.clip(place[::-1].astype(int), 0, np.array(shape) - 1))
        peak = min(rgb[here].mean() + random.uniform(0.25, 0.5), 1.0)
        rgb += alpha[..., None] * (np.maximum(peak, rgb) - rgb)
        truth = np.maximum(truth, alpha)
    rgb = rgb * random.uniform(0.75, 1.05) + random.normal(size=rgb.shape) * 0.008
    return (np.clip(rgb, 0, 1) * 255).round().astype(np.uint8), truth > 0.5


def f1(found: np.ndarray, truth: np.ndarray) -> float:
    return float(2 * (found & truth).sum() / (found.sum() + truth.sum()))


@given(
    seed=st.integers(0, 2**32 - 1),
    height=st.integers(0, 9),
    width=st.integers(0, 9),
    max_patch=st.integers(0, 6),
    delta=st.sampled_from([5, 25, 80]),
)
def test_equals_definition(seed: int, height: int, width: int, max_patch: int, delta: int) -> None:
    random = np.random.default_rng(seed)
    rgb = (random.integers(0, 5, (height, width, 3)) * 63).astype(np.uint8)
    options = {"delta": delta, "min_area": 2, "max_area": 20, "max_patch": max_patch}
    found = mk.regions.specular_mask(rgb, **options)
    np.testing.assert_array_equal(found, reference(rgb, **options))


def test_small_highlights_are_found_and_white_tissue_is_not() -> None:
    """Better than the bright pale pixels alone, and than any threshold of the intensity."""
    pictures = [endoscopy(seed) for seed in range(10)]
    found = np.mean([f1(mk.regions.specular_mask(rgb, max_area=150), truth) for rgb, truth in pictures])
    pale = np.mean([f1(mk.regions.saturation_mask(rgb), truth) for rgb, truth in pictures])
    levels = range(60, 256, 5)
    threshold = max(np.mean([f1(rgb.mean(axis=2) >= t, truth) for rgb, truth in pictures]) for t in levels)
    assert found >= 0.85
    assert found >= pale + 0.15
    assert found >= threshold + 0.15


def test_batches_threads_and_tensors() -> None:
    rgb = np.stack([endoscopy(seed)[0] for seed in range(3)])
    first, *others = with_threads(lambda: mk.regions.specular_mask(rgb))
    assert all(np.array_equal(first, other) for other in others)
    assert first.any(axis=(1, 2)).all()
    for one, mask in zip(rgb, first, strict=True):
        np.testing.assert_array_equal(mk.regions.specular_mask(one), mask)
    found = mk.regions.specular_mask(torch.from_numpy(rgb))
    assert found.dtype == torch.bool
    np.testing.assert_array_equal(found.numpy(), first)
    assert not mk.regions.specular_mask(np.full((50, 60, 3), 255, np.uint8)).any()


def test_bad_input() -> None:
    rgb = np.zeros((9, 9, 3), np.uint8)
    with pytest.raises(TypeError, match="rgb must be uint8"):
        mk.regions.specular_mask(rgb.astype(np.float32))
    with pytest.raises(ValueError, match="max_patch must be at least 0, not -1"):
        mk.regions.specular_mask(rgb, max_patch=-1)
    with pytest.raises(ValueError, match="max_area must be at least 4, not 2"):
        mk.regions.specular_mask(rgb, max_area=2)

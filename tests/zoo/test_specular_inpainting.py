"""Highlights replaced by what surrounds them: both methods, against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from medkernels.zoo.specular import standin
from medkernels.zoo.specular.inpainting import BLUR, FADE, METHODS, RING, fill, inpaint
from medkernels.zoo.specular.model import Detector


def scene(seed, height=26, width=31, share=0.05):
    rng = np.random.default_rng(seed)
    rgb = rng.integers(0, 256, (height, width, 3), np.uint8)
    mask = ndimage.binary_dilation(rng.random((height, width)) < share, iterations=int(rng.integers(1, 3)))
    return rgb, mask


def slow_fill(rgb, mask):
    """Pixel by pixel: each component takes the mean of the unmarked pixels within 2 px of any of its own."""
    out, (height, width) = rgb.astype(float), mask.shape
    labels, number = ndimage.label(mask, np.ones((3, 3)))
    for one in range(1, number + 1):
        inside = np.argwhere(labels == one)
        rim = {
            (y, x)
            for row, column in inside
            for y in range(max(row - RING, 0), min(row + RING + 1, height))
            for x in range(max(column - RING, 0), min(column + RING + 1, width))
            if not mask[y, x]
        }
        color = np.mean([rgb[place] for place in rim], axis=0) if rim else rgb[~mask].mean(axis=0)
        out[labels == one] = color
    return out


def slow_blend(rgb, mask):
    filled, (height, width) = slow_fill(rgb, mask), mask.shape
    reach = int(4 * BLUR + 0.5)
    steps = np.arange(-reach, reach + 1)
    weights = np.exp(-(steps**2) / (2 * BLUR**2))
    weights /= weights.sum()
    blurred = filled
    for axis in (0, 1):
        size = blurred.shape[axis]
        taken = [np.take(blurred, np.clip(np.arange(size) + step, 0, size - 1), axis=axis) for step in steps]
        blurred = sum(weight * part for weight, part in zip(weights, taken, strict=True))
    marked = np.argwhere(mask)
    out = np.empty((height, width, 3))
    for y in range(height):
        for x in range(width):
            away = np.sqrt(((marked - (y, x)) ** 2).sum(axis=1).min())
            w = (1 + np.cos(np.pi * away / FADE)) / 2 if away < FADE else 0
            out[y, x] = w * blurred[y, x] + (1 - w) * rgb[y, x]
    return out


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=8, deadline=None)
def test_the_blend_is_its_definition(seed):
    rgb, mask = scene(seed)
    if mask.all() or not mask.any():
        return
    assert np.allclose(fill(rgb, mask), slow_fill(rgb, mask), atol=1e-3)
    found = inpaint(rgb, mask, method="blend", grow=0).astype(float)
    assert np.abs(found - slow_blend(rgb, mask)).max() <= 0.51  # rounded, from float32


@pytest.mark.parametrize("method", METHODS)
def test_what_is_even_stays_even(method):
    rgb = np.full((40, 50, 3), (150, 70, 60), np.uint8)
    marked = rgb.copy()
    mask = np.zeros((40, 50), bool)
    for part in (np.s_[5:9, 7:12], np.s_[:3, :4], np.s_[37:, 20:50]):  # two of them at the border
        mask[part] = True
    marked[mask] = 255
    before = marked.copy()
    assert np.array_equal(inpaint(marked, mask, method=method), rgb)
    assert np.array_equal(marked, before)


def test_navier_stokes_changes_only_what_is_marked():
    rgb, mask = scene(3)
    found = inpaint(rgb, mask, grow=0)
    assert np.array_equal(found[~mask], rgb[~mask])
    grown = ndimage.binary_dilation(mask, np.ones((3, 3)), 2)
    found = inpaint(rgb, mask, grow=2)
    assert np.array_equal(found[~grown], rgb[~grown])
    assert np.array_equal(found, inpaint(rgb, grown, grow=0))


def test_a_slope_is_continued():
    x = np.arange(60)
    rgb = np.repeat(np.repeat((20 + 3 * x)[None, :, None], 40, axis=0), 3, axis=2).astype(np.uint8)
    mask = np.zeros((40, 60), bool)
    mask[15:25, 25:35] = True
    marked = np.where(mask[..., None], np.uint8(255), rgb)
    error = np.abs(inpaint(marked, mask).astype(int) - rgb)
    assert error.max() <= 15  # half of the rise across the hole


def test_cleaned_frames_are_nearer_to_the_tissue():
    for seed in range(3):
        rng = np.random.default_rng(seed)
        tissue, white = standin.draw_tissue(rng)
        rgb, alpha = standin.draw_speculars(rng, tissue, white, 35)
        seen, clean = (standin.expose(np.random.default_rng(9), picture) for picture in (rgb, tissue))
        mask = Detector()(seen)
        around = alpha > 0.05
        before = np.abs(seen[around].astype(float) - clean[around]).mean()
        errors = {}
        for method in METHODS:
            error = inpaint(seen, mask, method=method)[around] - clean[around].astype(float)
            errors[method] = np.abs(error).mean()
        assert errors["navier-stokes"] < before / 3
        assert errors["blend"] < before / 2


@pytest.mark.parametrize("method", METHODS)
def test_nothing_to_fill_and_nothing_to_fill_from(method):
    rgb, _ = scene(1)
    for mask in (np.zeros(rgb.shape[:2], bool), np.ones(rgb.shape[:2], bool)):
        found = inpaint(rgb, mask, method=method)
        assert np.array_equal(found, rgb)
        assert not np.shares_memory(found, rgb)


@pytest.mark.parametrize("method", METHODS)
def test_any_layout_in_memory(method):
    rgb, mask = scene(2)
    expected = inpaint(rgb, mask, method=method)
    turned = inpaint(np.asfortranarray(rgb), np.asfortranarray(mask), method=method)
    assert np.array_equal(turned, expected)
    flipped = np.ascontiguousarray(rgb[::-1, ::-1])[::-1, ::-1]
    assert np.array_equal(inpaint(flipped, mask[::-1][::-1], method=method), expected)


@pytest.mark.parametrize(
    ("change", "kind", "error"),
    [
        ({"rgb": np.zeros((4, 5))}, TypeError, "rgb must be uint8, not float64"),
        ({"rgb": np.zeros((4, 5), np.uint8)}, ValueError, r"rgb must have shape \[H, W, 3\]"),
        ({"mask": np.zeros((4, 5), np.uint8)}, TypeError, "mask must be bool, not uint8"),
        ({"mask": np.zeros((5, 4), bool)}, ValueError, r"mask must have shape \[4, 5\] as rgb"),
        ({"method": "magic"}, ValueError, "method must be navier-stokes or blend, not 'magic'"),
        ({"grow": -1}, ValueError, "grow must be a whole number of at least 0, not -1"),
        ({"grow": 1.0}, ValueError, "grow must"),
    ],
)
def test_bad_input_is_named(change, kind, error):
    given_ = {"rgb": np.zeros((4, 5, 3), np.uint8), "mask": np.zeros((4, 5), bool)} | change
    with pytest.raises(kind, match=error):
        inpaint(**given_)

"""Bright pale pixels against the equations in exact fractions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import medkernels as mk
from tests.reference.saturation_mask import saturation_mask as reference
from tests.regions.scenes import with_threads

SIDES = st.tuples(st.integers(0, 6), st.integers(0, 6), st.just(3))


@given(rgb=arrays.arrays(np.uint8, SIDES))
def test_equals_definition(rgb: np.ndarray) -> None:
    found = mk.regions.saturation_mask(rgb)
    assert found.dtype == bool
    np.testing.assert_array_equal(found, reference(rgb))


def test_batches_threads_and_tensors() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (3, 150, 210, 3)).astype(np.uint8)
    first, *others = with_threads(lambda: mk.regions.saturation_mask(rgb))
    assert all(np.array_equal(first, other) for other in others)
    for one, mask in zip(rgb, first, strict=True):
        np.testing.assert_array_equal(mk.regions.saturation_mask(np.asfortranarray(one)), mask)
    found = mk.regions.saturation_mask(torch.from_numpy(rgb))
    assert found.dtype == torch.bool
    np.testing.assert_array_equal(found.numpy(), first)
    assert mk.regions.saturation_mask(rgb[:0]).shape == (0, 150, 210)


def test_bad_input() -> None:
    with pytest.raises(TypeError, match="rgb must be uint8, not float64"):
        mk.regions.saturation_mask(np.zeros((4, 4, 3)))
    with pytest.raises(ValueError, match=r"rgb must have shape \[H, W, 3\] or \[B, H, W, 3\], but has shape"):
        mk.regions.saturation_mask(np.zeros((4, 4, 4), np.uint8))
    with pytest.raises(ValueError, match=r"rgb must have shape \[H, W, 3\] or \[B, H, W, 3\], but has shape"):
        mk.regions.saturation_mask(np.zeros((4, 4), np.uint8))

"""Holes of masks, against the definition and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from scipy import ndimage

import medkernels as mk
from tests.reference.fill_holes import fill_holes as reference
from tests.regions.scenes import masks, with_threads


@given(case=masks())
def test_equals_definition(case: tuple[np.ndarray, int]) -> None:
    mask, connectivity = case
    found = mk.regions.fill_holes(mask, connectivity=connectivity)
    assert found.dtype == bool
    np.testing.assert_array_equal(found, reference(mask, connectivity))


@pytest.mark.parametrize("connectivity", [8, 18, 26])
def test_equals_scipy(connectivity: int) -> None:
    shape = (300, 401) if connectivity == 8 else (40, 60, 71)
    mask = np.random.default_rng(connectivity).random(shape) < 0.65
    first, *others = with_threads(lambda: mk.regions.fill_holes(mask, connectivity=connectivity))
    np.testing.assert_array_equal(first, ndimage.binary_fill_holes(mask))
    assert first.sum() > mask.sum()
    assert all(np.array_equal(first, other) for other in others)


def test_filling_twice_changes_nothing() -> None:
    mask = np.random.default_rng(1).random((3, 50, 60)) < 0.6
    once = mk.regions.fill_holes(mask, connectivity=4)
    np.testing.assert_array_equal(mk.regions.fill_holes(once, connectivity=4), once)
    tensor = mk.regions.fill_holes(torch.from_numpy(mask), connectivity=4)
    assert tensor.dtype == torch.bool
    np.testing.assert_array_equal(tensor.numpy(), once)


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="connectivity must be 4 or 8"):
        mk.regions.fill_holes(np.ones((2, 2), bool), connectivity=1)
    with pytest.raises(ValueError, match=r"mask must have shape \[H, W\]"):
        mk.regions.fill_holes(np.ones(4, bool))

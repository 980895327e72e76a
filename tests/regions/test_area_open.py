"""Components by area, against the definition and scikit-image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from skimage import morphology

import medkernels as mk
from tests.reference.area_open import area_open as reference
from tests.reference.label import CHANGES
from tests.regions.scenes import PICTURES, VOLUMES, masks, with_threads


@given(case=masks(), least=st.integers(0, 9), most=st.none() | st.integers(0, 9))
def test_equals_definition(case: tuple[np.ndarray, int], least: int, most: int | None) -> None:
    mask, connectivity = case
    found = mk.regions.area_open(mask, least, max_area=most, connectivity=connectivity)
    assert found.dtype == bool
    np.testing.assert_array_equal(
        found, reference(mask, least, np.inf if most is None else most, connectivity)
    )


@pytest.mark.parametrize("connectivity", PICTURES + VOLUMES)
def test_equals_scikit_image(connectivity: int) -> None:
    shape = (300, 401) if connectivity in PICTURES else (40, 60, 71)
    mask = np.random.default_rng(connectivity).random(shape) < 0.3
    theirs = morphology.remove_small_objects(mask, max_size=4, connectivity=CHANGES[connectivity])
    first, *others = with_threads(lambda: mk.regions.area_open(mask, 5, connectivity=connectivity))
    np.testing.assert_array_equal(first, theirs)
    assert all(np.array_equal(first, other) for other in others)


def test_a_batch_of_tensors() -> None:
    mask = torch.rand(3, 20, 20, generator=torch.Generator().manual_seed(0)) < 0.4
    found = mk.regions.area_open(mask, 3)
    assert found.dtype == torch.bool
    for one, wanted in zip(mask, found, strict=True):
        assert torch.equal(mk.regions.area_open(one, 3), wanted)


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="min_area must be at least 0, not -1"):
        mk.regions.area_open(np.ones((2, 2), bool), -1)
    with pytest.raises(TypeError, match=r"max_area must be an integer, not 2\.5"):
        mk.regions.area_open(np.ones((2, 2), bool), max_area=2.5)
    with pytest.raises(TypeError, match="mask must be boolean or integer"):
        mk.regions.area_open(np.full((2, 2), np.nan), 1)

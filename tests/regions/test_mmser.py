"""Small bright regions against the definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import medkernels as mk
from tests.reference.mmser import mmser as reference
from tests.regions.scenes import smooth_image, with_threads
from tests.regions.test_mser import scores, small_pictures


@given(
    image=small_pictures(),
    delta=st.sampled_from([1, 15, 25, 255]),
    min_area=st.integers(1, 4),
    max_area=st.integers(5, 60),
    connectivity=st.sampled_from([4, 8]),
)
def test_equals_definition(
    image: np.ndarray, delta: int, min_area: int, max_area: int, connectivity: int
) -> None:
    options = {"delta": delta, "min_area": min_area, "max_area": max_area}
    mask, found = mk.regions.mmser(image, **options, connectivity=connectivity)
    wanted = reference(image, **options, min_level=image.max(initial=0) / 2, connectivity=connectivity)
    assert scores(found) == wanted
    assert set(np.flatnonzero(mask)) == set().union(*wanted)
    assert (mask.dtype, mask.shape) == (np.dtype(bool), image.shape)
    low, _ = mk.regions.mmser(image, **options, min_level=0, connectivity=connectivity)
    assert (mask <= low).all()


def test_bright_specks_are_found_and_broad_light_is_not() -> None:
    y, x = np.mgrid[:120, :160]
    image = (90 + 60 * np.exp(-((x - 110) ** 2 + (y - 60) ** 2) / 800)).astype(np.uint8)
    specks = [(20, 20), (60, 110), (90, 40)]
    for cy, cx in specks:
        image[cy - 1 : cy + 2, cx - 1 : cx + 2] = np.minimum(image[cy, cx] + 90, 255)
    mask, found = mk.regions.mmser(image)
    assert mask.sum() == 9 * len(specks)
    assert all(mask[cy, cx] for cy, cx in specks)
    assert {tuple(c) for c in found.centers.astype(int)} == {(cx, cy) for cy, cx in specks}
    assert (found.score == 0).all()


def test_batches_threads_and_tensors() -> None:
    batch = np.stack([smooth_image(seed, (150, 210), 1.5) for seed in range(3)])
    batch[1] //= 2
    first, *others = with_threads(lambda: mk.regions.mmser(batch, delta=10))
    masks, listed = first
    assert masks.any()
    for other_masks, other in others:
        np.testing.assert_array_equal(other_masks, masks)
        for a, b in zip(listed, other, strict=True):
            assert all(np.array_equal(p, q) for p, q in zip(a, b, strict=True))
    for image, mask, found in zip(batch, masks, listed, strict=True):
        one, regions = mk.regions.mmser(torch.from_numpy(image), delta=10)
        assert one.dtype == torch.bool
        np.testing.assert_array_equal(one.numpy(), mask)
        np.testing.assert_array_equal(regions.elements.numpy(), found.elements)


def test_bad_input() -> None:
    image = np.zeros((9, 9), np.uint8)
    with pytest.raises(TypeError, match="image must be uint8"):
        mk.regions.mmser(image.astype(np.uint16))
    with pytest.raises(ValueError, match="max_area must be at least 4, not 3"):
        mk.regions.mmser(image, max_area=3)
    with pytest.raises(ValueError, match="min_level must be from 0 to 255, not 256"):
        mk.regions.mmser(image, min_level=256)
    with pytest.raises(ValueError, match="connectivity must be 4 or 8"):
        mk.regions.mmser(image, connectivity=26)

"""Connected components against their definition and against SciPy and cc3d."""

from __future__ import annotations

import cc3d
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given
from scipy import ndimage

import medkernels as mk
from tests.reference.label import CHANGES
from tests.reference.label import label as reference
from tests.reference.label import measures as reference_measures
from tests.regions.scenes import PICTURES, VOLUMES, masks, with_threads

MEASURES = ("area", "box", "centroid", "perimeter", "moments")


def connectivity_structure(connectivity: int) -> np.ndarray:
    dims = 2 if connectivity in PICTURES else 3
    return ndimage.generate_binary_structure(dims, CHANGES[connectivity])


@given(case=masks())
def test_equals_definition(case: tuple[np.ndarray, int]) -> None:
    mask, connectivity = case
    labels, count, measures = mk.regions.label(mask, connectivity=connectivity, return_measures=True)
    wanted, wanted_count = reference(mask, connectivity)
    assert labels.dtype == np.int32
    assert count == wanted_count
    np.testing.assert_array_equal(labels, wanted)
    for name, values in reference_measures(wanted, wanted_count).items():
        found = getattr(measures, name)
        np.testing.assert_allclose(found, values.reshape(found.shape), atol=1e-9, err_msg=name)


@pytest.mark.parametrize("density", [0.1, 0.5, 0.6, 0.9])
@pytest.mark.parametrize("connectivity", PICTURES + VOLUMES)
def test_equals_scipy_and_cc3d_at_size(connectivity: int, density: float) -> None:
    """Large enough for several strips of rows, and for memory that one item does not fill."""
    shape = (500, 701) if connectivity in PICTURES else (40, 60, 131)
    mask = np.random.default_rng(connectivity).random(shape) < density
    labels, count = mk.regions.label(mask, connectivity=connectivity)
    theirs, their_count = ndimage.label(mask, connectivity_structure(connectivity))
    assert count == their_count
    np.testing.assert_array_equal(labels, theirs)
    other = cc3d.connected_components(mask, connectivity=connectivity).astype(np.int64)
    assert len(np.unique(other[mask])) == count
    pairs = np.unique(np.stack([labels[mask], other[mask]]), axis=1)
    assert pairs.shape[1] == count


def test_measures_of_a_spiral_and_of_a_comb() -> None:
    """Shapes whose runs join late."""
    spiral = np.zeros((41, 41), bool)
    for k in range(0, 20, 2):
        spiral[k, k : 41 - k] = spiral[k : 41 - k, 40 - k] = spiral[40 - k, k : 41 - k] = True
        spiral[k + 2 : 41 - k, k] = True
        spiral[k + 2, k : k + 3] = True
    comb = np.zeros((30, 1000), bool)
    comb[:, ::2] = True
    comb[-1] = True
    for mask in (spiral, comb, comb[::-1], comb.T, spiral[:, ::-1]):
        labels, count, measures = mk.regions.label(mask, connectivity=4, return_measures=True)
        wanted, wanted_count = ndimage.label(mask)
        np.testing.assert_array_equal(labels, wanted)
        for name, values in reference_measures(wanted, wanted_count).items():
            np.testing.assert_allclose(getattr(measures, name), values, atol=1e-8, err_msg=name)
        assert count == wanted_count


def test_does_not_depend_on_threads() -> None:
    for shape, connectivity in (((900, 613), 8), ((30, 90, 113), 26), ((6, 90, 113), 4)):
        mask = np.random.default_rng(3).random(shape) < 0.5

        def call(mask: np.ndarray = mask, connectivity: int = connectivity) -> list[np.ndarray]:
            labels, count, found = mk.regions.label(mask, connectivity=connectivity, return_measures=True)
            items = found if isinstance(found, list) else [found]
            return [labels, np.array(count), *(array for item in items for array in item)]

        first, *others = with_threads(call)
        for other in others:
            assert all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_batches() -> None:
    mask = np.random.default_rng(5).random((3, 4, 9, 11)) < 0.4
    labels, counts, measures = mk.regions.label(mask, connectivity=6, return_measures=True)
    assert len(counts) == len(measures) == 3
    for i in range(3):
        one, count, found = mk.regions.label(mask[i], connectivity=6, return_measures=True)
        np.testing.assert_array_equal(labels[i], one)
        assert counts[i] == count
        for name in MEASURES:
            np.testing.assert_array_equal(getattr(measures[i], name), getattr(found, name))
    labels, counts = mk.regions.label(mask[:0], connectivity=6)
    assert labels.shape == (0, 4, 9, 11)
    assert counts == []


def test_any_number_and_layout() -> None:
    mask = np.random.default_rng(7).random((40, 70)) < 0.5
    wanted = mk.regions.label(mask)[0]
    variants = [
        mask.astype(np.uint8) * 255,
        mask.astype(np.int64) * -3,
        mask.astype(">u4") << 24,
        mask.astype(np.int8) * -128,
        np.asfortranarray(mask),
        np.repeat(mask, 2, axis=1)[:, ::2],
        mask.tolist(),
    ]
    for variant in variants:
        np.testing.assert_array_equal(mk.regions.label(variant)[0], wanted)
    frozen = mask.copy()
    frozen.flags.writeable = False
    mk.regions.label(frozen)
    np.testing.assert_array_equal(mask, frozen)


def test_frameworks() -> None:
    mask = np.random.default_rng(9).random((20, 30)) < 0.5
    wanted, wanted_count, wanted_measures = mk.regions.label(mask, return_measures=True)
    labels, count, measures = mk.regions.label(torch.from_numpy(mask), return_measures=True)
    assert isinstance(labels, torch.Tensor)
    assert labels.dtype == torch.int32
    assert count == wanted_count
    np.testing.assert_array_equal(labels.numpy(), wanted)
    np.testing.assert_array_equal(measures.moments.numpy(), wanted_measures.moments)
    np.testing.assert_array_equal(mk.regions.label(jnp.asarray(mask))[0], wanted)


def test_bad_input() -> None:
    mask = np.ones((3, 4), bool)
    with pytest.raises(ValueError, match=r"connectivity must be 4 or 8 for pictures, or 6, 18 or 26"):
        mk.regions.label(mask, connectivity=5)
    with pytest.raises(TypeError, match="connectivity must be an integer"):
        mk.regions.label(mask, connectivity=8.0)
    with pytest.raises(ValueError, match=r"mask must have shape \[D, H, W\] or \[B, D, H, W\]"):
        mk.regions.label(mask, connectivity=26)
    with pytest.raises(ValueError, match=r"mask must have shape \[H, W\] or \[B, H, W\], but has shape \[\]"):
        mk.regions.label(np.ones(()))
    with pytest.raises(TypeError, match="mask must be boolean or integer, not float64"):
        mk.regions.label(np.ones((2, 2)))
    with pytest.raises(TypeError, match="mask must be an array of numbers"):
        mk.regions.label([["a"]])
    with pytest.raises(TypeError, match="mask must be an array of numbers"):
        mk.regions.label([[1, 2], [3]])
    huge = np.broadcast_to(np.uint8(1), (2**16, 2**15))
    with pytest.raises(ValueError, match="mask must have at most 2147483647 elements"):
        mk.regions.label(huge)
    with pytest.raises(mk.BackendError, match="no kernel for tensors on meta"):
        mk.regions.label(torch.ones(3, 3, dtype=torch.bool, device="meta"))

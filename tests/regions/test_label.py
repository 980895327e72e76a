"""Connected components against their definition and against SciPy and cc3d."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

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


def large_masks(connectivity: int) -> Iterator[np.ndarray]:
    """Masks of several strips of rows: extreme shapes, long runs, as many runs as there can be."""
    if connectivity in PICTURES:
        shapes: list[tuple[int, ...]] = [(70_001, 1), (1, 140_003), (700, 129), (301, 640)]
    else:
        shapes = [(2, 301, 257), (400, 2, 129), (90, 800, 1), (1, 301, 400), (50, 51, 64)]
    random = np.random.default_rng(connectivity)
    for shape in shapes:
        places = np.indices(shape, sparse=True)
        yield from (random.random(shape) < density for density in (0.25, 0.7))
        coarse = random.random([-(-size // 9) for size in shape]) < 0.6
        for axis in range(len(shape)):
            coarse = np.repeat(coarse, 9, axis=axis)
        yield coarse[tuple(map(slice, shape))]
        yield sum(places) % 2 == 0
        yield np.broadcast_to(places[-1] % 2 == 0, shape) | (places[-2] % 50 == 49)
        yield np.broadcast_to(places[-2] % 3 != 0, shape)
        yield np.ones(shape, bool)


@pytest.mark.parametrize("connectivity", PICTURES + VOLUMES)
def test_strips_join(connectivity: int) -> None:
    structure = connectivity_structure(connectivity)
    for mask in large_masks(connectivity):
        theirs, their_count = ndimage.label(mask, structure)
        for labels, count in with_threads(lambda m=mask: mk.regions.label(m, connectivity=connectivity)):
            assert count == their_count
            np.testing.assert_array_equal(labels, theirs)


CODE = """
import hashlib, sys, numpy as np, medkernels as mk
digest = hashlib.sha256()
for connectivity in (4, 8, 6, 18, 26):
    shape = (90, 200) if connectivity in (4, 8) else (9, 20, 70)
    for density in (0.1, 0.4, 0.8):
        mask = np.random.default_rng(connectivity).random(shape) < density
        labels, _, measures = mk.regions.label(mask, connectivity=connectivity, return_measures=True)
        for array in (labels, *measures, mk.regions.fill_holes(mask, connectivity=connectivity)):
            digest.update(np.ascontiguousarray(array).tobytes())
print(digest.hexdigest())
"""


def test_every_instruction_set_gives_the_same() -> None:
    def run(level: str) -> str:
        env = dict(os.environ, MEDKERNELS_SIMD=level)
        command = [sys.executable, "-c", CODE]
        return subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout

    assert run("baseline") == run("avx512") != ""


def sums_by_label(labels: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.bincount(labels.ravel(), values.ravel(), labels.max() + 1)[1:]


@pytest.mark.parametrize("connectivity", PICTURES + VOLUMES)
def test_measures_at_size(connectivity: int) -> None:
    """Sums over the elements of each label, by NumPy."""
    shape = (500, 701) if connectivity in PICTURES else (40, 60, 131)
    mask = np.random.default_rng(connectivity).random(shape) < 0.3
    labels, _, found = mk.regions.label(mask, connectivity=connectivity, return_measures=True)
    places = [np.broadcast_to(axis, shape).astype(float) for axis in np.indices(shape, sparse=True)]
    area = sums_by_label(labels, mask)
    np.testing.assert_array_equal(found.area, area)
    boxes = [[*(s.start for s in box), *(s.stop for s in box)] for box in ndimage.find_objects(labels)]
    np.testing.assert_array_equal(found.box, boxes)
    centroid = np.stack([sums_by_label(labels, axis) / area for axis in places], axis=1)
    np.testing.assert_allclose(found.centroid, centroid, rtol=1e-12)
    for i, a in enumerate(places):
        for j, b in enumerate(places):
            offsets = (a - centroid[labels - 1, i]) * (b - centroid[labels - 1, j]) * mask
            moment = sums_by_label(labels, offsets) / area
            np.testing.assert_allclose(found.moments[:, i, j], moment, rtol=1e-9, atol=1e-9)
    sides = np.zeros(shape)
    padded = np.pad(mask, 1)
    inside = (slice(1, -1),) * mask.ndim
    for axis in range(mask.ndim):
        for step in (-1, 1):
            sides += mask & ~np.roll(padded, step, axis)[inside]
    np.testing.assert_array_equal(found.perimeter, sums_by_label(labels, sides))


@pytest.mark.parametrize("shape", [(1, 2**20), (2**20, 1), (2**20, 1, 1), (1, 1, 2**20)])
def test_measures_of_the_longest_lines(shape: tuple[int, ...]) -> None:
    """Sums of products that 64 bits do not hold."""
    n = max(shape)
    connectivity = 4 if len(shape) == 2 else 6
    _, count, found = mk.regions.label(np.ones(shape, bool), connectivity=connectivity, return_measures=True)
    assert count == 1
    wanted = np.zeros((len(shape), len(shape)))
    wanted[shape.index(n), shape.index(n)] = (n * n - 1) / 12
    np.testing.assert_allclose(found.moments[0], wanted, rtol=1e-12)
    np.testing.assert_array_equal(found.box[0], [0] * len(shape) + list(shape))
    assert found.perimeter[0] == (2 * n + 2 if len(shape) == 2 else 4 * n + 2)


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

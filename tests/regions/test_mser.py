"""Stable regions against the definition and OpenCV."""

from __future__ import annotations

import cv2
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import medkernels as mk
from tests.reference.mser import mser as reference
from tests.regions.scenes import smooth_image, with_threads


def pixel_sets(found: mk.regions.Regions) -> list[frozenset[int]]:
    parts = np.split(np.asarray(found.elements), np.asarray(found.offsets)[1:-1])
    return [frozenset(part.tolist()) for part in parts] if len(found.level) else []


def scores(found: mk.regions.Regions) -> dict[frozenset[int], float]:
    return dict(zip(pixel_sets(found), np.asarray(found.score).tolist(), strict=True))


@st.composite
def small_pictures(draw: st.DrawFn) -> np.ndarray:
    """Few levels, so that plateaus, splits and ties are common."""
    shape = draw(st.tuples(st.integers(0, 9), st.integers(0, 9)))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    step = draw(st.sampled_from([1, 10, 60]))
    return (random.integers(0, draw(st.integers(1, 5)), shape) * step).astype(np.uint8)


@given(
    image=small_pictures(),
    delta=st.sampled_from([1, 5, 15, 255]),
    min_area=st.integers(1, 5),
    connectivity=st.sampled_from([4, 8]),
    polarity=st.sampled_from(["bright", "dark"]),
)
def test_equals_definition(
    image: np.ndarray, delta: int, min_area: int, connectivity: int, polarity: str
) -> None:
    found = mk.regions.mser(
        image,
        delta=delta,
        min_area=min_area,
        max_area=40,
        max_variation=1.5,
        min_diversity=0,
        polarity=polarity,
        connectivity=connectivity,
    )
    upright = image if polarity == "bright" else 255 - image
    wanted = reference(upright, delta, min_area, 40, 1.5, connectivity)
    assert scores(found) == pytest.approx(wanted)
    assert len(found.score) == len(wanted)
    levels = [image.ravel()[list(pixels)] for pixels in pixel_sets(found)]
    extreme = [part.min() if polarity == "bright" else part.max() for part in levels]
    assert found.level.tolist() == extreme
    assert (found.polarity == (1 if polarity == "bright" else -1)).all()


@pytest.mark.parametrize(("delta", "sigma"), [(5, 2.0), (2, 4.0), (3, 1.5)])
def test_most_regions_are_those_of_opencv(delta: int, sigma: float) -> None:
    """All but those for which the two definitions of variation lead to different levels."""
    image = smooth_image(delta, (288, 384), sigma)
    ours = set(pixel_sets(mk.regions.mser(image, delta=delta, min_diversity=0)))
    points, _ = cv2.MSER_create(delta=delta, min_diversity=0).detectRegions(image)
    theirs = {frozenset((p[:, 1] * image.shape[1] + p[:, 0]).tolist()) for p in points}
    assert len(theirs) > 100
    assert 0.9 < len(ours) / len(theirs) < 1.1
    assert len(ours & theirs) >= 0.7 * len(theirs)
    # A region that only one of them has differs little from one that the other has.
    for lost, others in ((theirs - ours, ours), (ours - theirs, theirs)):
        near = [max((len(a & b) / len(a | b) for b in others), default=0) for a in list(lost)[:15]]
        assert np.median(near) > 0.7


def test_nested_regions_that_differ_little() -> None:
    image = smooth_image(1, (200, 250), 3.0)
    every = mk.regions.mser(image, min_diversity=0)
    some = mk.regions.mser(image, min_diversity=0.5)
    kept, known = scores(some), scores(every)
    assert set(kept) < set(known)
    signs = dict(zip(pixel_sets(every), every.polarity.tolist(), strict=True))
    for a in kept:
        assert all(len(a) <= 0.5 * len(b) for b in kept if a < b and signs[a] == signs[b])
    for lost in set(known) - set(kept):
        near = [
            o
            for o in known
            if o != lost
            and (lost < o or o < lost)
            and signs[o] == signs[lost]
            and abs(len(o) - len(lost)) < 0.5 * max(len(o), len(lost))
        ]
        assert any(known[o] <= known[lost] for o in near)


def test_ellipses_fit() -> None:
    """The region of a drawn ellipse has its centre, axes and angle."""
    y, x = np.mgrid[:120, :160]
    turn, cx, cy = 0.6, 77.25, 61.5
    u = np.cos(turn) * (x - cx) + np.sin(turn) * (y - cy)
    v = -np.sin(turn) * (x - cx) + np.cos(turn) * (y - cy)
    image = np.where((u / 40) ** 2 + (v / 15) ** 2 <= 1, 30, 220).astype(np.uint8)
    found = mk.regions.mser(image, polarity="dark")
    assert found.level.tolist() == [30]
    np.testing.assert_allclose(found.centers[0], [cx, cy], atol=0.1)
    np.testing.assert_allclose(found.axes[0], [40, 15], atol=0.15)
    np.testing.assert_allclose(found.angles[0], turn, atol=0.01)


def test_polarities_batches_threads_and_frameworks() -> None:
    batch = np.stack([smooth_image(seed, (90, 110)) for seed in range(3)] + [np.zeros((90, 110), np.uint8)])

    def call() -> list[np.ndarray]:
        return [array for found in mk.regions.mser(batch) for array in found]

    first, *others = with_threads(call)
    for other in others:
        assert all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))
    listed = mk.regions.mser(batch)
    assert len(listed[3].level) == 0
    assert listed[3].axes.shape == (0, 2)
    for image, found in zip(batch, listed, strict=True):
        for one in (mk.regions.mser(image), mk.regions.mser(torch.from_numpy(image))):
            assert all(np.array_equal(a, b) for a, b in zip(one, found, strict=True))
        bright, dark = (mk.regions.mser(image, polarity=p) for p in ("bright", "dark"))
        assert pixel_sets(dark) + pixel_sets(bright) == pixel_sets(found)
        assert pixel_sets(mk.regions.mser(255 - image, polarity="dark")) == pixel_sets(bright)
    assert isinstance(mk.regions.mser(torch.from_numpy(batch[0])).axes, torch.Tensor)
    np.testing.assert_array_equal(mk.regions.mser(jnp.asarray(batch[0])).elements, listed[0].elements)
    assert mk.regions.mser(batch[:0]) == []


def test_bad_input() -> None:
    image = np.zeros((9, 9), np.uint8)
    with pytest.raises(TypeError, match="image must be uint8, not float32"):
        mk.regions.mser(image.astype(np.float32))
    with pytest.raises(ValueError, match=r"image must have shape \[H, W\]"):
        mk.regions.mser(image[0])
    with pytest.raises(ValueError, match="delta must be from 1 to 255, not 0"):
        mk.regions.mser(image, delta=0)
    with pytest.raises(ValueError, match="max_area must be at least 60, not 59"):
        mk.regions.mser(image, max_area=59)
    with pytest.raises(ValueError, match="max_variation must be at least 0"):
        mk.regions.mser(image, max_variation=float("nan"))
    with pytest.raises(ValueError, match="polarity must be one of"):
        mk.regions.mser(image, polarity="grey")
    with pytest.raises(ValueError, match="connectivity must be 4 or 8, not 6"):
        mk.regions.mser(image, connectivity=6)

"""`farthest_point_sampling` against its definition; ties, degenerate clouds, lists, refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import medkernels as mk
from tests.points.clouds import clouds, with_threads
from tests.reference.farthest_point_sampling import farthest_point_sampling as reference


@given(clouds(least=1), st.data())
def test_equals_definition(points: np.ndarray, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, min(len(points), 25)))
    start = data.draw(st.integers(0, len(points) - 1))
    picks = mk.points.farthest_point_sampling(points, count, start=start)
    assert picks.dtype == np.int64
    assert picks.tolist() == reference(points, count, start)


@pytest.mark.parametrize(("count", "dimensions", "samples"), [(3000, 3, 900), (3000, 3, 20), (2000, 11, 200)])
@pytest.mark.parametrize("lattice", [False, True])
def test_many_points(count: int, dimensions: int, samples: int, lattice: bool) -> None:
    """Boxes of several levels, and picks that go over all points."""
    rng = np.random.default_rng(1)
    size = (count, dimensions)
    points = rng.integers(0, 12, size).astype(np.float32) if lattice else rng.normal(size=size)
    picks, nearest = [0], np.full(count, np.inf)
    while len(picks) < samples:
        squared = np.zeros(count)
        for d in range(dimensions):
            squared += (points[:, d].astype(np.float64) - np.float64(points[picks[-1], d])) ** 2
        nearest = np.minimum(nearest, squared)
        picks.append(int(nearest.argmax()))
    assert mk.points.farthest_point_sampling(points, samples).tolist() == picks


def test_points_that_coincide_are_picked_again() -> None:
    assert mk.points.farthest_point_sampling(np.ones((5, 2)), 3, start=2).tolist() == [2, 0, 0]


def test_batches_and_lists_are_their_items() -> None:
    rng = np.random.default_rng(2)
    batch = rng.normal(size=(3, 40, 3))
    picks = mk.points.farthest_point_sampling(batch, 7)
    assert picks.shape == (3, 7)
    ragged = [batch[0], batch[1, :9]]
    some = mk.points.farthest_point_sampling(ragged, [12, 4], start=1)
    for i in range(3):
        assert np.array_equal(picks[i], mk.points.farthest_point_sampling(batch[i], 7))
    for i, count in enumerate([12, 4]):
        assert np.array_equal(some[i], mk.points.farthest_point_sampling(ragged[i], count, start=1))


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    points = np.random.default_rng(3).normal(size=(20_000, 3)).astype(np.float32)
    first, *others = with_threads(lambda: mk.points.farthest_point_sampling(points, 500).tolist())
    assert all(other == first for other in others)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"n_samples": 0}, ValueError, "n_samples must be at least 1"),
        ({"n_samples": 4}, ValueError, "n_samples is 4, but points has 3 points"),
        ({"n_samples": 2.0}, TypeError, "n_samples must be an integer"),
        ({"n_samples": [2]}, ValueError, "points is one cloud"),
        ({"start": 3}, ValueError, "start is 3, but points has 3 points"),
        ({"start": -1}, ValueError, "start must be at least 0"),
        ({"points": np.zeros((0, 2))}, ValueError, "points must hold at least one point"),
        ({"points": np.full((2, 2), np.inf)}, ValueError, "points must be finite"),
        ({"points": [np.zeros((3, 1))], "n_samples": [1, 2]}, ValueError, "n_samples holds 2 numbers"),
    ],
)
def test_refusals(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    call: dict[str, Any] = {"points": np.zeros((3, 2)), "n_samples": 1}
    with pytest.raises(error, match=message):
        mk.points.farthest_point_sampling(**(call | arguments))

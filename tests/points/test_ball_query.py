"""`ball_query` against its definition; radii that points lie on, degenerate clouds, refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import medkernels as mk
from tests.points.clouds import clouds
from tests.reference.ball_query import ball_query as reference


@given(
    clouds(dimensions=3),
    clouds(dimensions=3),
    st.sampled_from([0.0, 0.7, 1.0, 2.0, 50.0]),
    st.integers(1, 90),
)
def test_equals_definition(points: np.ndarray, queries: np.ndarray, radius: float, k: int) -> None:
    asking = queries.astype(points.dtype)
    indices, squared = mk.points.ball_query(points, asking, radius=radius, k=k)
    expected, distances = reference(points, asking, radius, k)
    assert np.array_equal(indices, expected)
    assert np.array_equal(squared, distances.astype(points.dtype))


@given(clouds(), st.integers(1, 8))
def test_any_number_of_coordinates(points: np.ndarray, k: int) -> None:
    indices, _ = mk.points.ball_query(points, points, radius=1.5, k=k)
    assert np.array_equal(indices, reference(points, points, 1.5, k)[0])


@pytest.mark.parametrize("dimensions", [3, 10])
def test_points_at_the_radius(dimensions: int) -> None:
    """A sphere in float32 whose points lie in or out by less than float32 can tell."""
    points = np.random.default_rng(1).normal(size=(1200, dimensions))
    points = (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)
    queries = np.vstack([np.zeros(dimensions), 1e-7 * points[0]]).astype(np.float32)
    indices, _ = mk.points.ball_query(points, queries, radius=1.0, k=1200)
    expected, _ = reference(points, queries, 1.0, 1200)
    assert 0 < (expected >= 0).sum() < expected.size
    assert np.array_equal(indices, expected)


def test_batches_are_their_items() -> None:
    batch = np.random.default_rng(0).normal(size=(2, 200, 3)).astype(np.float32)
    indices, squared = mk.points.ball_query(batch, batch[:, :9], radius=0.8, k=6)
    assert indices.shape == squared.shape == (2, 9, 6)
    for i in range(2):
        assert np.array_equal(indices[i], mk.points.ball_query(batch[i], batch[i, :9], radius=0.8, k=6)[0])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"radius": -1.0}, ValueError, "radius must be at least 0"),
        ({"radius": np.nan}, ValueError, "radius must be"),
        ({"radius": np.inf}, ValueError, "radius must be finite"),
        ({"radius": "1"}, TypeError, "radius must be a number"),
        ({"k": 0}, ValueError, "k must be at least 1"),
        ({"queries": None}, TypeError, "queries must be a cloud"),
        ({"queries": np.full((1, 2), np.nan)}, ValueError, "queries must be finite"),
    ],
)
def test_refusals(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    call: dict[str, Any] = {"points": np.zeros((3, 2)), "queries": np.zeros((1, 2)), "radius": 1.0, "k": 1}
    with pytest.raises(error, match=message):
        mk.points.ball_query(**(call | arguments))

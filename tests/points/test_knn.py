"""`knn` against its definition and SciPy's k-d tree; ties, degenerate clouds, frameworks, refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import cKDTree

import medkernels as mk
from tests.points.clouds import clouds, with_threads
from tests.reference.knn import knn as reference


@given(clouds(), st.integers(1, 40), st.booleans())
def test_equals_definition(points: np.ndarray, k: int, include_self: bool) -> None:
    indices, squared = mk.points.knn(points, k=k, include_self=include_self)
    expected, distances = reference(points, None, k, include_self)
    assert indices.dtype == np.int64
    assert squared.dtype == points.dtype
    assert np.array_equal(indices, expected)
    assert np.array_equal(squared, distances.astype(points.dtype))


@given(clouds(dimensions=3), clouds(dimensions=3), st.integers(1, 20))
def test_queries_of_their_own(points: np.ndarray, queries: np.ndarray, k: int) -> None:
    asking = queries.astype(points.dtype)
    indices, squared = mk.points.knn(points, asking, k=k)
    expected, distances = reference(points, asking, k)
    assert np.array_equal(indices, expected)
    assert np.array_equal(squared, distances.astype(points.dtype))


@pytest.mark.parametrize(
    ("count", "dimensions", "k"), [(5000, 3, 32), (3000, 11, 10), (1500, 40, 5), (3000, 2, 200)]
)
def test_many_points(count: int, dimensions: int, k: int) -> None:
    """Trees of many levels, and blocks without boxes."""
    points = np.random.default_rng(1).normal(size=(count, dimensions))
    indices, squared = mk.points.knn(points, k=k)
    distances, expected = cKDTree(points).query(points, k)
    assert np.array_equal(indices, expected)
    assert np.allclose(squared, distances**2)


@pytest.mark.parametrize(
    "points", [np.zeros((100, 3)), np.repeat(np.arange(4.0), 30)[:, None]], ids=["one place", "four"]
)
def test_coincident_points_rank_by_index(points: np.ndarray) -> None:
    indices, _ = mk.points.knn(points, k=40)
    assert np.array_equal(indices, reference(points, None, 40)[0])


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    points = np.random.default_rng(2).integers(0, 9, (4000, 3)).astype(np.float32)
    (indices, squared), *others = with_threads(lambda: mk.points.knn(points, k=12))
    for found, distances in others:
        assert np.array_equal(found, indices)
        assert np.array_equal(distances, squared)


def test_batches_and_lists_are_their_items() -> None:
    rng = np.random.default_rng(3)
    batch = rng.normal(size=(3, 50, 4))
    indices, squared = mk.points.knn(batch, k=5)
    assert indices.shape == squared.shape == (3, 50, 5)
    ragged = [rng.normal(size=(count, 2)) for count in (0, 1, 70)]
    found, distances = mk.points.knn(ragged, [np.ones((2, 2))] * 3, k=3)
    for i in range(3):
        assert np.array_equal(indices[i], mk.points.knn(batch[i], k=5)[0])
        one, apart = mk.points.knn(ragged[i], np.ones((2, 2)), k=3)
        assert np.array_equal(found[i], one)
        assert np.array_equal(distances[i], apart)
    assert found[0].tolist() == [[-1, -1, -1]] * 2
    assert mk.points.knn([], k=3) == ([], [])


@pytest.mark.parametrize("dimensions", [2, 10, 40])
@pytest.mark.parametrize(
    ("scale", "dtype"),
    [(1e-25, "f4"), (1, "f4"), (1e17, "f4"), (1e-170, "f8"), (1, "f8"), (1e149, "f8")],
)
def test_equal_but_for_rounding(scale: float, dtype: str, dimensions: int) -> None:
    """Points on a sphere: which is nearer shows past the last place of their type."""
    rng = np.random.default_rng(5)
    points = rng.normal(size=(1200, dimensions))
    points = (scale * points / np.linalg.norm(points, axis=1, keepdims=True)).astype(dtype)
    queries = np.vstack([np.zeros(dimensions), 1e-7 * points[0], 1e-3 * points[1]]).astype(dtype)
    indices, squared = mk.points.knn(points, queries, k=20)
    expected, distances = reference(points, queries, 20)
    assert np.array_equal(indices, expected)
    assert np.array_equal(squared, distances.astype(dtype))


def test_far_apart_clouds() -> None:
    """Distances of 1 among coordinates of 1e15 survive."""
    points = np.arange(6.0)[:, None] + 1e15
    assert mk.points.knn(points, k=3)[0].tolist() == reference(points, None, 3)[0].tolist()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"points": np.zeros(3)}, ValueError, r"points must have shape \[N, D\]"),
        ({"points": np.zeros((3, 0))}, ValueError, "from 1 to 64 coordinates"),
        ({"points": np.zeros((3, 65))}, ValueError, "from 1 to 64 coordinates"),
        ({"points": np.zeros((3, 2), np.int32)}, TypeError, "float32 or float64"),
        ({"points": [np.zeros((3, 2)), np.zeros((3, 2), np.float32)]}, TypeError, r"points\[1\] is float32"),
        ({"points": np.array([[0.0, np.nan]])}, ValueError, "points must be finite.* element 1"),
        ({"points": [np.zeros((1, 1)), np.full((1, 1), np.inf)]}, ValueError, r"points\[1\] must be finite"),
        ({"points": np.full((1, 1), 1e19, np.float32)}, ValueError, "at most 1e18"),
        ({"points": np.zeros((3, 2)), "queries": np.zeros((3, 3))}, ValueError, "queries has 3 coordinates"),
        ({"points": np.zeros((3, 2)), "queries": np.zeros((1, 3, 2))}, ValueError, "points is one cloud"),
        (
            {"points": np.zeros((2, 3, 2)), "queries": np.zeros((1, 3, 2))},
            ValueError,
            "queries holds 1 clouds",
        ),
        ({"points": np.zeros((3, 2)), "k": 0}, ValueError, "k must be at least 1"),
        ({"points": np.zeros((3, 2)), "k": 1.5}, TypeError, "k must be an integer"),
        ({"points": np.zeros((3, 2)), "include_self": 1}, TypeError, "include_self"),
        (
            {"points": np.zeros((3, 2)), "queries": np.zeros((3, 2)), "include_self": False},
            ValueError,
            "goes without queries",
        ),
    ],
)
def test_refusals(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        mk.points.knn(**{"k": 1, **arguments})


def test_points_are_read_where_they_stand() -> None:
    """Any strides and byte order, read-only; nothing is changed."""
    points = np.random.default_rng(4).normal(size=(30, 6))
    expected = mk.points.knn(np.ascontiguousarray(points[::2, ::-2]), k=4)[0]
    view = points[::2, ::-2]
    view.flags.writeable = False
    assert np.array_equal(mk.points.knn(view, k=4)[0], expected)
    assert np.array_equal(mk.points.knn(view.astype(">f8"), k=4)[0], expected)

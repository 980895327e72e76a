"""`local_reference_axis` against its definition; rotations, permutations, degenerate clouds, refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

import medkernels as mk
from tests.points.clouds import with_threads
from tests.reference.local_reference_axis import local_reference_axis as reference


def neighbours_of(points: np.ndarray, k: int) -> np.ndarray:
    """Indices of the nearest points, each itself among them."""
    return mk.points.knn(points, k=k)[0]


@given(st.integers(0, 2**32 - 1), st.integers(5, 60), st.integers(5, 40), st.booleans())
def test_equals_definition(seed: int, count: int, k: int, weighted: bool) -> None:
    points = np.random.default_rng(seed).normal(size=(count, 3))
    table = neighbours_of(points, k)
    axes = mk.points.local_reference_axis(points, table, weighted=weighted)
    assert np.allclose(axes, reference(points, table, weighted), atol=1e-7)


@given(st.integers(0, 2**32 - 1), st.floats(1e-3, 1e6))
def test_turns_and_moves_with_the_cloud(seed: int, size: float) -> None:
    rng = np.random.default_rng(seed)
    points = size * rng.normal(size=(40, 3))
    table = neighbours_of(points, 16)
    turn = Rotation.random(random_state=seed).as_matrix()
    axes = mk.points.local_reference_axis(points, table)
    turned = mk.points.local_reference_axis(points @ turn.T + size, table)
    assert np.allclose(axes @ turn.T, turned, atol=1e-7)


@given(st.integers(0, 2**32 - 1))
def test_permutes_with_the_points(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points, order = rng.normal(size=(30, 3)), rng.permutation(30)
    place = np.argsort(order)
    table = neighbours_of(points, 9)
    moved = mk.points.local_reference_axis(points[order], place[table[order]])
    assert np.allclose(moved, mk.points.local_reference_axis(points, table)[order], atol=1e-9)


def test_float32_is_float64_rounded() -> None:
    points = np.random.default_rng(0).normal(size=(300, 3)).astype(np.float32)
    table = neighbours_of(points, 20)
    axes = mk.points.local_reference_axis(points, table)
    assert axes.dtype == np.float32
    assert np.array_equal(axes, mk.points.local_reference_axis(points.astype(np.float64), table).astype("f4"))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("seed", range(5))
def test_no_axis_where_none_is_distinguished(dtype: Any, seed: int) -> None:
    """One place, a line, a ball of a lattice, each turned and moved, one neighbour, none."""
    turn = Rotation.random(random_state=seed).as_matrix()
    cube = np.stack(np.meshgrid(*[[-1.0, 0, 1]] * 3), axis=-1).reshape(-1, 3)
    line = np.arange(-5.0, 5)[:, None] * np.array([[1.0, 2, 3]])
    for points in (np.zeros((9, 3)), line, cube):
        cloud = (points @ turn.T + turn[0]).astype(dtype)
        whole = np.tile(np.arange(len(cloud)), (len(cloud), 1))
        middle = len(cloud) // 2
        for weighted in (False, True):
            axes = mk.points.local_reference_axis(cloud, whole, weighted=weighted)
            assert axes[middle].tolist() == [0, 0, 0]
    axes = mk.points.local_reference_axis(cloud, np.full((27, 1), 3), weighted=False)
    assert not axes.any()
    assert not mk.points.local_reference_axis(cloud, np.full((27, 4), -1)).any()
    assert mk.points.local_reference_axis(cloud[:1], np.zeros((1, 1), int)).tolist() == [[0, 0, 0]]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_flat_clouds_have_normals(dtype: Any) -> None:
    points = np.random.default_rng(3).normal(size=(50, 3))
    points[:, 2] = 7
    table = neighbours_of(points, 8)
    axes = mk.points.local_reference_axis(points.astype(dtype), table)
    assert np.array_equal(axes, np.tile([0, 0, 1], (50, 1)))


@pytest.mark.parametrize("size", [1e-140, 1e148])
def test_sizes_do_not_overflow(size: float) -> None:
    points = np.random.default_rng(4).normal(size=(30, 3))
    table = neighbours_of(points, 10)
    axes = mk.points.local_reference_axis(points, table)
    assert np.allclose(mk.points.local_reference_axis(points * size, table), axes, atol=1e-9)


def test_batches_and_lists_are_their_items() -> None:
    batch = np.random.default_rng(5).normal(size=(3, 40, 3))
    tables = mk.points.knn(batch, k=7)[0]
    axes = mk.points.local_reference_axis(batch, tables)
    lists = mk.points.local_reference_axis([batch[0], batch[1, :0]], [tables[0], tables[1, :0]])
    for i in range(3):
        assert np.array_equal(axes[i], mk.points.local_reference_axis(batch[i], tables[i]))
    assert np.array_equal(lists[0], axes[0])
    assert lists[1].shape == (0, 3)
    assert mk.points.local_reference_axis([], []) == []


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    points = np.random.default_rng(6).normal(size=(3000, 3)).astype(np.float32)
    table = neighbours_of(points, 12)
    first, *others = with_threads(lambda: mk.points.local_reference_axis(points, table))
    assert all(np.array_equal(first, other) for other in others)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"points": np.zeros((3, 2))}, ValueError, r"points must have shape \[N, 3\]"),
        ({"points": np.zeros((3, 3), int)}, TypeError, "float32 or float64"),
        ({"points": np.full((3, 3), np.nan)}, ValueError, "points must be finite"),
        ({"neighbours": np.zeros((2, 1), int)}, ValueError, "neighbours must have shape"),
        ({"neighbours": np.full((3, 1), 3)}, ValueError, "neighbours must be from -1 to 2"),
        ({"neighbours": np.full((3, 1), -2)}, ValueError, "neighbours must be from -1 to 2"),
        ({"neighbours": np.zeros((3, 1))}, TypeError, "neighbours must hold integers"),
        ({"neighbours": np.zeros((1, 3, 1), int)}, ValueError, "give as many of both"),
        ({"weighted": 1}, TypeError, "weighted must be True or False"),
    ],
)
def test_refusals(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    call: dict[str, Any] = {"points": np.zeros((3, 3)), "neighbours": np.zeros((3, 1), int)}
    with pytest.raises(error, match=message):
        mk.points.local_reference_axis(**(call | arguments))

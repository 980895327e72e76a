"""`rotation_invariant_features` against its definition; rotations, permutations, ties, refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

import medkernels as mk
from tests.points.clouds import with_threads
from tests.reference.rotation_invariant_features import rotation_invariant_features as reference


def described(points: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Features and order of all points with their nearest neighbours."""
    table = mk.points.knn(points, k=k)[0]
    axes = mk.points.local_reference_axis(points, table)
    return mk.points.rotation_invariant_features(points, axes, np.arange(len(points)), table)


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 50))
def test_equals_definition(seed: int, count: int, k: int) -> None:
    """Random clouds, also with fewer points than neighbours; random axes, some of them 0."""
    rng = np.random.default_rng(seed)
    points, axes = rng.normal(size=(2, count, 3))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    axes[rng.random(count) < 0.1] = 0
    centers = rng.integers(0, count, 6)
    table = mk.points.knn(points, points[centers], k=k)[0]
    table[rng.random(table.shape) < 0.1] = -1
    features, ordered = mk.points.rotation_invariant_features(points, axes, centers, table)
    expected, order = reference(points, axes, centers, table)
    assert np.array_equal(ordered, order)
    assert np.allclose(features, expected, atol=1e-7)


@given(st.integers(0, 2**32 - 1), st.integers(2, 30))
def test_turned_clouds_have_the_same_features(seed: int, k: int) -> None:
    points = np.random.default_rng(seed).normal(size=(40, 3))
    turn = Rotation.random(random_state=seed).as_matrix()
    features, ordered = described(points, k)
    turned, order = described(points @ turn.T, k)
    assert np.array_equal(ordered, order)
    assert np.abs(features - turned).max() <= 1e-6


@pytest.mark.parametrize("seed", range(3))
def test_turned_clouds_in_float32(seed: int) -> None:
    """At most 1e-4 apart, but for what rounding of the coordinates decides: axes where two eigenvalues nearly
    agree, and comparisons of nearly equal numbers."""
    points = np.random.default_rng(seed).normal(size=(1000, 3))
    turn = Rotation.random(random_state=seed).as_matrix()
    table = mk.points.knn(points, k=32)[0]
    results = []
    for cloud in (points, points @ turn.T):
        axes = mk.points.local_reference_axis(cloud, table).astype(np.float32)
        results.append(
            mk.points.rotation_invariant_features(cloud.astype(np.float32), axes, np.arange(1000), table)
        )
    apart = np.abs(results[0][0] - results[1][0])
    assert (apart > 1e-4).mean() < 1e-4
    assert np.median(apart) < 1e-6


@given(st.integers(0, 2**32 - 1))
def test_permutes_with_the_points(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points, order = rng.normal(size=(30, 3)), rng.permutation(30)
    features, ordered = described(points, 8)
    moved, places = described(points[order], 8)
    assert np.allclose(moved, features[order], atol=1e-7)
    assert np.array_equal(order[places], ordered[order])


def test_ties_on_a_lattice_are_those_of_the_definition() -> None:
    """Neighbours in one direction, on the axis, opposite, and twice the same."""
    points = np.stack(np.meshgrid(*[[-1.0, 0, 1]] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    points = np.concatenate([points, points[:5], 2 * points[9:14]])
    axes = np.tile([0.0, 0, 1], (len(points), 1))
    axes[::3] = [1, 0, 0]
    centers = np.arange(len(points))
    table = np.tile(centers, (len(points), 1))
    features, ordered = mk.points.rotation_invariant_features(points, axes, centers, table)
    expected, order = reference(points, axes, centers, table)
    assert np.array_equal(ordered, order)
    assert np.allclose(features, expected, atol=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_degenerate_clouds(dtype: Any) -> None:
    """One point; points in one place; a line: all numbers finite, and the same when turned."""
    features, ordered = described(np.ones((1, 3), dtype), 1)
    assert np.allclose(features, [[[0, -3, 0, 0, -np.pi / 2, 0, 0, -np.pi / 2]]])
    assert ordered.tolist() == [[0]]
    features, _ = described(np.ones((6, 3), dtype), 4)
    assert np.isfinite(features).all()
    assert not features[..., 0].any()
    line = np.arange(7.0)[:, None] * np.array([[1.0, 2, 2]])
    turn = Rotation.random(random_state=1).as_matrix()
    one, other = described(line.astype(dtype), 3)[0], described((line @ turn.T).astype(dtype), 3)[0]
    assert np.allclose(one, other, atol=1e-4)


def test_angles_near_0_and_pi_keep_their_digits() -> None:
    axes = np.array([[0.0, 0, 1], [1e-9, 0, 1], [1e-9, 0, -1], [0, 0, -1], [1, 0, 0]])
    points = np.random.default_rng(0).normal(size=(5, 3))
    features, ordered = mk.points.rotation_invariant_features(points, axes, [0], [[0, 1, 2, 3, 4]])
    angles = dict(zip(ordered[0].tolist(), np.abs(features[0, :, 4]), strict=True))
    wanted = [0, 1e-9, np.pi - 1e-9, np.pi, np.pi / 2]
    assert np.allclose([angles[i] for i in range(5)], wanted, rtol=1e-7, atol=1e-15)


@pytest.mark.parametrize("k", [255, 256, 257, 700])
def test_wide_tables(k: int) -> None:
    """Ranks by counting, and by sorting above 256 neighbours, give one order."""
    points = np.random.default_rng(7).normal(size=(800, 3))
    table = mk.points.knn(points, points[:3], k=k)[0]
    axes = np.tile([0.0, 0.6, 0.8], (800, 1))
    features, ordered = mk.points.rotation_invariant_features(points, axes, [0, 1, 2], table)
    expected, order = reference(points, axes, np.arange(3), table)
    assert np.array_equal(ordered, order)
    assert np.allclose(features, expected, atol=1e-7)


def test_batches_and_lists_are_their_items() -> None:
    batch = np.random.default_rng(5).normal(size=(3, 40, 3)).astype(np.float32)
    tables = mk.points.knn(batch, k=7)[0]
    axes = mk.points.local_reference_axis(batch, tables)
    centers = np.tile(np.arange(0, 40, 4), (3, 1))
    few = tables[:, ::4]
    features, ordered = mk.points.rotation_invariant_features(batch, axes, centers, few)
    assert features.shape == (3, 10, 7, 8)
    lists = mk.points.rotation_invariant_features(list(batch), list(axes), list(centers), list(few))
    for i in range(3):
        one = mk.points.rotation_invariant_features(batch[i], axes[i], centers[i], few[i])
        assert np.array_equal(features[i], one[0])
        assert np.array_equal(ordered[i], one[1])
        assert np.array_equal(lists[0][i], one[0])


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    points = np.random.default_rng(6).normal(size=(2000, 3)).astype(np.float32)
    (features, ordered), *others = with_threads(lambda: described(points, 12))
    assert all(np.array_equal(features, other[0]) for other in others)
    assert all(np.array_equal(ordered, other[1]) for other in others)


def test_tensors_carry_no_derivatives() -> None:
    points = torch.randn(20, 3, requires_grad=True)
    table = mk.points.knn(points, k=4)[0]
    axes = mk.points.local_reference_axis(points, table)
    features, ordered = mk.points.rotation_invariant_features(points, axes, torch.arange(20), table)
    assert isinstance(features, torch.Tensor)
    assert not any(tensor.requires_grad for tensor in (axes, features, ordered))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"axes": np.zeros((2, 3))}, ValueError, "axes must have shape"),
        ({"axes": np.zeros((3, 3), np.float32)}, TypeError, "axes is float32, but points is float64"),
        ({"axes": np.ones((3, 3))}, ValueError, "axes must hold vectors of length 1 or 0"),
        ({"axes": np.full((3, 3), np.nan)}, ValueError, "axes must be finite"),
        ({"centers": [3]}, ValueError, "centers must be from 0 to 2"),
        ({"centers": [-1]}, ValueError, "centers must be from 0 to 2"),
        ({"centers": [0.0]}, TypeError, "centers must hold integers"),
        ({"centers": [0, 1]}, ValueError, "neighbours must have shape"),
        ({"neighbours": [[3]]}, ValueError, "neighbours must be from -1 to 2"),
        ({"points": np.full((3, 3), 1e200)}, ValueError, "points must be finite"),
    ],
)
def test_refusals(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    call: dict[str, Any] = {"points": np.zeros((3, 3)), "axes": np.zeros((3, 3))}
    call |= {"centers": [0], "neighbours": [[1]]}
    with pytest.raises(error, match=message):
        mk.points.rotation_invariant_features(**(call | arguments))

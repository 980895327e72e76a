"""`voxelize` against its definition; gradients, batches, threads, refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import medkernels as mk
from tests.points.clouds import with_threads
from tests.reference.voxelize import placed
from tests.reference.voxelize import voxelize as reference


@st.composite
def clouds(draw: Any) -> tuple[np.ndarray, np.ndarray]:
    """Points within and beyond the grid, or on eighths so that they lie right between cells."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count, channels = draw(st.integers(0, 16)), draw(st.sampled_from([0, 1, 3, 20]))
    if draw(st.booleans()):
        count = 2 ** int(np.log2(max(count, 1)))  # so that the mean of eighths is exact
        points = rng.integers(-9, 10, (count, 3)) / 8
    else:
        points = rng.uniform(-1.5, 1.5, (count, 3))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    return points.astype(dtype), rng.normal(size=(count, channels)).astype(dtype)


@given(clouds(), st.integers(1, 6), st.booleans())
def test_equals_definition(
    cloud: tuple[np.ndarray, np.ndarray], resolution: int, subtract_mean: bool
) -> None:
    points, features = cloud
    grid = mk.points.voxelize(points, features, resolution=resolution, subtract_mean=subtract_mean)
    assert grid.dtype == points.dtype
    places = (np.array(placed(points, subtract_mean)).reshape(-1, 3) + 1) / 2 * resolution
    if (np.abs(np.abs(places - np.floor(places)) - 0.5) < 1e-9).any() and not np.array_equal(
        points * 8, np.round(points * 8)
    ):
        return  # rounding of the mean decides
    wanted = reference(points, features, resolution, subtract_mean)
    np.testing.assert_allclose(grid, wanted, rtol=0, atol=1e-14 if grid.dtype == np.float64 else 1e-6)


def test_gradcheck() -> None:
    rng = np.random.default_rng(0)
    points = torch.from_numpy(rng.uniform(-1, 1, (2, 12, 3)))
    features = torch.tensor(rng.normal(size=(2, 12, 3)), requires_grad=True)

    def average(features: torch.Tensor) -> torch.Tensor:
        grid: torch.Tensor = mk.points.voxelize(points, features, resolution=2)
        return grid

    assert torch.autograd.gradcheck(average, [features])


def test_batches_and_lists_are_their_items() -> None:
    rng = np.random.default_rng(1)
    points, features = rng.uniform(-1, 1, (3, 20, 3)), rng.normal(size=(3, 20, 5))
    batch = mk.points.voxelize(points, features, resolution=4)
    assert batch.shape == (3, 5, 4, 4, 4)
    ragged = [points[0], points[1, :7]], [features[0], features[1, :7]]
    listed = mk.points.voxelize(*ragged, resolution=4)
    for i in range(2):
        assert np.array_equal(batch[i], mk.points.voxelize(points[i], features[i], resolution=4))
        assert np.array_equal(listed[i], mk.points.voxelize(ragged[0][i], ragged[1][i], resolution=4))


def test_results_do_not_depend_on_threads() -> None:
    rng = np.random.default_rng(2)
    points = torch.from_numpy(rng.normal(size=(3, 2000, 3)))

    def results() -> list[bytes]:
        features = torch.from_numpy(np.random.default_rng(3).normal(size=(3, 2000, 37))).requires_grad_()
        grid = mk.points.voxelize(points, features, resolution=8)
        (grid**2).sum().backward()
        return [grid.detach().numpy().tobytes(), features.grad.numpy().tobytes()]

    first, *others = with_threads(results)
    assert all(other == first for other in others)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"points": np.zeros((3, 2))}, ValueError, r"points must have shape \[N, 3\]"),
        ({"points": np.full((3, 3), np.inf)}, ValueError, "points must be finite"),
        ({"features": np.zeros((2, 1))}, ValueError, r"features must have shape \[N, C\] with N = 3"),
        ({"features": np.zeros((3, 1), np.float32)}, TypeError, "features is float32, but points is float64"),
        ({"features": [np.zeros((3, 1))]}, ValueError, "features is a list of 1, but points is one item"),
        ({"resolution": 0}, ValueError, "resolution must be at least 1"),
        ({"resolution": 1.5}, TypeError, "resolution must be an integer"),
        ({"resolution": 10**6}, ValueError, "is too large: it needs about"),
        ({"subtract_mean": 1}, TypeError, "subtract_mean must be True or False"),
        (
            {"points": [np.zeros((3, 3))] * 2, "features": [np.zeros((3, 1)), np.zeros((3, 2))]},
            ValueError,
            r"features\[1\] must have shape \[N, C\] with C = 1",
        ),
    ],
)
def test_refusals(change: dict[str, Any], error: type[Exception], message: str) -> None:
    call: dict[str, Any] = {"points": np.zeros((3, 3)), "features": np.zeros((3, 1)), "resolution": 2}
    with pytest.raises(error, match=message):
        mk.points.voxelize(**(call | change))

"""`devoxelize` against its definition; gradients, batches, threads, refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import medkernels as mk
from tests.instruction_sets import printed_with_each
from tests.points.clouds import with_threads
from tests.reference.devoxelize import devoxelize as reference


@st.composite
def calls(draw: Any) -> tuple[np.ndarray, np.ndarray, bool]:
    """Points within and beyond the grid, or in the middle of cells."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    side, count, channels = draw(st.integers(1, 5)), draw(st.integers(0, 12)), draw(st.integers(0, 3))
    points = rng.uniform(-1.5, 1.5, (count, 3))
    if draw(st.booleans()):
        points = np.round(points * side) * 2 / side - 1
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    grid = rng.normal(size=(channels, side, side, side)).astype(dtype)
    return grid, points.astype(dtype), draw(st.booleans())


@given(calls())
def test_equals_definition(call: tuple[np.ndarray, np.ndarray, bool]) -> None:
    grid, points, subtract_mean = call
    features = mk.points.devoxelize(grid, points, subtract_mean=subtract_mean)
    assert features.dtype == grid.dtype
    exact = torch.from_numpy(grid).double(), torch.from_numpy(points).double()
    wanted = reference(*exact, subtract_mean).numpy()
    np.testing.assert_allclose(features, wanted, rtol=0, atol=1e-12 if grid.dtype == np.float64 else 1e-5)


@pytest.mark.parametrize("subtract_mean", [False, True])
@pytest.mark.parametrize("side", [1, 2, 4])
def test_gradients(side: int, subtract_mean: bool) -> None:
    """Of points within the grid and beyond it."""
    rng = np.random.default_rng(side)
    grid = torch.tensor(rng.normal(size=(2, side, side, side)), requires_grad=True)
    points = torch.tensor(rng.uniform(-1.3, 1.3, (9, 3)), requires_grad=True)

    def interpolate(function: Any, grid: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = function(grid, points, subtract_mean=subtract_mean)
        return features

    assert torch.autograd.gradcheck(lambda g, p: interpolate(mk.points.devoxelize, g, p), [grid, points])
    ours, wanted = (
        torch.autograd.grad((interpolate(f, grid, points) ** 2).sum(), [grid, points])
        for f in (mk.points.devoxelize, reference)
    )
    for one, other in zip(ours, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("side", "count"), [(1, 200), (3, 1100), (9, 1100), (40, 600), (40, 3)])
def test_many_points_in_any_order(side: int, count: int, dtype: torch.dtype) -> None:
    """More points than are taken together, many in one cell or few in a grid; grids beyond a cache."""
    rng = np.random.default_rng(side)
    points = rng.uniform(-1.1, 1.1, (count, 3))
    points[: count // 3] = points[0]
    ours = [
        torch.tensor(array, dtype=dtype, requires_grad=True)
        for array in (rng.normal(size=(6, side, side, side)), points)
    ]
    theirs = [array.detach().double().requires_grad_() for array in ours]
    features, wanted = mk.points.devoxelize(*ours), reference(*theirs, subtract_mean=True)
    upstream = torch.tensor(rng.normal(size=wanted.shape), dtype=dtype)
    # Sums of a cell are in the dtype of the grid, and a point's slope grows with the cells along an edge.
    tolerance = 1e-11 if dtype == torch.float64 else 1e-5
    torch.testing.assert_close(features.double(), wanted, rtol=0, atol=tolerance)
    found = torch.autograd.grad(features, ours, upstream)
    for one, other in zip(found, torch.autograd.grad(wanted, theirs, upstream.double()), strict=True):
        torch.testing.assert_close(one.double(), other, rtol=tolerance, atol=100 * tolerance)


def test_instruction_sets_agree() -> None:
    code = """
import hashlib
import numpy as np
from medkernels import _core

found, rng = hashlib.sha256(), np.random.default_rng(0)
for dtype in (np.float32, np.float64):
    grids, points = rng.normal(size=(2, 5, 7, 7, 7)).astype(dtype), rng.uniform(-1, 1, (300, 3)).astype(dtype)
    starts, features = np.array([0, 90, 300]), np.empty((300, 5), dtype)
    _core.points.devoxelize(grids, points, starts, True, features)
    d_grids, d_points = np.empty_like(grids), np.empty_like(points)
    _core.points.devoxelize_backward(features, grids, points, starts, True, d_grids, d_points)
    for array in (features, d_grids, d_points):
        found.update(array.tobytes())
print(found.hexdigest())
"""
    assert len(printed_with_each(code)) == 1


def test_batches_and_lists_are_their_items() -> None:
    rng = np.random.default_rng(1)
    grids, points = rng.normal(size=(3, 5, 4, 4, 4)), rng.uniform(-1, 1, (3, 20, 3))
    batch = mk.points.devoxelize(grids, points)
    assert batch.shape == (3, 20, 5)
    ragged = [points[0], points[1, :7]]
    listed = mk.points.devoxelize(grids[:2], ragged)
    for i in range(2):
        assert np.array_equal(batch[i], mk.points.devoxelize(grids[i], points[i]))
        assert np.array_equal(listed[i], mk.points.devoxelize(grids[i], ragged[i]))
    assert np.array_equal(listed[1], mk.points.devoxelize([grids[0], grids[1]], ragged)[1])


def test_results_do_not_depend_on_threads() -> None:
    rng = np.random.default_rng(2)
    arrays = [rng.normal(size=(2, 7, 6, 6, 6)), rng.normal(size=(2, 3000, 3))]

    def results() -> list[bytes]:
        tensors = [torch.tensor(array, requires_grad=True) for array in arrays]
        features = mk.points.devoxelize(*tensors)
        (features**2).sum().backward()
        return [features.detach().numpy().tobytes(), *(t.grad.numpy().tobytes() for t in tensors)]

    first, *others = with_threads(results)
    assert all(other == first for other in others)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"points": np.zeros((3, 2))}, ValueError, r"points must have shape \[N, 3\]"),
        ({"points": np.full((3, 3), np.nan)}, ValueError, "points must be finite"),
        ({"grid": np.zeros((2, 3, 3, 4))}, ValueError, r"grid must have shape \[C, R, R, R\] with R = 3"),
        ({"grid": np.zeros((3, 3, 3))}, ValueError, r"grid must have shape \[C, R, R, R\], but has 3"),
        ({"grid": np.zeros((2, 0, 0, 0))}, ValueError, "grid must not be empty"),
        ({"grid": np.zeros((1, 2, 2, 2), np.float32)}, TypeError, "use one dtype"),
        ({"points": np.zeros((2, 3, 3))}, ValueError, r"grid must have shape \[B, C, R, R, R\]"),
        ({"subtract_mean": None}, TypeError, "subtract_mean must be True or False"),
    ],
)
def test_refusals(change: dict[str, Any], error: type[Exception], message: str) -> None:
    call: dict[str, Any] = {"grid": np.zeros((1, 2, 2, 2)), "points": np.zeros((3, 3))}
    with pytest.raises(error, match=message):
        mk.points.devoxelize(**(call | change))

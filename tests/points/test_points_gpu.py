"""Samples and neighbours of clouds in the memory of a GPU against the CPU: the same numbers."""

from __future__ import annotations

import shutil
from typing import Any

import numpy as np
import pytest
import torch

import medkernels as mk

# Not by what torch says: where there is a GPU that it cannot use, this is to fail and not to be skipped.
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(shutil.which("nvidia-smi") is None, reason="no NVIDIA GPU"),
]

DTYPES = [np.float32, np.float64]
KINDS = ["normal", "lattice", "copies", "one place", "line", "tiny", "huge", "far", "outliers"]


def cloud(kind: str, count: int, dimensions: int, dtype: Any, seed: int = 0) -> np.ndarray:
    """Points with and without ties, alike and unlike in size, that boxes divide well or badly."""
    rng = np.random.default_rng([seed, count, dimensions])
    points = rng.normal(size=(count, dimensions))
    if kind == "lattice":
        points = rng.integers(0, 4, (count, dimensions)).astype(float)
    elif kind == "copies":
        points = points[rng.integers(0, max(1, count // 4), count)]
    elif kind == "one place":
        points = np.ones((count, dimensions))
    elif kind == "line":
        points = rng.integers(0, 900, (count, 1)) * rng.normal(size=(1, dimensions))
    elif kind == "tiny":
        points *= 1e-22
    elif kind == "huge":
        points = np.clip(points * 4e17, -1e18, 1e18)
    elif kind == "far":
        points += 1e6
    elif kind == "outliers":
        points[::97] *= 1e12
    return points.astype(dtype)


def on_gpu(value: Any) -> Any:
    return [on_gpu(item) for item in value] if isinstance(value, list) else torch.from_numpy(value).cuda()


def check_equal(found: Any, wanted: Any) -> None:
    if isinstance(wanted, np.ndarray):
        assert found.is_cuda
        assert found.cpu().numpy().dtype == wanted.dtype
        np.testing.assert_array_equal(found.cpu().numpy(), wanted)
        return
    for ours, theirs in zip(found, wanted, strict=True):
        check_equal(ours, theirs)


def check_samples(points: Any, n_samples: Any, start: int = 0) -> None:
    wanted = mk.points.farthest_point_sampling(points, n_samples, start=start)
    check_equal(mk.points.farthest_point_sampling(on_gpu(points), n_samples, start=start), wanted)


def check_neighbours(points: Any, queries: Any = None, k: int = 8, include_self: bool = True) -> None:
    wanted = mk.points.knn(points, queries, k=k, include_self=include_self)
    asking = None if queries is None else on_gpu(queries)
    check_equal(mk.points.knn(on_gpu(points), asking, k=k, include_self=include_self), wanted)


def check_balls(points: Any, queries: Any, radius: float, k: int) -> None:
    wanted = mk.points.ball_query(points, queries, radius=radius, k=k)
    check_equal(mk.points.ball_query(on_gpu(points), on_gpu(queries), radius=radius, k=k), wanted)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_samples(kind: str, dtype: Any) -> None:
    """Clouds that one warp, one block and several blocks hold, in registers and in shared memory."""
    for count, dimensions, samples in (
        (1, 3, 1),
        (33, 1, 33),
        (1500, 2, 300),
        (3000, 3, 200),
        (8000, 3, 100),
        (9000, 2, 100),
        (40_000, 3, 200),
        (700, 64, 50),
        (6000, 11, 60),
        (50_000, 11, 25),
    ):
        check_samples(cloud(kind, count, dimensions, dtype), samples)


@pytest.mark.parametrize("dtype", DTYPES)
def test_samples_of_large_clouds(dtype: Any) -> None:
    """More than registers hold, more than shared memory holds."""
    for count, dimensions in ((1_000_000, 3), (3_000_000, 3), (400_000, 30), (1_500_000, 11)):
        check_samples(cloud("normal", count, dimensions, dtype), 12, start=7)


@pytest.mark.parametrize("dtype", DTYPES)
def test_samples_of_batches(dtype: Any) -> None:
    for count, dimensions in ((900, 3), (300, 20), (20_000, 3)):
        check_samples(np.stack([cloud("normal", count, dimensions, dtype, i) for i in range(9)]), 40)
    check_samples(np.stack([cloud("lattice", 60, 3, dtype, i) for i in range(1000)]), 20)
    shapes = [(5, 3), (30_000, 3), (12_000, 2), (300, 7), (2000, 1), (10_000, 12), (1, 1), (50_000, 3)]
    ragged = [cloud("normal", count, dimensions, dtype) for count, dimensions in shapes]
    check_samples(ragged, [min(count, 50 + i) for i, (count, _) in enumerate(shapes)])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_neighbours(kind: str, dtype: Any) -> None:
    """By tiles and by trees; lists in shared and in device memory."""
    for count, dimensions in (
        (1, 1),
        (70, 3),
        (1000, 64),
        (3000, 5),
        (4095, 3),
        (4096, 3),
        (6000, 1),
        (9000, 2),
    ):
        for k in (1, 16, 33, 200):
            check_neighbours(cloud(kind, count, dimensions, dtype), k=k, include_self=k != 16)


@pytest.mark.parametrize("dtype", DTYPES)
def test_neighbours_of_large_clouds(dtype: Any) -> None:
    check_neighbours(cloud("normal", 300_000, 3, dtype), k=32)
    check_neighbours(cloud("outliers", 50_000, 3, dtype), k=10)
    check_neighbours(cloud("normal", 20_000, 11, dtype), k=10)
    check_neighbours(cloud("normal", 3000, 3, dtype), k=3000)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_few_queries_of_many_points(kind: str, dtype: Any) -> None:
    """Parts of the points are searched apart."""
    for dimensions in (2, 7, 40):
        points, queries = cloud(kind, 60_000, dimensions, dtype), cloud(kind, 5, dimensions, dtype, 1)
        for k in (1, 20, 100):
            check_neighbours(points, queries, k)
            check_balls(points, queries, 1.5, k)


@pytest.mark.parametrize("dtype", DTYPES)
def test_neighbours_of_batches(dtype: Any) -> None:
    for count, dimensions in ((500, 3), (200, 20), (7000, 3)):
        check_neighbours(np.stack([cloud("normal", count, dimensions, dtype, i) for i in range(9)]), k=12)
    check_neighbours(np.stack([cloud("lattice", 30, 3, dtype, i) for i in range(1000)]), k=5)
    shapes = [(5, 3), (0, 3), (30_000, 3), (12_000, 2), (300, 7), (2000, 1), (1, 1), (5000, 3)]
    ragged = [cloud("normal", count, dimensions, dtype) for count, dimensions in shapes]
    queries = [cloud("normal", 40 * i, dimensions, dtype, 1) for i, (_, dimensions) in enumerate(shapes)]
    check_neighbours(ragged, k=9)
    check_neighbours(ragged, queries, k=9)
    check_balls(ragged, queries, 0.3, 9)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("kind", "radii"),
    [
        ("normal", (0.0, 0.1, 1.0, 50.0)),
        ("lattice", (1.0, 2.0)),
        ("one place", (0.0,)),
        ("huge", (1e17, 1e19)),
    ],
)
def test_balls(kind: str, radii: tuple[float, ...], dtype: Any) -> None:
    for count, dimensions in ((1, 1), (300, 3), (2000, 11), (5000, 3), (30_000, 2)):
        points, queries = cloud(kind, count, dimensions, dtype), cloud(kind, 300, dimensions, dtype, 1)
        for radius in radii:
            for k in (1, 16, 70):
                check_balls(points, queries, radius, k)


def test_is_the_same_each_time() -> None:
    points = torch.randn(30_000, 3, device="cuda", generator=torch.Generator("cuda").manual_seed(0))
    picks = [mk.points.farthest_point_sampling(points, 500) for _ in range(4)]
    found = [mk.points.knn(points, k=16) for _ in range(4)]
    assert all(torch.equal(other, picks[0]) for other in picks)
    assert all(torch.equal(a, b) for other in found for a, b in zip(other, found[0], strict=True))


def test_another_stream() -> None:
    points = cloud("normal", 20_000, 3, np.float32)
    wanted = mk.points.knn(points, k=5), mk.points.farthest_point_sampling(points, 50)
    device, stream = torch.from_numpy(points).cuda(), torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        torch.cuda._sleep(10_000_000)
        late = device + 0
        found = mk.points.knn(late, k=5), mk.points.farthest_point_sampling(late, 50)
    stream.synchronize()
    check_equal(found, wanted)


def test_any_layout() -> None:
    points = cloud("normal", 5000, 6, np.float32)
    view, wanted = torch.from_numpy(points).cuda()[::2, ::3], np.ascontiguousarray(points[::2, ::3])
    check_equal(mk.points.knn(view, k=4), mk.points.knn(wanted, k=4))
    check_equal(mk.points.farthest_point_sampling(view, 9), mk.points.farthest_point_sampling(wanted, 9))
    indices, squared = mk.points.knn(view.clone().requires_grad_(), k=4)
    assert not indices.requires_grad
    assert not squared.requires_grad


def test_cupy() -> None:
    cupy = pytest.importorskip("cupy")
    points = cloud("normal", 6000, 3, np.float64)
    device = cupy.asarray(points)
    found = (*mk.points.knn(device, k=5), *mk.points.ball_query(device, device[:9], radius=0.5, k=4))
    wanted = (*mk.points.knn(points, k=5), *mk.points.ball_query(points, points[:9], radius=0.5, k=4))
    for ours, theirs in zip(found, wanted, strict=True):
        assert isinstance(ours, cupy.ndarray)
        np.testing.assert_array_equal(cupy.asnumpy(ours), theirs)
    picks = mk.points.farthest_point_sampling(device, 40)
    assert isinstance(picks, cupy.ndarray)
    np.testing.assert_array_equal(cupy.asnumpy(picks), mk.points.farthest_point_sampling(points, 40))


@pytest.mark.parametrize("value", [np.nan, np.inf, -2e18])
@pytest.mark.parametrize("count", [20, 20_000])
def test_bad_coordinates(value: float, count: int) -> None:
    points = torch.zeros(2, count, 3, device="cuda")
    points[1, 1, 2] = value
    message = r"points\[1\] must be finite and at most 1e18 in size, but element 5 \(in row-major order\)"
    with pytest.raises(ValueError, match=message):
        mk.points.knn(points, k=3)
    with pytest.raises(ValueError, match=message):
        mk.points.farthest_point_sampling(points, 5)
    with pytest.raises(ValueError, match=message.replace("points", "queries")):
        mk.points.ball_query(torch.zeros_like(points), points, radius=1.0, k=3)


def test_bad_input() -> None:
    points = torch.zeros(5, 3, device="cuda")
    with pytest.raises(TypeError, match="float32 or float64, not float16"):
        mk.points.knn(points.half(), k=1)
    with pytest.raises(ValueError, match="queries has 2 coordinates"):
        mk.points.knn(points, points[:, :2], k=1)
    with pytest.raises(ValueError, match="queries is on cpu"):
        mk.points.ball_query(points, points.cpu(), radius=1.0, k=1)
    with pytest.raises(ValueError, match="n_samples is 6"):
        mk.points.farthest_point_sampling(points, 6)
    with pytest.raises(ValueError, match="points on the GPU is too large"):
        mk.points.knn(torch.zeros(2_000_000, 1, device="cuda"), k=1_000_000)

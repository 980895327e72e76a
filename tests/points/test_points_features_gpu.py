"""Features of neighbourhoods, sums over edges and grids on a GPU against the CPU."""

from __future__ import annotations

import shutil
from collections.abc import Callable
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
CLOSE: dict[Any, dict[str, float]] = {
    np.float32: {"rtol": 1e-5, "atol": 1e-6},
    np.float64: {"rtol": 1e-12, "atol": 1e-13},
}


def on_gpu(value: Any) -> Any:
    """The same arrays as tensors on the GPU."""
    if isinstance(value, (list, tuple)):
        return [on_gpu(each) for each in value]
    return torch.from_numpy(np.ascontiguousarray(value)).cuda()


def to_host(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [to_host(each) for each in value]
    assert isinstance(value, torch.Tensor)
    return value.detach().cpu().numpy()


def cloud_with_neighbours(seed: int, count: int, k: int, dtype: Any) -> tuple[np.ndarray, np.ndarray]:
    """A cloud, some points twice, and rows of its points, some of them absent or several times there."""
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(count, 3)).astype(dtype)
    points[::7] = points[: len(points[::7])]
    table = rng.integers(-1, count, (count, k))
    table[::5, k // 2 :] = -1
    table[count // 2] = -1
    return points, table


def near(points: np.ndarray, k: int) -> np.ndarray:
    found: np.ndarray = mk.points.knn(points, k=max(k, 1))[0][:, :k]
    return found


# Axes and features of neighbourhoods


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("k", [0, 1, 3, 16, 40])
def test_axes(dtype: Any, weighted: bool, k: int) -> None:
    points, table = cloud_with_neighbours(k, 150, k, dtype)
    wanted = mk.points.local_reference_axis(points, table, weighted=weighted)
    found = to_host(mk.points.local_reference_axis(on_gpu(points), on_gpu(table), weighted=weighted))
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("dtype", DTYPES)
def test_axes_of_flat_clouds_and_lines(dtype: Any) -> None:
    """Signs from coordinates, and neighbours that distinguish no direction."""
    lattice = np.stack(np.meshgrid(np.arange(9.0), np.arange(8.0)), -1).reshape(-1, 2)
    flat = np.column_stack([lattice, np.zeros(len(lattice))]).astype(dtype)
    line = np.column_stack([np.arange(30.0), np.zeros(30), np.zeros(30)]).astype(dtype)
    clouds = [flat, flat[:, [2, 0, 1]] + 1, line, line[:1]]
    tables = [near(cloud, min(9, len(cloud))) for cloud in clouds]
    wanted = mk.points.local_reference_axis(clouds, tables)
    found = to_host(mk.points.local_reference_axis(on_gpu(clouds), on_gpu(tables)))
    for ours, theirs in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def described(dtype: Any, count: int, k: int, seed: int = 0) -> list[np.ndarray]:
    """Points, axes, centres and neighbours, some of them absent, the centre or on its axis."""
    points, random_table = cloud_with_neighbours(seed, count, k, dtype)
    table = np.where(np.arange(count)[:, None] % 2 == 0, near(points, k), random_table)
    axes = mk.points.local_reference_axis(points, table)
    axes[3] = 0
    axes[4] = [0, 0, 1]
    if k > 2:
        points[table[4, 1]] = points[4] + np.asarray([0, 0, 1], dtype)
    centers = np.random.default_rng(seed).permutation(count)
    return [points, axes, centers, table[centers]]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("k", [0, 1, 2, 8, 31, 32, 33, 64, 100, 200, 256, 257, 300])
def test_features(dtype: Any, k: int) -> None:
    arrays = described(dtype, 310, k)
    arrays[2:] = [each[:40] for each in arrays[2:]]
    wanted, wanted_order = mk.points.rotation_invariant_features(*arrays)
    found, order = to_host(mk.points.rotation_invariant_features(*on_gpu(arrays)))
    assert found.dtype == dtype
    assert order.dtype == np.int64
    np.testing.assert_array_equal(order, wanted_order)
    np.testing.assert_allclose(found, wanted, **CLOSE[dtype])


def test_equal_keys_keep_their_order() -> None:
    """Points on a lattice, of which many lie in one direction."""
    lattice = np.stack(np.meshgrid(*[np.arange(6.0)] * 3), -1).reshape(-1, 3)
    for k in (27, 60, 216):
        table = near(lattice, k)
        axes = np.tile([0.0, 0.0, 1.0], (len(lattice), 1))
        arrays = [lattice, axes, np.arange(30), table[:30]]
        wanted = mk.points.rotation_invariant_features(*arrays)
        found = to_host(mk.points.rotation_invariant_features(*on_gpu(arrays)))
        np.testing.assert_array_equal(found[1], wanted[1])
        np.testing.assert_allclose(found[0], wanted[0], **CLOSE[np.float64])


def test_batches_and_lists_of_neighbourhoods() -> None:
    ragged = [described(np.float32, count, k, seed=count) for count, k in ((50, 8), (70, 33), (40, 8))]
    items = [list(each) for each in zip(*ragged, strict=True)]
    wanted = mk.points.rotation_invariant_features(*items)
    found = to_host(mk.points.rotation_invariant_features(*on_gpu(items)))
    for ours, theirs in zip(found[0], wanted[0], strict=True):
        np.testing.assert_allclose(ours, theirs, **CLOSE[np.float32])
    for ours, theirs in zip(found[1], wanted[1], strict=True):
        np.testing.assert_array_equal(ours, theirs)
    axes = to_host(mk.points.local_reference_axis(on_gpu(items[0]), on_gpu(tables(items))))
    expected = mk.points.local_reference_axis(items[0], tables(items))
    for ours, theirs in zip(axes, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    batch = [np.stack([each, each[::-1]]) for each in described(np.float64, 40, 9)[:1]]
    rows = np.stack([near(cloud, 9) for cloud in batch[0]]).astype(np.int32)
    both = mk.points.local_reference_axis(on_gpu(batch[0]), on_gpu(rows))
    assert both.shape == (2, 40, 3)
    np.testing.assert_array_equal(to_host(both), mk.points.local_reference_axis(batch[0], rows))


def tables(items: list[list[np.ndarray]]) -> list[np.ndarray]:
    return [near(cloud, 5) for cloud in items[0]]


def test_neighbourhoods_are_refused() -> None:
    points, axes, centers, table = described(np.float32, 40, 6)

    def refused(message: str, **changed: Any) -> None:
        arrays = {"points": points, "axes": axes, "centers": centers, "neighbours": table} | changed
        moved = {name: on_gpu(value) for name, value in arrays.items()}
        with pytest.raises(ValueError, match=message):
            mk.points.rotation_invariant_features(**moved)

    wrong = points.copy()
    wrong[3, 1] = np.nan
    refused(r"points must be finite and at most 1e18 in size, but element 10 .* is nan", points=wrong)
    refused("axes must hold vectors of length 1 or 0, but that of point 0", axes=axes * 2)
    refused(r"centers must be from 0 to 39, but element 0 .* is -1", centers=centers * 0 - 1)
    refused("neighbours must be from -1 to 39", neighbours=table + 40)
    with pytest.raises(ValueError, match=r"neighbours\[1\] must be from -1 to 39"):
        mk.points.local_reference_axis(on_gpu([points, points]), on_gpu([near(points, 3), table + 40]))


# Sums over edges


def graph(seed: int, batch: int, rows: int, sources: int, k: int, heads: int, channels: int) -> list[Any]:
    rng = np.random.default_rng(seed)
    table = rng.integers(-1, sources, (batch, rows, k))
    return [
        rng.normal(size=(batch, sources, heads, channels)),
        table,
        rng.normal(size=(batch, rows, k, heads)),
    ]


GRAPHS = [
    (1, 1, 1, 1, 1, 1),
    (1, 40, 30, 7, 1, 3),
    (2, 300, 250, 10, 4, 8),
    (3, 50, 60, 5, 2, 4),
    (1, 9, 8, 0, 2, 3),
    (1, 600, 2, 6, 1, 5),  # so many edges from one node that they are summed in parts
    (2, 0, 5, 3, 1, 2),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("sizes", GRAPHS)
def test_sums_and_gradients(dtype: Any, weighted: bool, sizes: tuple[int, ...]) -> None:
    features, table, weights = graph(1, *sizes)
    arrays = [features.astype(dtype), *([weights.astype(dtype)] if weighted else [])]
    upstream = np.random.default_rng(2).normal(size=(*table.shape[:2], *features.shape[2:])).astype(dtype)
    results = []
    for move in (torch.from_numpy, on_gpu):
        leaves = [move(array).requires_grad_() for array in arrays]
        sums = mk.points.gather_sum(leaves[0], move(table), weights=leaves[1] if weighted else None)
        results.append([to_host(each) for each in (sums, *torch.autograd.grad(sums, leaves, move(upstream)))])
    long_runs = table.size // features.shape[1] > 1024
    for place, (theirs, ours) in enumerate(zip(*results, strict=True)):
        assert ours.dtype == dtype
        if long_runs and place == 1:
            np.testing.assert_allclose(
                ours, theirs, **{**CLOSE[dtype], "atol": 1e-4 if dtype == np.float32 else 1e-11}
            )
        else:
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "sizes", [(1, 1, 1), (300, 10, 4), (7, 33, 1), (40, 9, 300), (5, 9000, 1), (3, 4, 9000)]
)
def test_softmax_and_gradient(dtype: Any, sizes: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(3)
    scores = (5 * rng.normal(size=sizes)).astype(dtype)
    table = rng.integers(-1, 3, sizes[:2])
    table[0] = -1
    scores[-1, 0] = -np.inf
    upstream = rng.normal(size=sizes).astype(dtype)
    results = []
    for move in (torch.from_numpy, on_gpu):
        leaf = move(scores).requires_grad_()
        weights = mk.points.edge_softmax(leaf, move(table))
        results.append([to_host(weights), to_host(torch.autograd.grad(weights, leaf, move(upstream))[0])])
    for theirs, ours in zip(*results, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_extreme_scores() -> None:
    scores = np.array([[1e30, 1e30, -1e30], [np.nan, 0, 0], [np.inf, 0, 0], [-1e300] * 3, [0, -800, -699]])
    table = np.zeros(scores.shape, int)
    found = to_host(mk.points.edge_softmax(on_gpu(scores), on_gpu(table)))
    np.testing.assert_array_equal(found, mk.points.edge_softmax(scores, table))


def test_second_derivatives_of_edges() -> None:
    features, table, weights = on_gpu(graph(4, 1, 5, 6, 3, 2, 3))
    features.requires_grad_()
    weights.requires_grad_()

    def attend(x: torch.Tensor, s: torch.Tensor) -> Any:
        return mk.points.gather_sum(x, table, weights=mk.points.edge_softmax(s, table))

    assert torch.autograd.gradcheck(attend, (features, weights))
    assert torch.autograd.gradgradcheck(attend, (features, weights))


def test_tables_are_refused() -> None:
    features = torch.zeros(3, 2).cuda()
    for wrong in (3, -2):
        with pytest.raises(
            ValueError, match=rf"neighbours must be from -1 to 2, but element 1 .* is {wrong}"
        ):
            mk.points.gather_sum(features, torch.tensor([[0, wrong]]).cuda())


# Grids


def atoms(seed: int, counts: list[int], dtype: Any) -> list[Any]:
    """Atoms in and around a grid of side 6, some far away, of channels from -1 to 2."""
    rng = np.random.default_rng(seed)
    coords = [(rng.normal(size=(count, 3)) * 2).astype(dtype) for count in counts]
    for each in coords:
        each[::9] += 50
    channels = [rng.integers(-1, 3, count) for count in counts]
    radii = [rng.uniform(0.3, 2, count).astype(dtype) for count in counts]
    for each in radii[:1]:
        each[:1] = 40  # reaches all points
    return [coords, channels, radii, rng.normal(size=(len(counts), 3)).astype(dtype)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("density", ["gaussian", "binary"])
@pytest.mark.parametrize("multiple", [0.3, 1.0, 3.0])
@pytest.mark.parametrize(("counts", "resolution"), [([30, 0, 400], 0.5), ([1], 6.0), ([700], 0.17)])
def test_grids_of_atoms(
    dtype: Any, density: str, multiple: float, counts: list[int], resolution: float
) -> None:
    coords, channels, radii, center = atoms(len(counts), counts, dtype)
    place = {"side": 6.0, "resolution": resolution, "n_channels": 3, "density": density}
    place["gaussian_radius_multiple"] = multiple
    wanted = mk.points.grid_atoms(coords, channels, radii, center=center, **place)
    moved = on_gpu([coords, channels, radii, center])
    found = to_host(mk.points.grid_atoms(*moved[:3], center=moved[3], **place))
    assert found.dtype == dtype
    if density == "binary":
        np.testing.assert_array_equal(found, wanted)
    else:
        np.testing.assert_allclose(found, wanted, **CLOSE[dtype])


def gradients(
    function: Callable[..., Any], arrays: list[np.ndarray], move: Callable[[Any], Any]
) -> list[Any]:
    leaves = [move(array).requires_grad_() for array in arrays]
    result = function(*leaves)
    upstream = np.random.default_rng(5).normal(size=tuple(result.shape)).astype(arrays[0].dtype)
    found = torch.autograd.grad(result, leaves, move(upstream), materialize_grads=True)
    return [to_host(each) for each in (result, *found)]


@pytest.mark.parametrize("dtype", DTYPES)
def test_gradients_of_atoms(dtype: Any) -> None:
    (coords,), (channels,), (radii,), center = atoms(7, [120], dtype)

    def draw(coords: Any, radii: Any, center: Any) -> Any:
        kinds = torch.from_numpy(channels).to(coords.device)
        return mk.points.grid_atoms(
            coords, kinds, radii, center=center, side=6.0, resolution=0.4, n_channels=3
        )

    arrays = [coords, radii, center[0]]
    wanted = gradients(draw, arrays, torch.from_numpy)
    for ours, theirs in zip(gradients(draw, arrays, on_gpu), wanted, strict=True):
        scale = max(1.0, float(np.abs(theirs).max()))
        limit = (2e-5 if dtype == np.float32 else 1e-12) * scale
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=limit)


def placed(seed: int, counts: list[int], channels: int, resolution: int, dtype: Any) -> list[Any]:
    rng = np.random.default_rng(seed)
    points = [rng.uniform(-1.2, 1.2, (count, 3)).astype(dtype) for count in counts]
    features = [rng.normal(size=(count, channels)).astype(dtype) for count in counts]
    grids = rng.normal(size=(len(counts), channels, *(resolution,) * 3)).astype(dtype)
    return [points, features, grids]


PLACES = [([40], 3, 4), ([30, 1, 500], 9, 8), ([7, 7], 16, 1), ([300], 1, 2), ([5000], 4, 6), ([20], 0, 3)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("subtract_mean", [True, False])
@pytest.mark.parametrize(("counts", "channels", "resolution"), PLACES)
def test_voxels(dtype: Any, subtract_mean: bool, counts: list[int], channels: int, resolution: int) -> None:
    points, features, grids = placed(8, counts, channels, resolution, dtype)
    options = {"resolution": resolution, "subtract_mean": subtract_mean}
    results = []
    for move in (lambda each: [torch.from_numpy(x) for x in each], on_gpu):
        leaves = [each.requires_grad_() for each in move(features)]
        grid = mk.points.voxelize(move(points), leaves, **options)
        pulled = torch.autograd.grad(grid, leaves, torch.stack(move(list(grids))), materialize_grads=True)
        results.append([to_host(each) for each in (grid, *pulled)])
    for theirs, ours in zip(*results, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("subtract_mean", [True, False])
@pytest.mark.parametrize(("counts", "channels", "resolution"), PLACES)
def test_devoxelize(
    dtype: Any, subtract_mean: bool, counts: list[int], channels: int, resolution: int
) -> None:
    points, features, grids = placed(9, counts, channels, resolution, dtype)
    results = []
    for move in (lambda each: [torch.from_numpy(x) for x in each], on_gpu):
        at = [each.requires_grad_() for each in move(points)]
        grid = torch.stack(move(list(grids))).requires_grad_()
        found = mk.points.devoxelize(grid, at, subtract_mean=subtract_mean)
        pulled = torch.autograd.grad(found, [grid, *at], move(features), materialize_grads=True)
        results.append([to_host(each) for each in (*found, *pulled)])
    for theirs, ours in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=CLOSE[dtype]["rtol"], atol=30 * CLOSE[dtype]["atol"])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("resolution", [1, 2])
def test_very_many_points_in_a_cell(dtype: Any, resolution: int) -> None:
    """Which are summed in parts."""
    (points,), (features,), (grid,) = placed(18, [6000], 10, resolution, dtype)
    limit = {"rtol": 0, "atol": 2e-4 if dtype == np.float32 else 1e-12}
    results = []
    for move in (torch.from_numpy, on_gpu):
        found = mk.points.voxelize(move(points), move(features), resolution=resolution)
        leaves = [move(grid).requires_grad_(), move(points).requires_grad_()]
        taken = mk.points.devoxelize(*leaves)
        pulled = torch.autograd.grad(taken, leaves, move(features))
        results.append([to_host(each) for each in (found, taken, *pulled)])
    for theirs, ours in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, **limit)


def test_points_beside_two_cells() -> None:
    """Ties between cells go to the even one, also where the mean is subtracted."""
    lattice = np.stack(np.meshgrid(*[np.arange(-4, 5) / 4] * 3), -1).reshape(-1, 3)
    features = np.random.default_rng(10).normal(size=(len(lattice), 2))
    for resolution in (2, 4, 5):
        wanted = mk.points.voxelize(lattice, features, resolution=resolution)
        found = mk.points.voxelize(on_gpu(lattice), on_gpu(features), resolution=resolution)
        np.testing.assert_array_equal(to_host(found), wanted)


def test_items_do_not_mix() -> None:
    """A batch, a list and single items give the same numbers, as do several calls."""
    points, features, grids = on_gpu(placed(11, [60, 60], 5, 4, np.float32))
    batch = mk.points.voxelize(torch.stack(points), torch.stack(features), resolution=4)
    single = torch.stack(
        [mk.points.voxelize(p, f, resolution=4) for p, f in zip(points, features, strict=True)]
    )
    assert torch.equal(batch, single)
    assert torch.equal(batch, mk.points.voxelize(points, features, resolution=4))
    found = mk.points.devoxelize(grids, torch.stack(points))
    assert torch.equal(found[1], mk.points.devoxelize(grids[1], points[1]))


def test_operators() -> None:
    """Under torch.compile and vmap."""
    (points,), (features,), _ = on_gpu(placed(12, [20], 3, 4, np.float64))
    stacked = torch.stack([points, points * 0.9])
    mapped = torch.func.vmap(lambda p: mk.points.voxelize(p, features, resolution=3))(stacked)
    assert torch.equal(mapped[1], mk.points.voxelize(stacked[1], features, resolution=3))
    compiled = torch.compile(
        lambda p: mk.points.devoxelize(mapped[0], p).square().sum(), fullgraph=True, backend="aot_eager"
    )
    inputs = points.clone().requires_grad_()
    plain = mk.points.devoxelize(mapped[0], inputs).square().sum()
    torch.testing.assert_close(compiled(inputs), plain)
    one, other = (torch.autograd.grad(each, inputs)[0] for each in (compiled(inputs), plain))
    torch.testing.assert_close(one, other)


def test_grids_are_refused() -> None:
    coords, channels, radii = (
        torch.zeros(3, 3).cuda(),
        torch.zeros(3, dtype=torch.int64).cuda(),
        torch.ones(3).cuda(),
    )
    place: dict[str, Any] = {"center": [0.0, 0.0, 0.0], "side": 2, "resolution": 1, "n_channels": 2}
    with pytest.raises(ValueError, match=r"coords must be finite and at most 1e18 .* element 0 .* is inf"):
        mk.points.grid_atoms(coords + torch.inf, channels, radii, **place)
    with pytest.raises(ValueError, match=r"center must be finite"):
        mk.points.grid_atoms(coords, channels, radii, **{**place, "center": [0.0, 1e20, 0.0]})
    with pytest.raises(ValueError, match=r"radii must be from 1e-18 to 1e18, but element 0 .* is 0"):
        mk.points.grid_atoms(coords, channels, radii * 0, **place)
    with pytest.raises(ValueError, match=r"channels must be from -1 to n_channels - 1 = 1, but element 0"):
        mk.points.grid_atoms(coords, channels + 2, radii, **place)
    for op, arrays in (
        (lambda p: mk.points.voxelize(p, radii[:, None], resolution=2), coords),
        (lambda p: mk.points.devoxelize(torch.zeros(1, 2, 2, 2).cuda(), p), coords),
    ):
        with pytest.raises(
            ValueError, match=r"points must be finite and at most 1e18 .* element 0 .* is nan"
        ):
            op(arrays + torch.nan)


# Other arrays


def test_cupy() -> None:
    cupy = pytest.importorskip("cupy")
    features, table, weights = graph(13, 2, 20, 30, 4, 2, 5)
    moved = [cupy.asarray(each) for each in (features, table, weights)]
    sums = mk.points.gather_sum(moved[0], moved[1], weights=mk.points.edge_softmax(moved[2], moved[1]))
    assert isinstance(sums, cupy.ndarray)
    wanted = mk.points.gather_sum(features, table, weights=mk.points.edge_softmax(weights, table))
    np.testing.assert_array_equal(cupy.asnumpy(sums), wanted)
    (points,), (values,), grids = placed(14, [50], 4, 3, np.float32)
    grid = mk.points.voxelize(cupy.asarray(points), cupy.asarray(values), resolution=3)
    np.testing.assert_array_equal(cupy.asnumpy(grid), mk.points.voxelize(points, values, resolution=3))
    found = mk.points.devoxelize(cupy.asarray(grids[0]), cupy.asarray(points))
    np.testing.assert_allclose(
        cupy.asnumpy(found), mk.points.devoxelize(grids[0], points), rtol=1e-5, atol=1e-6
    )
    coords, channels, radii, center = atoms(15, [20], np.float32)
    place: dict[str, Any] = {"center": center[0].tolist(), "side": 4.0, "resolution": 0.5, "n_channels": 3}
    drawn = mk.points.grid_atoms(
        cupy.asarray(coords[0]), channels[0].tolist(), cupy.asarray(radii[0]), **place
    )
    wanted = mk.points.grid_atoms(coords[0], channels[0].tolist(), radii[0], **place)
    np.testing.assert_allclose(cupy.asnumpy(drawn), wanted, rtol=1e-5, atol=1e-6)
    cloud, rows = cloud_with_neighbours(16, 60, 8, np.float32)
    axes = mk.points.local_reference_axis(cupy.asarray(cloud), cupy.asarray(rows))
    np.testing.assert_array_equal(cupy.asnumpy(axes), mk.points.local_reference_axis(cloud, rows))


def test_another_stream() -> None:
    points, features, _ = placed(17, [500], 8, 8, np.float32)
    wanted = mk.points.voxelize(points[0], features[0], resolution=8)
    with torch.cuda.stream(torch.cuda.Stream()):
        found = mk.points.voxelize(on_gpu(points[0]), on_gpu(features[0]), resolution=8).cpu()
    np.testing.assert_array_equal(found.numpy(), wanted)

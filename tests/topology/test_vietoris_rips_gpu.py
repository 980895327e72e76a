"""Persistence of clouds in the memory of a GPU against the CPU: bit for bit the same."""

from __future__ import annotations

import shutil
from typing import Any

import numpy as np
import pytest
import torch

import medkernels as mk
from tests.topology.clouds import KINDS, Floats, generic, lattice, sphere, torus

# Not by what torch says: where there is a GPU that it cannot use, this is to fail and not to be skipped.
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(shutil.which("nvidia-smi") is None, reason="no NVIDIA GPU"),
]

METRICS = ["euclidean", "manhattan", "chebyshev"]
DTYPES = [np.float32, np.float64]


def on_gpu(items: list[Floats]) -> list[torch.Tensor]:
    return [torch.from_numpy(item).cuda() for item in items]


def check_equal(items: list[Floats], kind: str = "points", **options: Any) -> None:
    wanted = mk.topology.vietoris_rips(**{kind: items}, return_generators=True, **options)
    found = mk.topology.vietoris_rips(**{kind: on_gpu(items)}, return_generators=True, **options)
    for ours, theirs in zip(found, wanted, strict=True):
        assert len(ours) == len(theirs) == len(items)
        for item, other in zip(ours, theirs, strict=True):
            for a, b in zip(item, other, strict=True):
                assert a.is_cuda
                np.testing.assert_array_equal(a.cpu().numpy(), b)
                assert a.cpu().numpy().dtype == b.dtype


def distances_of(items: list[Floats]) -> list[Floats]:
    return [np.linalg.norm(item[:, None] - item[None], axis=-1) for item in items]


def small_clouds(dtype: Any, most: int) -> list[Floats]:
    """Generic and degenerate ones, from no points on."""
    rng = np.random.default_rng(0)
    sizes = [0, 1, 2, 3, *range(4, most, max(1, (most - 4) // 5))]
    return [kind(rng, size, 2).astype(dtype) for kind in KINDS for size in sizes]


@pytest.mark.parametrize("max_dim", [0, 1, 2, 3])
@pytest.mark.parametrize("dtype", DTYPES)
def test_small_clouds(max_dim: int, dtype: Any) -> None:
    items = small_clouds(dtype, 16 if max_dim == 3 else 40)
    check_equal(items, max_dim=max_dim)
    check_equal(items, max_dim=max_dim, threshold=0.8)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_metrics(metric: str, dtype: Any) -> None:
    rng = np.random.default_rng(1)
    items = [kind(rng, 60, dim).astype(dtype) for kind in (generic, lattice) for dim in (1, 3, 20)]
    for max_dim in (1, 2):
        check_equal(items, metric=metric, max_dim=max_dim)


@pytest.mark.parametrize("dtype", DTYPES)
def test_distances(dtype: Any) -> None:
    rng = np.random.default_rng(2)
    items = [matrix.astype(dtype) for matrix in distances_of([lattice(rng, 30, 2), generic(rng, 50, 3)])]
    gaps = np.triu(rng.choice([0.0, -0.0, 1.0, 2.0, np.inf], (25, 25)), 1)
    items += [(gaps + gaps.T).astype(dtype), np.zeros((0, 0), dtype), np.zeros((1, 1), dtype)]
    for max_dim in (0, 1, 2):
        check_equal(items, "distances", max_dim=max_dim)
        check_equal(items, "distances", max_dim=max_dim, threshold=1.5)


@pytest.mark.parametrize(("points", "max_dim"), [(2000, 0), (2000, 1), (184, 2), (185, 2), (400, 2), (70, 3)])
def test_large_clouds(points: int, max_dim: int) -> None:
    """From 185 points on what a collapse works on is not in shared memory."""
    rng = np.random.default_rng(3)
    check_equal([torus(rng, points)], max_dim=max_dim)
    check_equal([torus(rng, points).astype(np.float32), sphere(rng, points // 2).astype(np.float32)])


def test_large_batches() -> None:
    rng = np.random.default_rng(4)
    items = [generic(rng, 5 + k % 40, 3) for k in range(700)]
    for max_dim in (0, 1, 2):
        check_equal(items, max_dim=max_dim)


def test_is_the_same_each_time() -> None:
    clouds = torch.randn(20, 80, 3, device="cuda", generator=torch.Generator("cuda").manual_seed(0))
    first, *others = (mk.topology.vietoris_rips(clouds, max_dim=2, return_generators=True) for _ in range(3))
    for other in others:
        for a, b in zip(first, other, strict=True):
            assert all(
                torch.equal(x, y) for p, q in zip(a, b, strict=True) for x, y in zip(p, q, strict=True)
            )


@pytest.mark.parametrize("kind", ["points", "distances"])
def test_gradients(kind: str) -> None:
    rng = np.random.default_rng(5)
    cloud = sphere(rng, 60)
    value = cloud if kind == "points" else np.linalg.norm(cloud[:, None] - cloud[None], axis=-1)
    grads = []
    for device in ("cpu", "cuda"):
        leaf = torch.from_numpy(value).to(device).requires_grad_()
        diagrams = mk.topology.vietoris_rips(**{kind: leaf}, max_dim=2)
        sum(d[d.isfinite().all(1)].square().sum() for d in diagrams).backward()
        grads.append(leaf.grad.cpu())
    assert grads[0].abs().max() > 0
    torch.testing.assert_close(grads[1], grads[0], rtol=1e-12, atol=1e-12)


def test_layouts_and_streams() -> None:
    host = torch.from_numpy(np.random.default_rng(6).normal(size=(50, 3)))
    wanted = mk.topology.vietoris_rips(host)
    cloud = host.cuda()
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        torch.cuda._sleep(10_000_000)
        late = cloud.repeat_interleave(2, 0)[::2] + 0.0
        found = [mk.topology.vietoris_rips(each) for each in (late, cloud.T.contiguous().T, cloud[None][0])]
    for each in found:
        for a, b in zip(each, wanted, strict=True):
            assert torch.equal(a.cpu(), b)


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        ("points", np.nan, r"points\[1\] must be finite .* element \(2, 1\) is nan"),
        ("points", np.inf, r"points\[1\] must be finite .* element \(2, 1\) is inf"),
        ("points", 1e200, r"points\[1\] must be finite and at most 1e\+150"),
        ("distances", np.nan, r"distances\[1\] must hold distances of at least 0"),
        ("distances", -1.0, r"distances\[1\] must hold distances of at least 0"),
        ("distances", 3.0, r"distances\[1\] must equal its transpose"),
    ],
)
def test_bad_values(kind: str, value: float, message: str) -> None:
    good = np.zeros((4, 4))
    bad = good.copy()
    bad[2, 1] = value
    with pytest.raises(ValueError, match=message):
        mk.topology.vietoris_rips(**{kind: on_gpu([good, bad])})
    with pytest.raises(ValueError, match="diagonal of zeros"):
        mk.topology.vietoris_rips(distances=torch.eye(3, device="cuda"))
    # What was refused leaves nothing behind.
    check_equal([good, good + 1.0] if kind == "points" else [good])


def test_too_many_points() -> None:
    with pytest.raises(ValueError, match="holds 65537 points, more than 65536, on a GPU"):
        mk.topology.vietoris_rips(torch.zeros(65537, 1, device="cuda"))


def test_cupy() -> None:
    cupy = pytest.importorskip("cupy")
    points = np.random.default_rng(7).normal(size=(3, 40, 2))
    wanted = mk.topology.vietoris_rips(points, max_dim=2, return_generators=True)
    found = mk.topology.vietoris_rips(cupy.asarray(points), max_dim=2, return_generators=True)
    for ours, theirs in zip(found, wanted, strict=True):
        for item, other in zip(ours, theirs, strict=True):
            for a, b in zip(item, other, strict=True):
                assert isinstance(a, cupy.ndarray)
                np.testing.assert_array_equal(cupy.asnumpy(a), b)


def test_jax() -> None:
    jax = pytest.importorskip("jax")
    if jax.default_backend() == "cpu":
        pytest.skip("this JAX has no GPU")
    points = np.random.default_rng(8).normal(size=(40, 2)).astype(np.float32)
    wanted = mk.topology.vietoris_rips(points, max_dim=2)
    for a, b in zip(mk.topology.vietoris_rips(jax.numpy.asarray(points), max_dim=2), wanted, strict=True):
        assert a.devices() == {jax.devices()[0]}
        np.testing.assert_array_equal(np.asarray(a), b)

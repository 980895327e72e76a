"""How clouds on a GPU reach the CUDA module and come back.

A tensor on the CPU stands in for one on a GPU, and the core for the CUDA module: it works on the memory
that it is told of.
"""

from __future__ import annotations

import ctypes
import warnings
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import medkernels as mk
from medkernels import _backends, _core, _device

Cloud = tuple[int, int, int]
RAGGED = [(40, 3), (1, 2), (7, 3), (90, 11)]
CALLS: list[tuple[str, Callable[[Any], Any]]] = [
    ("farthest_point_sampling", lambda points: mk.points.farthest_point_sampling(points, 1)),
    ("knn", lambda points: mk.points.knn(points, k=5)),
    ("ball_query", lambda points: mk.points.ball_query(points, points, radius=1.0, k=5)),
]


def memory(address: int, shape: Sequence[int], dtype: str) -> np.ndarray:
    """The array at an address."""
    count = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.frombuffer((ctypes.c_char * count).from_address(address), dtype).reshape(shape)


def first_bad(clouds: Sequence[np.ndarray]) -> int:
    most = {np.dtype(np.float32): 1e18, np.dtype(np.float64): 1e150}
    return next((i for i, c in enumerate(clouds) if not (np.abs(c) <= most[c.dtype]).all()), -1)


class StandIn:
    """The CUDA module's `points`."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.needs = 0

    def read(self, clouds: Sequence[Cloud], doubles: bool) -> list[np.ndarray]:
        return [memory(at, (n, d), "float64" if doubles else "float32") for at, n, d in clouds]

    def sampling_memory(self, clouds: Sequence[Cloud], doubles: bool, device: int) -> int:
        return self.needs

    def neighbour_memory(
        self, points: Sequence[Cloud], queries: Sequence[Cloud], doubles: bool, k: int, device: int
    ) -> int:
        return self.needs

    def farthest_point_sampling(
        self,
        clouds: Sequence[Cloud],
        doubles: bool,
        start: int,
        counts: Sequence[int],
        picks: int,
        device: int,
        stream: int,
        allocate: Callable[[int], int],
    ) -> int:
        self.ran.append("farthest_point_sampling")
        memory(allocate(16), (2,), "int64")[:] = 1
        points = self.read(clouds, doubles)
        if first_bad(points) < 0:
            parts = [np.empty(count, np.int64) for count in counts]
            _core.points.farthest_point_sampling(points, [""] * len(points), start, parts)
            memory(picks, (sum(counts),), "int64")[:] = np.concatenate(parts)
        return first_bad(points)

    def knn(
        self,
        points: Sequence[Cloud],
        queries: Sequence[Cloud],
        doubles: bool,
        k: int,
        self_too: bool,
        *rest: Any,
    ) -> int:
        self.ran.append("knn")
        return self.search(_core.points.knn, (k, self_too), points, queries, doubles, k, *rest)

    def ball_query(
        self,
        points: Sequence[Cloud],
        queries: Sequence[Cloud],
        doubles: bool,
        k: int,
        radius: float,
        *rest: Any,
    ) -> int:
        self.ran.append("ball_query")
        return self.search(_core.points.ball_query, (radius, k), points, queries, doubles, k, *rest)

    def search(
        self,
        op: Callable[..., None],
        options: tuple[Any, ...],
        points: Sequence[Cloud],
        queries: Sequence[Cloud],
        doubles: bool,
        k: int,
        indices: int,
        squared: int,
        device: int,
        stream: int,
        allocate: Callable[[int], int],
    ) -> int:
        clouds, asking = self.read(points, doubles), self.read(queries, doubles)
        if first_bad(clouds + asking) >= 0:
            return first_bad(clouds + asking)
        shapes = [(len(cloud), k) for cloud in asking or clouds]
        rows = sum(rows for rows, _ in shapes)
        dtype = "float64" if doubles else "float32"
        found = [np.empty(shape, np.int64) for shape in shapes], [np.empty(shape, dtype) for shape in shapes]
        op(clouds, [""] * len(clouds), asking, [""] * len(asking), *options, *found)
        memory(indices, (rows, k), "int64")[:] = np.concatenate(found[0])
        memory(squared, (rows, k), dtype)[:] = np.concatenate(found[1])
        return -1


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    module = SimpleNamespace(points=StandIn(), device_count=lambda: 1)
    device = _device.Device(
        0,
        0,
        lambda: 1 << 30,
        lambda shape, dtype: torch.empty(shape, dtype=getattr(torch, dtype)),
        lambda tensor: int(tensor.data_ptr()),
        lambda tensor: tensor.numpy(),
    )
    monkeypatch.setattr(_device, "is_on_cuda", lambda array: isinstance(array, torch.Tensor))
    monkeypatch.setattr(_device, "device_of", lambda array: device)
    monkeypatch.setattr(_backends, "cuda_module", lambda: module)
    monkeypatch.delenv("MEDKERNELS_CPU_FALLBACK", raising=False)
    _backends._warn_fallback.cache_clear()
    return module.points


def arrays(shapes: Sequence[tuple[int, ...]], dtype: type = np.float32) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=shape).astype(dtype) for shape in shapes]


def check_equal(found: Any, wanted: Any) -> None:
    """Tensors, or tuples and lists of them, as the core gives them for arrays."""
    if isinstance(wanted, np.ndarray):
        assert isinstance(found, torch.Tensor)
        assert found.numpy().dtype == wanted.dtype
        np.testing.assert_array_equal(found.numpy(), wanted)
        return
    assert type(found) is type(wanted)
    assert len(found) == len(wanted)
    for ours, theirs in zip(found, wanted, strict=True):
        check_equal(ours, theirs)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("op", "call"), CALLS)
def test_results_are_those_of_arrays(
    op: str, call: Callable[[Any], Any], dtype: type, stand_in: StandIn
) -> None:
    one, batch, ragged = *arrays([(30, 3), (4, 20, 5)], dtype), arrays(RAGGED, dtype)
    check_equal(call(torch.from_numpy(one)), call(one))
    check_equal(call(torch.from_numpy(batch)), call(batch))
    check_equal(call([torch.from_numpy(cloud) for cloud in ragged]), call(ragged))
    check_equal(call(torch.from_numpy(one).requires_grad_()[::2, :2]), call(one[::2, :2]))
    assert stand_in.ran == [op] * 4


def test_options_arrive(stand_in: StandIn) -> None:
    points, queries = arrays([(50, 3), (9, 3)])
    tensors = torch.from_numpy(points), torch.from_numpy(queries)
    check_equal(
        mk.points.knn(tensors[0], k=3, include_self=False), mk.points.knn(points, k=3, include_self=False)
    )
    check_equal(mk.points.knn(*tensors, k=60), mk.points.knn(points, queries, k=60))
    check_equal(
        mk.points.ball_query(*tensors, radius=0.7, k=4),
        mk.points.ball_query(points, queries, radius=0.7, k=4),
    )
    check_equal(
        mk.points.farthest_point_sampling(tensors[0], 8, start=4),
        mk.points.farthest_point_sampling(points, 8, start=4),
    )
    check_equal(
        mk.points.farthest_point_sampling([*tensors], [8, 2]),
        mk.points.farthest_point_sampling([points, queries], [8, 2]),
    )
    assert len(stand_in.ran) == 5


def test_plain_python_goes_where_the_others_are(stand_in: StandIn) -> None:
    points = torch.eye(3, dtype=torch.float64)
    indices, _ = mk.points.knn(points, [[0.9, 0.0, 0.0]], k=1)
    assert isinstance(indices, torch.Tensor)
    assert indices.tolist() == [[0]]
    assert stand_in.ran == ["knn"]


@pytest.mark.parametrize("call", [call for _, call in CALLS])
def test_no_clouds_need_no_device(call: Callable[[Any], Any], stand_in: StandIn) -> None:
    check_equal(call(torch.zeros(0, 4, 3)), call(np.zeros((0, 4, 3))))
    assert stand_in.ran == []


@pytest.mark.parametrize(
    ("value", "dtype", "message"),
    [
        (np.nan, np.float32, r"points\[1\] must be finite and at most 1e18 in size, but element 4 .* is nan"),
        (
            -1.5e150,
            np.float64,
            r"points\[1\] must be .* at most 1e150 in size, but element 4 .* is -1.5e\+150",
        ),
    ],
)
@pytest.mark.parametrize("call", [call for _, call in CALLS])
def test_refused_as_by_the_core(
    call: Callable[[Any], Any], value: float, dtype: type, message: str, stand_in: StandIn
) -> None:
    batch = np.zeros((3, 4, 3), dtype)
    batch[1, 1, 1] = value
    for points in (torch.from_numpy(batch), batch):
        with pytest.raises(ValueError, match=message):
            call(points)


def test_queries_are_refused_by_their_name(stand_in: StandIn) -> None:
    points, queries = torch.zeros(5, 2), torch.full((2, 2), torch.inf)
    with pytest.raises(ValueError, match=r"queries must be finite.* element 0"):
        mk.points.knn(points, queries, k=1)


@pytest.mark.parametrize("call", [call for _, call in CALLS])
def test_too_large_for_the_device(call: Callable[[Any], Any], stand_in: StandIn) -> None:
    stand_in.needs = 1 << 40
    with pytest.raises(ValueError, match=r"points on the GPU is too large: it needs about 1\.02e\+03 GiB"):
        call(torch.zeros(5, 3))
    assert stand_in.ran == []


@pytest.mark.parametrize(("op", "call"), CALLS)
def test_without_kernels(
    op: str, call: Callable[[Any], Any], stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_backends, "cuda_module", lambda: None)
    (points,) = arrays([(20, 3)])
    with pytest.raises(mk.BackendError, match=f"{op}: this build has no CUDA kernels"):
        call(torch.from_numpy(points))
    monkeypatch.setenv("MEDKERNELS_CPU_FALLBACK", "1")
    with pytest.warns(mk.MedkernelsWarning, match=f"{op}: this build has no CUDA kernels"):
        found = call(torch.from_numpy(points))
    check_equal(found, call(points))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        call(torch.from_numpy(points))

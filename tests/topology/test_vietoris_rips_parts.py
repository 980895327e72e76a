"""The way through another device's memory, with a device that a few lines of NumPy stand in for."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import medkernels as mk
from medkernels import _backends, _core
from medkernels.topology._rips import Options
from medkernels.topology._rips_cuda import DeviceClouds, diagrams_of_device, joined
from tests.topology.clouds import Floats, generic, lattice, matrices

NEVER = 2**32 - 1
LIMITS = st.floats(0, 4) | st.just(np.inf)


def sorted_edges(matrix: Floats, threshold: float) -> tuple[Floats, Floats]:
    """Edges [m, 2] and lengths within the threshold and the enclosing radius, in order."""
    u, v = np.triu_indices(len(matrix), 1)
    lengths = matrix[u, v]
    limit = min([threshold, *map(float, [np.finfo(matrix.dtype).max, *matrix.max(1, initial=0)])])
    order = [k for k in np.lexsort((v, u, lengths)) if float(lengths[k]) <= limit]
    return np.stack([u, v], 1)[order], lengths[order]


def ranks_of(size: int, edges: Floats) -> Floats:
    ranks = np.full((size, size), NEVER)
    np.fill_diagonal(ranks, 0)
    for rank, (u, v) in enumerate(edges):
        ranks[u, v] = ranks[v, u] = rank
    return ranks


def open_edges(size: int, edges: Floats) -> list[int]:
    """Ranks of the edges that are the longest of no triangle."""
    ranks = ranks_of(size, edges)
    others = [np.delete(np.arange(size), edge) for edge in edges]
    return [k for k, (u, v) in enumerate(edges) if not (np.maximum(ranks[u], ranks[v])[others[k]] < k).any()]


def collapsed(size: int, edges: Floats) -> list[tuple[int, int]]:
    """Rank and rank of entry of the edges that are left, in no order; one rank tried after another."""
    ranks, left = ranks_of(size, edges), []
    for rank in range(len(edges))[::-1]:
        u, v = edges[rank]

        def dominated(s: int, u: int = u, v: int = v) -> bool:
            common = [x for x in range(size) if x not in (u, v) and max(ranks[u, x], ranks[v, x]) <= s]
            return any(all(ranks[w, x] <= s for x in common) for w in common)

        entry = next((s for s in range(rank, len(edges)) if not dominated(s)), NEVER)
        ranks[u, v] = ranks[v, u] = entry
        left += [(rank, entry)] * (entry != NEVER)
    return left


class Device:
    """Works on two matrices of distances at a time, as the CUDA module does on many."""

    most_points = 100

    def __init__(self) -> None:
        self.calls = 0
        self.topology = self

    def rips_memory(self, size: int, doubles: bool) -> int:
        return 100 * size**2

    def vietoris_rips(
        self,
        clouds: list[tuple[int, int, int]],
        doubles: bool,
        kind: str,
        metric: str,
        max_dim: int,
        threshold: float,
        largest: float,
        device: int,
        stream: int,
        memory: int,
        allocate: Callable[[int], int],
    ) -> tuple[Any, ...]:
        assert (kind, metric, device, stream, memory) == ("distances", "euclidean", 3, 7, 10**6)
        ctypes.memset(allocate(64), 255, 64)
        self.calls += 1
        dtype = np.float64 if doubles else np.float32
        found = []
        for i, (pointer, rows, columns) in enumerate(clouds[:2]):
            buffer = (ctypes.c_char * (rows * columns * dtype().itemsize)).from_address(pointer)
            matrix = np.frombuffer(buffer, dtype).reshape(rows, columns)
            if not (matrix >= 0).all():
                return (0, i, *([None] * 6))
            found.append((rows, *sorted_edges(matrix, threshold)))
        open_ranks = [open_edges(rows, edges)[::-1] for rows, edges, _ in found]
        if max_dim == 1:
            ends, lengths = [edges for _, edges, _ in found], [lengths for _, _, lengths in found]
            ranks = [np.zeros((0, 2))]
        else:
            kept = [collapsed(rows, edges) for rows, edges, _ in found]
            if max_dim == 0:
                kept = [[(k, k) for k in each] for each in open_ranks]
            ranks = [np.array(each, int).reshape(-1, 2) for each in kept]
            pairs = list(zip(found, ranks, strict=True))
            ends = [np.hstack([edges[r[:, 0]], edges[r[:, 1]]]) for (_, edges, _), r in pairs]
            lengths = [lengths[r[:, 1]] for (_, _, lengths), r in pairs]
        return (
            len(found),
            -1,
            np.cumsum([0, *map(len, lengths)]),
            np.concatenate(ends).astype(np.int32),
            np.concatenate(lengths).astype(dtype),
            np.concatenate(ranks).astype(np.uint32),
            np.cumsum([0, *map(len, open_ranks)]),
            np.concatenate(open_ranks).astype(np.uint32),
        )


def clouds_of(items: list[Floats]) -> DeviceClouds:
    def allocate(count: int) -> tuple[int, Any]:
        memory = np.empty(count, np.uint8)
        return memory.ctypes.data, memory

    return DeviceClouds(
        pointers=[item.ctypes.data for item in items],
        shapes=[item.shape for item in items],
        names=[f"distances[{i}]" for i in range(len(items))],
        dtype=items[0].dtype.name,
        device=3,
        stream=7,
        to_host=lambda i: items[i],
        free=10**6,
        allocate=allocate,
    )


def on_device(items: list[Floats], max_dim: int, threshold: float) -> list[Any]:
    return diagrams_of_device(
        Device(), clouds_of(items), Options("distances", "euclidean", max_dim, threshold)
    )


@example(items=[0.2594958217531956 * (1 - np.eye(2))], max_dim=0, threshold=0.2594958217531956)
@given(items=st.lists(matrices(8), min_size=1, max_size=5), max_dim=st.integers(0, 3), threshold=LIMITS)
def test_equals_cpu(items: list[Floats], max_dim: int, threshold: float) -> None:
    for dtype in (np.float32, np.float64):
        cast = [np.ascontiguousarray(item, dtype) for item in items]
        wanted = _core.topology.vietoris_rips(cast, "distances", "euclidean", max_dim, threshold)
        found = on_device(cast, max_dim, threshold)
        assert len(found) == len(wanted)
        for item, other in zip(found, wanted, strict=True):
            for ours, theirs in zip(item, other, strict=True):
                for a, b in zip(ours, theirs, strict=True):
                    assert a.dtype == b.dtype
                    np.testing.assert_array_equal(a, b)


def test_order_of_equal_bars_does_not_depend_on_the_way_they_were_found() -> None:
    rng = np.random.default_rng(1)
    grid = np.stack(np.meshgrid(np.arange(5.0), np.arange(5.0)), -1).reshape(-1, 2)
    items = [np.abs(c[:, None] - c[None]).sum(-1) for c in (grid, lattice(rng, 30, 3))]
    for max_dim in (1, 2):
        wanted = mk.topology.vietoris_rips(distances=items, max_dim=max_dim, return_generators=True)
        found = on_device(items, max_dim, np.inf)
        for i, item in enumerate(found):
            for dim, (intervals, edges) in enumerate(item):
                np.testing.assert_array_equal(intervals, wanted[0][i][dim])
                np.testing.assert_array_equal(edges, wanted[1][i][dim])


def test_goes_on_where_the_device_stopped() -> None:
    rng = np.random.default_rng(0)
    items = [np.abs(c - c.T) for c in (generic(rng, 6, 1) for _ in range(5))]
    device = Device()
    found = diagrams_of_device(device, clouds_of(items), Options("distances", "euclidean", 1, np.inf))
    assert (len(found), device.calls) == (5, 3)
    intervals, edges, counts = joined(found)
    assert len(counts) == 10
    assert (sum(counts), 4, np.int64) == (*edges.shape, edges.dtype)
    np.testing.assert_array_equal(intervals[: counts[0]], found[0][0][0])


def test_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    good = np.zeros((4, 4))
    bad = np.full((4, 4), np.nan)
    with pytest.raises(ValueError, match=r"distances\[3\] must hold distances .* element \(0, 0\) is nan"):
        on_device([good, good, good, bad], 1, np.inf)
    with pytest.raises(ValueError, match=r"distances\[1\] holds 101 points, more than 100, on a GPU"):
        on_device([good, np.zeros((101, 101))], 1, np.inf)
    wide = DeviceClouds(**{**vars(clouds_of([np.zeros((90, 90))])), "free": 5000})
    with pytest.raises(ValueError, match=r"distances\[0\] with 90 points on the GPU is too large"):
        diagrams_of_device(Device(), wide, Options("distances", "euclidean", 1, np.inf))
    monkeypatch.setattr(_backends, "available_memory", lambda: 1000)
    with pytest.raises(ValueError, match=r"distances\[0\] with 90 points is too large"):
        on_device([np.zeros((90, 90))], 1, np.inf)


def test_no_kernels_or_no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MEDKERNELS_CPU_FALLBACK", raising=False)
    monkeypatch.setattr(_backends, "cuda_module", lambda: None)
    with pytest.raises(mk.BackendError, match="vietoris_rips: this build has no CUDA kernels; set"):
        _backends.cuda_kernels("vietoris_rips")
    monkeypatch.setattr(_backends, "cuda_module", lambda: SimpleNamespace(device_count=lambda: 0))
    with pytest.raises(mk.BackendError, match="vietoris_rips: no CUDA device or driver was found; set"):
        _backends.cuda_kernels("vietoris_rips")
    monkeypatch.setenv("MEDKERNELS_CPU_FALLBACK", "1")
    with pytest.warns(mk.MedkernelsWarning, match="no CUDA device or driver was found; computing on the CPU"):
        assert _backends.cuda_kernels("persistence on a device") is None
    there = SimpleNamespace(device_count=lambda: 1)
    monkeypatch.setattr(_backends, "cuda_module", lambda: there)
    assert _backends.cuda_kernels("vietoris_rips") is there

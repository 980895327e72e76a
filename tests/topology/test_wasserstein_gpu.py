"""All pairs on a GPU against the CPU."""

from __future__ import annotations

import math
import shutil

import numpy as np
import pytest
import torch

import medkernels as mk
from tests.topology.random_bars import random_diagram

# Not by what torch says: where there is a GPU that it cannot use, this is to fail and not to be skipped.
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(shutil.which("nvidia-smi") is None, reason="no NVIDIA GPU"),
]


def on_gpu(items: list[np.ndarray]) -> list[torch.Tensor]:
    return [torch.from_numpy(item).cuda() for item in items]


def mixed(count: int, most: int) -> list[np.ndarray]:
    """Sizes from 0 to `most`; births apart, equal, on a lattice; some endless bars."""
    items = []
    for k in range(count):
        kind = ({}, {"one_birth": True}, {"grid": 7}, {"one_birth": True, "grid": 7})[k % 4]
        bars = random_diagram(k * most // max(1, count - 1), k, **kind)
        items.append(np.concatenate([bars, [[0.1 * k, math.inf]] * (1 + k % 2)]))
    return items


@pytest.mark.parametrize("ground", [2, math.inf])
@pytest.mark.parametrize("most", [12, 150, 700])
def test_equals_cpu(ground: float, most: int) -> None:
    items = mixed(24, most)
    wanted = mk.topology.wasserstein_matrix(items, ground=ground)
    found = mk.topology.wasserstein_matrix(on_gpu(items), ground=ground)
    assert found.device.type == "cuda"
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found.cpu().numpy(), wanted, rtol=1e-10, atol=1e-12)
    assert torch.equal(found, found.T)
    assert not found.diagonal().any()
    other = mk.topology.wasserstein_matrix(on_gpu(items[:7]), on_gpu(items[7:]), ground=ground)
    np.testing.assert_allclose(other.cpu().numpy(), wanted[:7, 7:], rtol=1e-10, atol=1e-12)
    dropped = mk.topology.wasserstein_matrix(on_gpu(items), ground=ground, essential="drop")
    expected = mk.topology.wasserstein_matrix(items, ground=ground, essential="drop")
    np.testing.assert_allclose(dropped.cpu().numpy(), expected, rtol=1e-10, atol=1e-12)


def test_more_pairs_than_blocks() -> None:
    items = [random_diagram(20 + k % 30, k, one_birth=k % 2 == 0) for k in range(300)]
    found = mk.topology.wasserstein_matrix(on_gpu(items))
    np.testing.assert_allclose(
        found.cpu().numpy(), mk.topology.wasserstein_matrix(items), rtol=1e-10, atol=1e-12
    )
    assert torch.equal(found, mk.topology.wasserstein_matrix(on_gpu(items)))


def test_nothing_to_compare() -> None:
    empty = torch.empty((0, 2), device="cuda", dtype=torch.float64)
    assert not mk.topology.wasserstein_matrix([empty, empty]).any()
    assert mk.topology.wasserstein_matrix([empty], []).shape == (1, 0)
    with pytest.raises(ValueError, match=r"diagrams\[1\] must hold bars"):
        mk.topology.wasserstein_matrix([empty, torch.tensor([[1.0, 0.0]], device="cuda").double()])


def test_another_stream() -> None:
    items = mixed(10, 60)
    wanted = mk.topology.wasserstein_matrix(items)
    with torch.cuda.stream(torch.cuda.Stream()):
        found = mk.topology.wasserstein_matrix(on_gpu(items)).cpu()
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-10, atol=1e-12)


def test_cupy() -> None:
    cupy = pytest.importorskip("cupy")
    items = mixed(10, 60)
    found = mk.topology.wasserstein_matrix([cupy.asarray(item) for item in items])
    assert isinstance(found, cupy.ndarray)
    np.testing.assert_allclose(
        cupy.asnumpy(found), mk.topology.wasserstein_matrix(items), rtol=1e-10, atol=1e-12
    )


def test_other_distances_need_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    items = mixed(4, 20)
    monkeypatch.delenv("MEDKERNELS_CPU_FALLBACK", raising=False)
    with pytest.raises(mk.BackendError, match="on a GPU there is a kernel for order=1 only"):
        mk.topology.wasserstein_matrix(on_gpu(items), order=2)
    with pytest.raises(mk.BackendError, match="there is no kernel for 'cuda' tensors"):
        mk.topology.wasserstein(*on_gpu(items[:2]))
    monkeypatch.setenv("MEDKERNELS_CPU_FALLBACK", "1")
    with pytest.warns(mk.MedkernelsWarning, match="order=1 only"):
        found = mk.topology.wasserstein_matrix(on_gpu(items), order=2)
    np.testing.assert_array_equal(found.cpu().numpy(), mk.topology.wasserstein_matrix(items, order=2))

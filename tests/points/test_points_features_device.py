"""What becomes of neighbourhoods, edges and grids on a GPU where there are no CUDA kernels.

A tensor on the CPU stands in for one on a GPU.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import medkernels as mk
from medkernels import _backends, _device
from medkernels.points import _tables

CLOUD = np.random.default_rng(0).uniform(-1, 1, (9, 3))
TABLE = np.random.default_rng(1).integers(-1, 9, (9, 4))


def like(cloud: Any, array: np.ndarray) -> Any:
    return torch.from_numpy(array) if isinstance(cloud, torch.Tensor) else array


def described(cloud: Any) -> Any:
    axes = like(cloud, np.tile([0.0, 0.0, 1.0], (9, 1)))
    return mk.points.rotation_invariant_features(cloud, axes, like(cloud, np.arange(9)), like(cloud, TABLE))[
        0
    ]


CALLS: list[tuple[str, Callable[[Any], Any]]] = [
    ("local_reference_axis", lambda cloud: mk.points.local_reference_axis(cloud, like(cloud, TABLE))),
    ("rotation_invariant_features", described),
    ("gather_sum", lambda cloud: mk.points.gather_sum(cloud, like(cloud, TABLE))),
    ("edge_softmax", lambda cloud: mk.points.edge_softmax(cloud, like(cloud, TABLE[:, :3].copy()))),
    (
        "grid_atoms",
        lambda cloud: mk.points.grid_atoms(cloud, [0] * 9, 1.0, center=[0, 0, 0], side=2, resolution=1),
    ),
    ("voxelize", lambda cloud: mk.points.voxelize(cloud, cloud, resolution=3)),
    ("devoxelize", lambda cloud: mk.points.devoxelize(like(cloud, np.ones((2, 3, 3, 3))), cloud)),
]


@pytest.fixture
def tensor_elsewhere(monkeypatch: pytest.MonkeyPatch) -> torch.Tensor:
    monkeypatch.setattr(_device, "is_on_cuda", lambda array: isinstance(array, torch.Tensor))
    monkeypatch.setattr(_backends, "cuda_module", lambda: None)
    monkeypatch.delenv("MEDKERNELS_CPU_FALLBACK", raising=False)
    _backends._warn_fallback.cache_clear()
    return torch.from_numpy(CLOUD)


@pytest.mark.parametrize(("op", "call"), CALLS)
def test_refused_without_kernels(op: str, call: Callable[[Any], Any], tensor_elsewhere: torch.Tensor) -> None:
    with pytest.raises(mk.BackendError, match=f"{op}: this build has no CUDA kernels"):
        call(tensor_elsewhere)


@pytest.mark.parametrize(("op", "call"), CALLS)
def test_falls_back_with_one_warning(
    op: str, call: Callable[[Any], Any], tensor_elsewhere: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDKERNELS_CPU_FALLBACK", "1")
    with pytest.warns(mk.MedkernelsWarning, match=f"{op}: this build has no CUDA kernels"):
        found = call(tensor_elsewhere)
    np.testing.assert_array_equal(found.numpy(), call(CLOUD))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        call(tensor_elsewhere)


class Machine:
    """In place of the CUDA module and of a device whose memory is the host's."""

    device = _device.Device(
        0,
        0,
        lambda: 1 << 30,
        lambda shape, dtype: torch.zeros(shape, dtype=getattr(torch, dtype)),
        lambda tensor: int(tensor.data_ptr()),
        lambda tensor: tensor.numpy(),
    )

    class points:  # noqa: N801
        most_neighbours = 100

        @staticmethod
        def local_reference_axis(doubles: bool, clouds: Any, weighted: bool, axes: Any, *place: Any) -> int:
            Machine.seen = (doubles, clouds, weighted, axes)
            return Machine.bad

    bad = -1
    seen: Any = None

    @staticmethod
    def device_count() -> int:
        return 1


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> type[Machine]:
    monkeypatch.setattr(_device, "is_on_cuda", lambda array: isinstance(array, torch.Tensor))
    monkeypatch.setattr(_device, "device_of", lambda array: Machine.device)
    monkeypatch.setattr(_backends, "cuda_module", lambda: Machine)
    Machine.bad = -1
    return Machine


def test_what_a_kernel_is_given(machine: type[Machine]) -> None:
    clouds = [torch.zeros(5, 3), torch.zeros(2, 3)]
    tables = [torch.zeros(5, 4, dtype=torch.int32), torch.zeros(2, 1, dtype=torch.int32)]
    axes = mk.points.local_reference_axis(clouds, tables, weighted=False)
    assert [tuple(each.shape) for each in axes] == [(5, 3), (2, 3)]
    doubles, given, weighted, addresses = machine.seen
    assert (doubles, weighted) == (False, False)
    assert [(size, rows, k) for _, size, _, rows, k in given] == [(5, 5, 4), (2, 2, 1)]
    assert [points for points, *_ in given] == [cloud.data_ptr() for cloud in clouds]
    assert addresses == [each.data_ptr() for each in axes]
    batch = mk.points.local_reference_axis(
        torch.zeros(2, 4, 3).double(), torch.zeros(2, 4, 3, dtype=torch.int64)
    )
    assert batch.shape == (2, 4, 3)
    assert batch.dtype == torch.float64


def test_what_a_kernel_refuses(machine: type[Machine]) -> None:
    clouds, tables = [torch.zeros(4, 3), torch.zeros(4, 3)], [torch.zeros(4, 2, dtype=torch.int64)] * 2
    clouds[1][2, 1], machine.bad = torch.inf, 1
    with pytest.raises(ValueError, match=r"points\[1\] must be finite .* element 7 .* is inf"):
        mk.points.local_reference_axis(clouds, tables)
    machine.bad = 2
    with pytest.raises(RuntimeError, match=r"neighbours\[0\] was changed while it was read"):
        mk.points.local_reference_axis(clouds, tables)
    tables[0][3, 1] = 4
    with pytest.raises(ValueError, match=r"neighbours\[0\] must be from -1 to 3, but element 7 .* is 4"):
        mk.points.local_reference_axis(clouds, tables)


def test_very_long_rows_are_refused_on_a_gpu(machine: type[Machine]) -> None:
    cloud, rows = torch.zeros(101, 3), torch.zeros(1, 101, dtype=torch.int64)
    with pytest.raises(ValueError, match="neighbours must have at most 100 a row on a GPU, not 101"):
        mk.points.rotation_invariant_features(cloud, cloud, torch.zeros(1, dtype=torch.int64), rows)


def test_results_of_any_shapes_are_parts_of_one_array(machine: type[Machine]) -> None:
    read = _tables.read("op", {"points": [torch.ones(2, 3), torch.ones(1, 3)]}, {"points": "N 3"}, [])
    call = read.on_device()
    assert call is not None
    addresses, parts = call.results([(2, 2), (0, 7), (3,)], "float64")
    assert [tuple(part.shape) for part in parts] == [(2, 2), (0, 7), (3,)]
    assert [address - addresses[0] for address in addresses] == [0, 32, 32]

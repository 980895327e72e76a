"""Both distances as operators of PyTorch and JAX: gradients, tracing, devices."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

import medkernels as mk
from tests.topology.random_bars import random_diagram

ORDERS = [1, 2, 3.5, math.inf]
GROUNDS = [2, math.inf]


def tensors(*sizes: int, grad: bool = True, **kind: Any) -> list[torch.Tensor]:
    return [
        torch.from_numpy(random_diagram(n, n + k, **kind)).requires_grad_(grad) for k, n in enumerate(sizes)
    ]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("ground", GROUNDS)
@pytest.mark.parametrize("one_birth", [False, True])
def test_gradcheck(order: float, ground: float, one_birth: bool) -> None:
    a, b = tensors(4, 5, one_birth=one_birth)
    never = torch.tensor([[0.2, math.inf], [0.9, math.inf]], dtype=torch.float64)

    def distance(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        ends = torch.stack([y[:2, 0] + torch.tensor([0.1, 0.4]), never[:, 1]], 1)
        found: torch.Tensor = mk.topology.wasserstein(
            torch.cat([x, never]), torch.cat([ends, y]), order=order, ground=ground
        )
        return found

    assert torch.autograd.gradcheck(distance, [a, b])


def test_gradients_where_there_is_no_slope() -> None:
    a, _ = tensors(4, 5)
    for order in ORDERS:
        b = a.detach().clone().requires_grad_()
        distance = mk.topology.wasserstein(a, b, order=order)
        grads = torch.autograd.grad(distance, [a, b])
        assert distance == 0
        assert not any(g.any() for g in grads)
    endless = torch.tensor([[0.0, math.inf]], dtype=torch.float64, requires_grad=True)
    distance = mk.topology.wasserstein(torch.cat([a, endless]), b)
    assert distance.isinf()
    assert not torch.autograd.grad(distance, endless)[0].any()


def test_gradient_of_ties_goes_one_way() -> None:
    """The larger difference moves; birth at a tie. Only the first of equal bottleneck moves counts."""
    a = torch.tensor([[0.0, 4.0], [10.0, 14.0]], dtype=torch.float64, requires_grad=True)
    b = torch.tensor([[1.0, 5.0], [10.5, 15.0]], dtype=torch.float64)
    distance = mk.topology.wasserstein(a, b, order=math.inf, ground=math.inf)
    assert distance == 1
    torch.testing.assert_close(
        torch.autograd.grad(distance, a)[0], torch.tensor([[-1.0, 0], [0, 0]]).double()
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_torch_equals_numpy(dtype: torch.dtype) -> None:
    a, b = (t.to(dtype) for t in tensors(12, 9, grad=False))
    for essential in ("match", "drop"):
        ours = mk.topology.wasserstein(a, b, return_matching=True, essential=essential)
        wanted = mk.topology.wasserstein(a.numpy(), b.numpy(), return_matching=True, essential=essential)
        assert ours[0].dtype == torch.float64
        assert ours[0].item() == wanted[0]
        np.testing.assert_array_equal(ours[1].numpy(), wanted[1])
    a.requires_grad_()
    assert torch.autograd.grad(mk.topology.wasserstein(a, []), a)[0].dtype == dtype
    items = tensors(5, 0, 12, grad=False)
    found = mk.topology.wasserstein_matrix(items)
    np.testing.assert_array_equal(found.numpy(), mk.topology.wasserstein_matrix([t.numpy() for t in items]))


def test_opcheck() -> None:
    a, b = tensors(6, 4)
    torch.library.opcheck(torch.ops.medkernels.wasserstein.default, (a, b, 2.0, 2.0, False))
    for symmetric in (True, False):
        torch.library.opcheck(
            torch.ops.medkernels.wasserstein_matrix.default,
            ([a.detach(), b.detach()], [a.detach()], symmetric, 1.0, 2.0, False),
        )


def test_compile_without_graph_break() -> None:
    a, b = tensors(6, 4)

    def loss(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        near: torch.Tensor = mk.topology.wasserstein(x, y, order=2)
        return near**2 + mk.topology.wasserstein_matrix([x.detach(), y.detach()]).sum()

    traced = torch.compile(loss, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(traced(a, b), loss(a, b))
    expected = torch.autograd.grad(loss(a, b), [a, b])
    for ours, wanted in zip(torch.autograd.grad(traced(a, b), [a, b]), expected, strict=True):
        torch.testing.assert_close(ours, wanted)


def test_second_derivatives_are_refused() -> None:
    a, b = tensors(6, 4)
    (slope,) = torch.autograd.grad(mk.topology.wasserstein(a, b), a, create_graph=True)
    with pytest.raises(RuntimeError, match="no autograd formula"):
        torch.autograd.grad(slope.sum(), a)


def test_mixed_frameworks_and_devices() -> None:
    a, b = tensors(3, 4, grad=False)
    with pytest.raises(TypeError, match="b is a numpy array, but a is a torch array"):
        mk.topology.wasserstein(a, b.numpy())
    with pytest.raises(ValueError, match="b is on meta, but a is on cpu"):
        mk.topology.wasserstein(a, b.to("meta"))
    with pytest.raises(ValueError, match=r"diagrams\[1\] is on meta, but diagrams\[0\] is on cpu"):
        mk.topology.wasserstein_matrix([a, b.to("meta")])
    with pytest.raises(TypeError, match=r"others\[0\] is a numpy array"):
        mk.topology.wasserstein_matrix([a], [b.numpy()])
    assert mk.topology.wasserstein(a, b.tolist()) == mk.topology.wasserstein(a, b)
    assert mk.topology.wasserstein(a.to("meta"), b.to("meta")).device.type == "meta"


def test_jax() -> None:
    jax = pytest.importorskip("jax")
    import jax.numpy as jnp

    with jax.enable_x64(True):
        a, b = tensors(6, 4)
        ours = [jnp.asarray(t.detach().numpy()) for t in (a, b)]
        expected, matching = mk.topology.wasserstein(*(np.asarray(x) for x in ours), return_matching=True)

        def distance(x: Any, y: Any) -> Any:
            return mk.topology.wasserstein(x, y)

        found, pairs = mk.topology.wasserstein(*ours, return_matching=True)
        assert isinstance(found, jax.Array)
        assert found.dtype == np.float64
        np.testing.assert_array_equal(np.asarray(pairs), matching)
        assert float(found) == float(jax.jit(distance)(*ours)) == expected
        wanted = torch.autograd.grad(mk.topology.wasserstein(a, b), [a, b])
        for gradient in (jax.grad(distance, (0, 1)), jax.jit(jax.grad(distance, (0, 1)))):
            for g, w in zip(gradient(*ours), wanted, strict=True):
                np.testing.assert_allclose(np.asarray(g), w.numpy(), rtol=1e-12)
        batch = jnp.stack([ours[0], ours[0] * 2])
        mapped = jax.vmap(jax.value_and_grad(distance), (0, None))(batch, ours[1])
        for k in range(2):
            single = jax.value_and_grad(distance)(batch[k], ours[1])
            assert float(mapped[0][k]) == float(single[0])
            np.testing.assert_array_equal(np.asarray(mapped[1][k]), np.asarray(single[1]))
        for matrix in (mk.topology.wasserstein_matrix, jax.jit(mk.topology.wasserstein_matrix)):
            np.testing.assert_array_equal(np.asarray(matrix(ours)), [[0, expected], [expected, 0]])
        with pytest.raises(TypeError, match="return_matching must be False where"):
            jax.jit(lambda x, y: mk.topology.wasserstein(x, y, return_matching=True))(*ours)


def test_jax_in_single_precision() -> None:
    jax = pytest.importorskip("jax")
    a, b = (jax.numpy.asarray(random_diagram(n, n), dtype="float32") for n in (6, 4))
    value, slope = jax.value_and_grad(lambda x: mk.topology.wasserstein(x, b))(a)
    assert value.dtype == slope.dtype == np.float32
    assert float(value) == pytest.approx(mk.topology.wasserstein(np.asarray(a), np.asarray(b)), rel=1e-6)


def test_other_devices_fall_back_only_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    from medkernels.topology import _wasserstein_torch

    class Elsewhere:
        device = torch.device("xpu")

        def cpu(self) -> torch.Tensor:
            return torch.zeros(1, 2)

    monkeypatch.delenv("MEDKERNELS_CPU_FALLBACK", raising=False)
    with pytest.raises(mk.BackendError, match="no kernel for 'xpu' tensors; set MEDKERNELS_CPU_FALLBACK=1"):
        _wasserstein_torch._host(Elsewhere(), "a")
    monkeypatch.setenv("MEDKERNELS_CPU_FALLBACK", "1")
    with pytest.warns(mk.MedkernelsWarning, match="computing on the CPU"):
        assert _wasserstein_torch._host(Elsewhere(), "a").shape == (1, 2)

"""The ops on edges in JAX: values, derivatives of first and second order against PyTorch's, jit and vmap."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

import medkernels as mk

jax = pytest.importorskip("jax")


class Call(NamedTuple):
    """A function of arrays that are differentiated to, and what they are."""

    function: Callable[..., Any]
    arrays: list[np.ndarray]


def table_like(array: Any, table: np.ndarray) -> Any:
    return torch.from_numpy(table) if isinstance(array, torch.Tensor) else jax.numpy.asarray(table)


def calls() -> dict[str, Call]:
    rng = np.random.default_rng(0)
    table = rng.integers(-1, 6, (2, 5, 3))
    table[:, 2] = -1
    features, weights = rng.normal(size=(2, 6, 2, 4)), rng.normal(size=(2, 5, 3, 2))
    scores = rng.normal(size=(2, 5, 3, 2))

    def summed(x: Any, w: Any = None) -> Any:
        return mk.points.gather_sum(x, table_like(x, table), weights=w)

    def attended(x: Any, s: Any) -> Any:
        edges = table_like(x, table)
        return mk.points.gather_sum(x, edges, weights=mk.points.edge_softmax(s, edges))

    return {
        "sum": Call(summed, [features]),
        "weighted sum": Call(summed, [features, weights]),
        "one weight for all heads": Call(summed, [features, weights[..., 0]]),
        "one item": Call(lambda x: mk.points.gather_sum(x, table_like(x, table[0])), [features[0, :, 0]]),
        "softmax": Call(lambda s: mk.points.edge_softmax(s, table_like(s, table)), [scores]),
        "attention": Call(attended, [features, scores]),
    }


@pytest.fixture(params=sorted(calls()))
def call(request: Any) -> Call:
    return calls()[request.param]


def sine_of(call: Call) -> Callable[..., Any]:
    """A number that depends on the result in a way that is not linear."""

    def loss(*arrays: Any) -> Any:
        result = call.function(*arrays)
        return (result.sin() if isinstance(result, torch.Tensor) else jax.numpy.sin(result)).sum()

    return loss


def second_order(call: Call, gradient: Callable[..., Any], *arrays: Any) -> Any:
    """The sum of the squares of all first derivatives."""
    return sum((each**2).sum() for each in gradient(*arrays))


def test_values(call: Call) -> None:
    with jax.enable_x64(True):
        arrays = [jax.numpy.asarray(array) for array in call.arrays]
        wanted = call.function(*(torch.from_numpy(array) for array in call.arrays)).numpy()
        for function in (call.function, jax.jit(call.function)):
            result = function(*arrays)
            assert isinstance(result, jax.Array)
            np.testing.assert_array_equal(np.asarray(result), wanted)


def test_float32_without_wide_types(call: Call) -> None:
    arrays = [jax.numpy.asarray(array.astype(np.float32)) for array in call.arrays]
    result = jax.jit(call.function)(*arrays)
    assert result.dtype == np.float32
    single = [torch.from_numpy(array.astype(np.float32)) for array in call.arrays]
    np.testing.assert_array_equal(np.asarray(result), call.function(*single).numpy())


def test_derivatives(call: Call) -> None:
    inputs = [torch.tensor(array, requires_grad=True) for array in call.arrays]
    loss, everything = sine_of(call), tuple(range(len(inputs)))
    first = torch.autograd.grad(loss(*inputs), inputs, create_graph=True)
    second = torch.autograd.grad(sum(each.square().sum() for each in first), inputs)
    with jax.enable_x64(True):
        arrays = [jax.numpy.asarray(array) for array in call.arrays]
        gradient = jax.grad(loss, everything)

        def squares(*arrays: Any) -> Any:
            return second_order(call, gradient, *arrays)

        twice = jax.grad(squares, everything)
        for function, expected in ((gradient, first), (twice, second)):
            for each in (function, jax.jit(function)):
                for ours, theirs in zip(each(*arrays), expected, strict=True):
                    np.testing.assert_allclose(
                        np.asarray(ours), theirs.detach().numpy(), rtol=1e-11, atol=1e-11
                    )


def test_vmap(call: Call) -> None:
    with jax.enable_x64(True):
        arrays = [jax.numpy.asarray(array) for array in call.arrays]
        stacked = [jax.numpy.stack([array, array * 0.9, array * 0.8]) for array in arrays]
        gradient = jax.grad(sine_of(call), tuple(range(len(arrays))))
        mapped, slopes = jax.vmap(call.function)(*stacked), jax.vmap(gradient)(*stacked)
        for i in range(3):
            one = [array[i] for array in stacked]
            np.testing.assert_array_equal(np.asarray(mapped[i]), np.asarray(call.function(*one)))
            for many, single in zip(slopes, gradient(*one), strict=True):
                np.testing.assert_allclose(np.asarray(many[i]), np.asarray(single), rtol=1e-12, atol=1e-13)


def test_tables_are_mapped_too() -> None:
    with jax.enable_x64(True):
        features = jax.numpy.arange(6.0).reshape(3, 2)
        tables = jax.numpy.asarray([[[0, 1]], [[2, -1]]])
        found = jax.vmap(lambda table: mk.points.gather_sum(features, table))(tables)
        np.testing.assert_array_equal(np.asarray(found), [[[2.0, 4.0]], [[4.0, 5.0]]])


def test_indices_out_of_range() -> None:
    features, table = jax.numpy.zeros((3, 2)), jax.numpy.asarray([[0, 3]])
    with pytest.raises(ValueError, match=r"neighbours must be from -1 to 2, but element 1 .* is 3"):
        mk.points.gather_sum(features, table)
    with pytest.raises(jax.errors.JaxRuntimeError, match="neighbours must be from -1 to 2"):
        jax.jit(mk.points.gather_sum)(features, table).block_until_ready()


def test_a_gpu_needs_the_fallback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.delenv("MEDKERNELS_CPU_FALLBACK", raising=False)
    features, table = jax.numpy.zeros((3, 2)), jax.numpy.zeros((1, 2), int)
    for op, argument in ((mk.points.gather_sum, features), (mk.points.edge_softmax, features[:1])):
        with pytest.raises(mk.BackendError, match="no kernel for JAX arrays on 'gpu'"):
            op(argument, table)

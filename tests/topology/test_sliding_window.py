"""Delay embedding against its definition, in every framework."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import medkernels as mk
from tests.reference.sliding_window import sliding_window as reference

SERIES = np.random.default_rng(0).normal(size=(2, 3, 11))


@given(
    shape=st.lists(st.integers(0, 3), max_size=2),
    dimension=st.integers(1, 5),
    delay=st.integers(1, 4),
    extra=st.integers(0, 5),
)
def test_equals_definition(shape: list[int], dimension: int, delay: int, extra: int) -> None:
    length = (dimension - 1) * delay + 1 + extra
    series = np.random.default_rng(length).normal(size=(*shape, length))
    windows = mk.topology.sliding_window(series, dimension=dimension, delay=delay)
    np.testing.assert_array_equal(windows, reference(series, dimension, delay))
    tensors = mk.topology.sliding_window(torch.from_numpy(series), dimension=dimension, delay=delay)
    np.testing.assert_array_equal(tensors.numpy(), windows)


def test_nothing_is_copied() -> None:
    windows = mk.topology.sliding_window(SERIES, dimension=4, delay=2)
    assert np.shares_memory(windows, SERIES)
    assert not windows.flags.writeable
    tensor = torch.from_numpy(SERIES)
    assert mk.topology.sliding_window(tensor).data_ptr() == tensor.data_ptr()


def test_other_kinds_of_numbers() -> None:
    assert mk.topology.sliding_window([1, 2, 3, 4], dimension=2, delay=2).tolist() == [[1, 3], [2, 4]]
    assert mk.topology.sliding_window(np.arange(4, dtype=np.int16), dimension=2).dtype == np.int16
    assert mk.topology.sliding_window(torch.arange(4.0).bfloat16(), dimension=2).dtype == torch.bfloat16


def test_derivatives() -> None:
    series = torch.from_numpy(SERIES).requires_grad_()
    embed = mk.topology.sliding_window
    assert torch.autograd.gradcheck(lambda s: embed(s, dimension=3, delay=2), [series])
    compiled = torch.compile(embed, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(series, dimension=3, delay=2), embed(series, dimension=3, delay=2))
    mapped = torch.func.vmap(embed)(series)
    torch.testing.assert_close(mapped, embed(series))


def test_jax() -> None:
    jax = pytest.importorskip("jax")
    import jax.numpy as jnp

    series = jnp.asarray(SERIES, dtype="float32")

    def loss(series: Any) -> Any:
        return (mk.topology.sliding_window(series, dimension=3, delay=2) ** 2).sum()

    windows = jax.jit(lambda s: mk.topology.sliding_window(s, dimension=3, delay=2))(series)
    np.testing.assert_array_equal(np.asarray(windows), reference(np.asarray(series), 3, 2))
    tensor = torch.tensor(np.asarray(series), requires_grad=True)
    (wanted,) = torch.autograd.grad(loss(tensor), tensor)
    np.testing.assert_allclose(np.asarray(jax.jit(jax.grad(loss))(series)), wanted.numpy(), rtol=1e-6)


@pytest.mark.parametrize(
    ("series", "options", "error", "message"),
    [
        (SERIES, {"dimension": 0}, ValueError, "dimension must be at least 1, not 0"),
        (SERIES, {"delay": 0}, ValueError, "delay must be at least 1, not 0"),
        (SERIES, {"delay": 1.5}, TypeError, "delay must be an integer, not 1.5"),
        (
            SERIES,
            {"dimension": 12},
            ValueError,
            r"series must have at least 12 samples .* shape \[2, 3, 11\]",
        ),
        (SERIES, {"dimension": 2**31 - 1, "delay": 2**31 - 1}, ValueError, "series must have at least"),
        (np.float64(3.0), {}, ValueError, r"series must have shape \[..., T\], but is a single number"),
        (3.0, {}, ValueError, r"series must have shape \[..., T\]"),
        ("here", {}, TypeError, "series must be an array of numbers"),
        (torch.ones(2), {}, ValueError, "series must have at least 3 samples"),
    ],
)
def test_refused(series: Any, options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        mk.topology.sliding_window(series, **options)

"""Diagrams for the tests of what summarises them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from hypothesis import strategies as st

from tests.foreign import Foreign

Floats = npt.NDArray[np.float64]


@st.composite
def diagrams(draw: Any, max_bars: int = 8) -> Floats:
    """[n, 2] with n from 0: ties, bars of length zero and infinite bars among them."""
    number = st.sampled_from([0.0, 0.5, 1.0, 2.0]) | st.floats(-3, 3, width=32)
    length = st.sampled_from([0.0, 0.5, np.inf]) | st.floats(0, 3, width=32)
    bars = draw(st.lists(st.tuples(number, length), max_size=max_bars))
    return np.array([(birth, birth + more) for birth, more in bars], dtype=np.float64).reshape(-1, 2)


def examples() -> list[Floats]:
    """Four diagrams, one of them empty and two with infinite bars."""
    rng = np.random.default_rng(0)
    found = []
    for count, endless in ((5, 1), (0, 0), (9, 2), (4, 0)):
        birth = rng.uniform(0, 2, count)
        death = birth + rng.uniform(0.1, 2, count)
        death[:endless] = np.inf
        found.append(np.stack([birth, death], -1))
    return found


REFUSED = [
    (
        np.zeros((3, 3)),
        ValueError,
        r"diagrams must have shape \[n, 2\] or \[B, n, 2\], or be a list of \[n, 2\]",
    ),
    (
        [np.zeros((3, 2)), np.zeros((3, 1))],
        ValueError,
        r"diagrams\[1\] must have shape \[n, 2\], but has .*\[3, 1\]",
    ),
    ([(1, (0.0, 2.0))], TypeError, r"diagrams\[0\] must be an array of numbers"),
    (
        np.array([[0.0, 1.0], [np.nan, 2.0]]),
        ValueError,
        r"diagrams must hold .* birth <= death, but row 1 is \(nan",
    ),
    (
        [np.zeros((1, 2)), torch.zeros((1, 2)).numpy().astype(float), np.array([[0.0, 1.0], [2.0, 1.0]])],
        ValueError,
        r"diagrams\[2\] must hold births and deaths with birth <= death, but row 1 is \(2.0, 1.0\)",
    ),
    (torch.tensor([[2.0, 1.0]], requires_grad=True), ValueError, r"but row 0 is \(2.0, 1.0\)"),
    (np.zeros((3, 2), np.int64), TypeError, "diagrams must be float32 or float64, not int64"),
    (
        [np.zeros((1, 2)), np.zeros((1, 2), np.float32)],
        TypeError,
        r"diagrams\[1\] is float32, but diagrams\[0\] is",
    ),
    (
        [np.zeros((1, 2)), torch.zeros((1, 2))],
        TypeError,
        r"diagrams\[1\] is a torch array, but diagrams\[0\] is",
    ),
    (
        [torch.zeros((1, 2)), torch.zeros((1, 2), device="meta")],
        ValueError,
        r"diagrams\[1\] is on meta, but diagrams\[0\] is on cpu",
    ),
    ("here", TypeError, "diagrams must be an array of numbers"),
]


def check_kinds(function: Callable[[Any], Any], rtol: float = 1e-12) -> None:
    """One diagram, lists, batches, every framework and dtype: the same numbers, and the kind that came."""
    many = examples()
    wanted = function(many)
    assert isinstance(wanted, np.ndarray)
    assert len(wanted) == len(many)
    for diagram, row in zip(many, wanted, strict=True):
        np.testing.assert_allclose(function(diagram), row, rtol=rtol, atol=1e-15)
    assert function([]).shape == (0, *wanted.shape[1:])
    np.testing.assert_array_equal(function([d.tolist() or d for d in many]), wanted)
    np.testing.assert_array_equal(function(np.stack([many[0], many[0]])), np.stack([wanted[0], wanted[0]]))
    np.testing.assert_array_equal(function([np.empty(0)]), wanted[1:2])
    single = function([d.astype(np.float32) for d in many])
    assert single.dtype in (np.float32, wanted.dtype)
    np.testing.assert_allclose(single, wanted, rtol=1e-4, atol=1e-5)

    tensors = function([torch.from_numpy(d) for d in many])
    assert isinstance(tensors, torch.Tensor)
    np.testing.assert_allclose(tensors.numpy(), wanted, rtol=rtol, atol=1e-15)
    assert function(torch.zeros((0, 3, 2))).shape == (0, *wanted.shape[1:])
    foreign = function([Foreign(d) for d in many])
    assert isinstance(foreign, Foreign)
    np.testing.assert_array_equal(foreign.array, wanted)
    assert isinstance(function(Foreign(many[0])), Foreign)

    import jax
    import jax.numpy as jnp

    with jax.enable_x64(True):
        arrays = [jnp.asarray(d) for d in many]
        found = function(arrays)
        assert isinstance(found, jax.Array)
        np.testing.assert_allclose(np.asarray(found), wanted, rtol=rtol, atol=1e-15)
        np.testing.assert_allclose(np.asarray(jax.jit(function)(arrays)), wanted, rtol=rtol, atol=1e-15)
        mapped = jax.vmap(function)(jnp.stack([arrays[0], arrays[0] + 0.25]))
        np.testing.assert_allclose(np.asarray(mapped[0]), wanted[0], rtol=rtol, atol=1e-15)


def check_gradients(function: Callable[[Any], Any]) -> None:
    """Gradients in torch against differences, in JAX against torch; finite where bars are infinite."""
    many = [torch.from_numpy(d).requires_grad_() for d in examples()]

    def of_finite(*free: torch.Tensor) -> torch.Tensor:
        endless = torch.tensor([[0.3, torch.inf], [1.0, 1.0]], dtype=torch.float64)
        return function([torch.cat([f, endless]) for f in free])

    finite = [d.detach()[torch.isfinite(d).all(1)].requires_grad_() for d in many]
    assert torch.autograd.gradcheck(of_finite, finite)
    weight = torch.linspace(1, 2, function(many).numel(), dtype=torch.float64).reshape(function(many).shape)
    wanted = torch.autograd.grad((function(many) * weight).sum(), many)
    assert all(bool(torch.isfinite(g).all()) for g in wanted)

    import jax
    import jax.numpy as jnp

    with jax.enable_x64(True):
        arrays = [jnp.asarray(d.detach().numpy()) for d in many]
        found = jax.grad(lambda a: (function(a) * jnp.asarray(weight.numpy())).sum())(arrays)
        for ours, theirs in zip(found, wanted, strict=True):
            np.testing.assert_allclose(np.asarray(ours), theirs.numpy(), rtol=1e-10, atol=1e-12)

    compiled = torch.compile(lambda d: function(d), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(finite), function(finite))

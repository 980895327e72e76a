"""`gather_sum` against its definition; derivatives, threads, refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import medkernels as mk
from tests.points.clouds import with_threads
from tests.reference.gather_sum import gather_sum as reference

SIZES = st.tuples(
    st.integers(0, 40), st.integers(1, 30), st.integers(0, 12), st.integers(1, 3), st.integers(0, 20)
)


def graph(rng: np.random.Generator, rows: int, sources: int, k: int, heads: int, channels: int) -> list[Any]:
    """Features, a table with absent neighbours, and weights."""
    table = rng.integers(-1, sources, (rows, k))
    return [rng.normal(size=(sources, heads, channels)), table, rng.normal(size=(rows, k, heads))]


@given(st.integers(0, 2**32 - 1), SIZES, st.sampled_from([np.float32, np.float64]))
def test_equals_definition(seed: int, sizes: tuple[int, ...], dtype: Any) -> None:
    features, table, weights = graph(np.random.default_rng(seed), *sizes)
    features, weights = features.astype(dtype), weights.astype(dtype)
    close = {"rtol": 1e-5, "atol": 1e-5} if dtype == np.float32 else {"rtol": 1e-12, "atol": 1e-12}
    for factors in (None, weights):
        sums = mk.points.gather_sum(features, table, weights=factors)
        assert sums.dtype == dtype
        assert np.allclose(sums, reference(features, table, factors), **close)


def test_one_weight_for_all_heads_and_none() -> None:
    features, table, weights = graph(np.random.default_rng(0), 9, 7, 4, 3, 5)
    shared = weights[..., :1]
    expected = reference(features, table, np.repeat(shared, 3, axis=2))
    assert np.allclose(mk.points.gather_sum(features, table, weights=shared[..., 0]), expected)
    plain = mk.points.gather_sum(features[:, 0], table.astype(np.int32), weights=weights[..., 0])
    assert np.allclose(plain, reference(features, table, weights[..., :1].repeat(3, axis=2))[:, 0])


def test_batches_are_their_items() -> None:
    rng = np.random.default_rng(1)
    graphs = [graph(rng, 8, 11, 5, 2, 3) for _ in range(3)]
    features, table, weights = (np.stack(parts) for parts in zip(*graphs, strict=True))
    sums = mk.points.gather_sum(features, table, weights=weights)
    flat = mk.points.gather_sum(features[:, :, 0], table)
    for i in range(3):
        assert np.array_equal(sums[i], mk.points.gather_sum(features[i], table[i], weights=weights[i]))
        assert np.array_equal(flat[i], mk.points.gather_sum(features[i, :, 0], table[i]))


@pytest.mark.parametrize("weighted", [False, True])
def test_derivatives(weighted: bool) -> None:
    """Of first and second order, also where nodes have no edge."""
    features, table, weights = (
        torch.from_numpy(array) for array in graph(np.random.default_rng(2), 5, 6, 3, 2, 3)
    )
    arguments = [features[None].requires_grad_(), table[None], weights[None].requires_grad_()]
    arguments[2] = arguments[2] if weighted else None

    def call(x: torch.Tensor, w: torch.Tensor | None = None) -> Any:
        return mk.points.gather_sum(x, table[None], weights=w)

    leaves = tuple(a for a in (arguments[0], arguments[2]) if a is not None)
    assert torch.autograd.gradcheck(call, leaves)
    assert torch.autograd.gradgradcheck(call, leaves)


def test_derivatives_of_many_edges() -> None:
    """Several blocks of nodes and pieces of edges, in a batch: against torch's own."""
    rng = np.random.default_rng(3)
    shape = (2, 9000, 4, 8)
    table = torch.from_numpy(rng.integers(-1, 9000, (2, 7000, 5)))
    features = torch.from_numpy(rng.normal(size=shape).astype(np.float32)).requires_grad_()
    weights = torch.rand(2, 7000, 5, 4, requires_grad=True)
    upstream = torch.randn(2, 7000, 4, 8)
    sums = mk.points.gather_sum(features, table, weights=weights)
    ours = torch.autograd.grad(sums, (features, weights), upstream)
    batch = torch.arange(2)[:, None, None]
    present = (table >= 0)[..., None, None]
    expected = (features[batch, table] * weights[..., None] * present).sum(2)
    theirs = torch.autograd.grad(expected, (features, weights), upstream)
    assert torch.allclose(sums, expected, atol=1e-5)
    for one, other in zip(ours, theirs, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    rng = np.random.default_rng(4)
    table = torch.from_numpy(rng.integers(-1, 5000, (30_000, 6)))
    features = torch.from_numpy(rng.normal(size=(5000, 33)).astype(np.float32)).requires_grad_()

    def call() -> list[torch.Tensor]:
        sums = mk.points.gather_sum(features, table)
        return [sums.detach(), *torch.autograd.grad(sums.square().sum(), features)]

    first, *others = with_threads(call)
    assert all(torch.equal(a, b) for other in others for a, b in zip(first, other, strict=True))


def test_operators() -> None:
    """Under torch.compile, and what torch asks of operators."""
    from medkernels.points import _edges_torch

    features, table, weights = (
        torch.from_numpy(array)[None] for array in graph(np.random.default_rng(5), 5, 6, 3, 2, 3)
    )
    features.requires_grad_()
    weights.requires_grad_()
    upstream = torch.randn(1, 5, 2, 3, dtype=torch.float64, requires_grad=True)
    torch.library.opcheck(_edges_torch._gather_sum, (features, table, weights))
    torch.library.opcheck(_edges_torch._gather_sum, (features, table, None))
    torch.library.opcheck(_edges_torch._transposed, (upstream, table, weights, 6))
    torch.library.opcheck(_edges_torch._products, (features, upstream, table))
    compiled = torch.compile(
        lambda x, n, w: mk.points.gather_sum(x, n, weights=w).sin().sum(), fullgraph=True, backend="aot_eager"
    )
    plain = mk.points.gather_sum(features, table, weights=weights).sin().sum()
    assert torch.allclose(compiled(features, table, weights), plain)
    ours = torch.autograd.grad(compiled(features, table, weights), (features, weights))
    for one, other in zip(ours, torch.autograd.grad(plain, (features, weights)), strict=True):
        assert torch.allclose(one, other)


def test_not_a_number_is_passed_on() -> None:
    features = np.array([[1.0], [np.nan], [2.0]])
    sums = mk.points.gather_sum(features, np.array([[0, 2], [1, 2]]))
    assert sums[0].tolist() == [3.0]
    assert np.isnan(sums[1]).all()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"features": np.zeros(3)}, ValueError, r"features must have shape \[N, C\]"),
        ({"features": np.zeros((1, 3, 2, 2))}, ValueError, "features must have shape"),
        ({"features": np.zeros((3, 2), int)}, TypeError, "features must be float32 or float64"),
        ({"features": torch.zeros(3, 2)}, TypeError, "use one kind"),
        ({"neighbours": np.zeros(3, int)}, ValueError, r"neighbours must have shape \[M, k\]"),
        ({"neighbours": np.zeros((3, 2))}, TypeError, "neighbours must hold integers"),
        ({"neighbours": np.full((3, 2), 3)}, ValueError, "neighbours must be from -1 to 2"),
        ({"neighbours": np.full((3, 2), -2)}, ValueError, "neighbours must be from -1 to 2"),
        ({"weights": np.zeros((3, 3))}, ValueError, "weights must have shape"),
        ({"weights": np.zeros((4, 2, 2))}, ValueError, "weights must have shape"),
        ({"weights": np.zeros((4, 2), np.float32)}, TypeError, "weights is float32, but features is float64"),
    ],
)
def test_refusals(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    call: dict[str, Any] = {"features": np.zeros((3, 2)), "neighbours": np.zeros((4, 2), int)}
    with pytest.raises(error, match=message):
        mk.points.gather_sum(**(call | arguments))

"""`edge_softmax` against its definition; derivatives, extreme scores, refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import medkernels as mk
from tests.points.clouds import with_threads
from tests.reference.edge_softmax import edge_softmax as reference


@given(
    st.integers(0, 2**32 - 1),
    st.tuples(st.integers(0, 30), st.integers(0, 12), st.integers(1, 5)),
    st.sampled_from([np.float32, np.float64]),
)
def test_equals_definition(seed: int, sizes: tuple[int, int, int], dtype: Any) -> None:
    rng = np.random.default_rng(seed)
    scores = (10 * rng.normal(size=sizes)).astype(dtype)
    table = rng.integers(-1, 3, sizes[:2])
    weights = mk.points.edge_softmax(scores, table)
    assert weights.dtype == dtype
    close = {"rtol": 1e-5} if dtype == np.float32 else {"rtol": 1e-12}
    assert np.allclose(weights, reference(scores, table), atol=1e-30, **close)
    plain = mk.points.edge_softmax(scores[..., 0], table)
    assert np.array_equal(plain, weights[..., 0])


def test_batches_are_their_items() -> None:
    rng = np.random.default_rng(0)
    scores, table = rng.normal(size=(3, 9, 4, 2)), rng.integers(-1, 9, (3, 9, 4))
    weights = mk.points.edge_softmax(scores, table)
    for i in range(3):
        assert np.array_equal(weights[i], mk.points.edge_softmax(scores[i], table[i]))


def test_extreme_scores() -> None:
    table = np.zeros((6, 3), int)
    low = -np.inf
    scores = np.array(
        [[1e30, 1e30, -1e30], [low, 0, 0], [low] * 3, [-1e300] * 3, [np.nan, 0, 0], [np.inf, 0, 0]]
    )
    weights = mk.points.edge_softmax(scores, table)
    third = [1 / 3] * 3
    assert np.allclose(weights[:4], [[0.5, 0.5, 0], [0, 0.5, 0.5], [0] * 3, third], rtol=1e-15, atol=0)
    assert np.isnan(weights[4:]).all()


@pytest.mark.parametrize("heads", [1, 3])
def test_derivatives(heads: int) -> None:
    table = torch.from_numpy(np.random.default_rng(1).integers(-1, 2, (5, 4)))
    table[2] = -1
    scores = torch.randn(5, 4, heads, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: mk.points.edge_softmax(s, table), scores)
    assert torch.autograd.gradgradcheck(lambda s: mk.points.edge_softmax(s, table), scores)


def test_operators() -> None:
    """Under torch.compile, and what torch asks of operators."""
    from medkernels.points import _edges_torch

    table = torch.from_numpy(np.random.default_rng(2).integers(-1, 2, (5, 4)))
    scores, upstream = (torch.randn(5, 4, 2, dtype=torch.float64, requires_grad=True) for _ in range(2))
    torch.library.opcheck(_edges_torch._edge_softmax, (scores, table))
    torch.library.opcheck(_edges_torch._pull, (upstream, scores.detach().softmax(1).requires_grad_()))
    compiled = torch.compile(
        lambda s, n: mk.points.edge_softmax(s, n).square().sum(), fullgraph=True, backend="aot_eager"
    )
    plain = mk.points.edge_softmax(scores, table).square().sum()
    assert torch.allclose(compiled(scores, table), plain)
    one, other = (torch.autograd.grad(each, scores)[0] for each in (compiled(scores, table), plain))
    assert torch.allclose(one, other)


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    rng = np.random.default_rng(3)
    scores, table = rng.normal(size=(9000, 7, 2)), rng.integers(-1, 9, (9000, 7))
    first, *others = with_threads(lambda: mk.points.edge_softmax(scores, table))
    assert all(np.array_equal(first, other) for other in others)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"scores": np.zeros(3)}, ValueError, r"scores must have shape \[M, k\] or \[M, k, H\]"),
        ({"scores": np.zeros((3, 3))}, ValueError, "scores must have shape"),
        ({"scores": np.zeros((3, 2), int)}, TypeError, "scores must be float32 or float64"),
        ({"neighbours": np.zeros((3, 2))}, TypeError, "neighbours must hold integers"),
        ({"neighbours": np.zeros((3, 2, 1, 1), int)}, ValueError, "neighbours must have shape"),
        ({"neighbours": torch.zeros(3, 2, dtype=torch.long)}, TypeError, "use one kind"),
    ],
)
def test_refusals(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    call: dict[str, Any] = {"scores": np.zeros((3, 2)), "neighbours": np.zeros((3, 2), int)}
    with pytest.raises(error, match=message):
        mk.points.edge_softmax(**(call | arguments))

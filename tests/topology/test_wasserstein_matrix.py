"""All pairs against single pairs, and what the public function promises."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import medkernels as mk
from tests.reference import wasserstein_matrix as reference
from tests.topology.random_bars import diagrams, random_diagram


def mixed(count: int) -> list[np.ndarray]:
    """Diagrams of very different sizes, some of bars that are born together, some empty."""
    return [random_diagram(7 * (k % 9), k, one_birth=k % 3 == 0) for k in range(count)]


@given(
    st.lists(diagrams(most=5), max_size=4), st.lists(diagrams(most=5), max_size=4), st.sampled_from([1, 2])
)
def test_equals_definition(first: list[np.ndarray], second: list[np.ndarray], order: float) -> None:
    found = mk.topology.wasserstein_matrix(first, second, order=order)
    assert found.shape == (len(first), len(second))
    np.testing.assert_allclose(
        found, reference.wasserstein_matrix(first, second, order), rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("order", [1, 2, math.inf])
@pytest.mark.parametrize("ground", [2, math.inf])
def test_equals_single_pairs(order: float, ground: float) -> None:
    items = mixed(20)
    items[4] = np.concatenate([items[4], [[0.5, math.inf]]])
    items[8] = np.concatenate([[[0.75, math.inf]], items[8]])
    found = mk.topology.wasserstein_matrix(items, order=order, ground=ground)
    for i, a in enumerate(items):
        for j, b in enumerate(items[:i]):
            assert found[j, i] == mk.topology.wasserstein(b, a, order=order, ground=ground)
    np.testing.assert_array_equal(found, found.T)
    np.testing.assert_array_equal(found.diagonal(), 0)
    assert np.isfinite(found[4, 8])
    assert np.isinf(found[4, :4]).all()
    assert np.isfinite(mk.topology.wasserstein_matrix(items, essential="drop")).all()
    other = mk.topology.wasserstein_matrix(items[:5], items[5:], order=order, ground=ground)
    np.testing.assert_allclose(other, found[:5, 5:], rtol=1e-12)


def test_does_not_depend_on_threads() -> None:
    items = mixed(40)
    before, results = mk.get_num_threads(), []
    try:
        for threads in (1, 2, 5):
            mk.set_num_threads(threads)
            results.append(mk.topology.wasserstein_matrix(items, order=1.5))
    finally:
        mk.set_num_threads(before)
    for other in results[1:]:
        np.testing.assert_array_equal(results[0], other)


def test_units_of_one_diagram_do_not_touch_others() -> None:
    """One scale serves all diagrams, even where one is astronomically larger."""
    small = [random_diagram(9, k) * 1e-12 for k in range(3)]
    alone = mk.topology.wasserstein_matrix(small, order=3)
    with_giant = mk.topology.wasserstein_matrix([*small, np.array([[0.0, 1e200]])], order=3)
    np.testing.assert_allclose(with_giant[:3, :3], alone, rtol=1e-9)
    assert with_giant[0, 3] == pytest.approx(1e200 / math.sqrt(2))


def test_forms_of_input() -> None:
    items = [random_diagram(5, k) for k in range(3)]
    found = mk.topology.wasserstein_matrix(items)
    assert found.dtype == np.float64
    for form in (np.stack(items), tuple(items), [item.tolist() for item in items]):
        np.testing.assert_array_equal(mk.topology.wasserstein_matrix(form), found)
    pairs = [[(1, (float(x), float(y))) for x, y in item] for item in items]
    np.testing.assert_array_equal(mk.topology.wasserstein_matrix(pairs), found)
    single = [item.astype("f4") for item in items]
    assert mk.topology.wasserstein_matrix(single).dtype == np.float64
    assert mk.topology.wasserstein_matrix([]).shape == (0, 0)
    assert mk.topology.wasserstein_matrix(items, []).shape == (3, 0)
    np.testing.assert_array_equal(mk.topology.wasserstein_matrix([[], []]), np.zeros((2, 2)))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([[[1.0, 0.0]]],), ValueError, r"diagrams\[0\] must hold bars"),
        (([[[0.0, 1.0]]], [[[0.0, 1.0]], [[0.0, math.nan]]]), ValueError, r"others\[1\] must hold bars"),
        ((np.zeros((4, 2)),), ValueError, "diagrams must be a list of diagrams"),
        (([np.zeros((4, 3))],), ValueError, r"diagrams\[0\] must have shape \[n, 2\]"),
        (([np.zeros((4, 2), int)],), TypeError, r"diagrams\[0\] must be float32 or float64, not int64"),
        (("text",), TypeError, "diagrams must be an array of numbers"),
        (([np.zeros((1, 2)), None],), TypeError, r"diagrams\[1\] must be an array of numbers"),
    ],
)
def test_bad_input(arguments: tuple[Any, ...], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        mk.topology.wasserstein_matrix(*arguments)


def test_too_many_distances(monkeypatch: pytest.MonkeyPatch) -> None:
    from medkernels import _backends

    monkeypatch.setattr(_backends, "available_memory", lambda: 1_000_000)
    with pytest.raises(ValueError, match="the matrix of 2000 x 2000 distances is too large"):
        mk.topology.wasserstein_matrix(np.zeros((2000, 1, 2)))

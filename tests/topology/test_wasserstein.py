"""Distances of two diagrams against the definition, against other libraries, and against theory."""

from __future__ import annotations

import itertools
import math
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import medkernels as mk
from tests.reference import wasserstein as reference
from tests.topology.random_bars import diagrams, random_diagram

ORDERS = [1, 1.5, 2, 3, math.inf]
GROUNDS = [2, math.inf]
orders, grounds = st.sampled_from(ORDERS), st.sampled_from(GROUNDS)


def cost_of(matching: np.ndarray, a: np.ndarray, b: np.ndarray, order: float, ground: float) -> float:
    """What a matching costs, endless bars included."""
    costs = []
    for i, j in matching:
        if i >= 0 and j >= 0:
            finite = np.isfinite(a[i])
            assert (finite == np.isfinite(b[j])).all()
            costs.append(np.linalg.norm(a[i][finite] - b[j][finite], ord=ground) if finite.any() else 0.0)
        else:
            bar = a[i] if i >= 0 else b[j]
            costs.append(0.0 if bar[0] == bar[1] else reference.to_diagonal(bar[None], ground)[0])
    return reference.norm(costs, order)


@given(diagrams(), diagrams(), orders, grounds)
def test_equals_definition(a: np.ndarray, b: np.ndarray, order: float, ground: float) -> None:
    found = mk.topology.wasserstein(a, b, order=order, ground=ground)
    assert found == pytest.approx(reference.wasserstein(a, b, order, ground), rel=1e-9, abs=1e-12)


@given(diagrams(most=3), diagrams(most=3), st.sampled_from([*ORDERS, 30, 1000]), grounds)
def test_no_permutation_is_better(a: np.ndarray, b: np.ndarray, order: float, ground: float) -> None:
    found = mk.topology.wasserstein(a, b, order=order, ground=ground)
    assert found == pytest.approx(reference.brute_force(a, b, order, ground), rel=1e-9, abs=1e-12)


@given(diagrams(most=6, endless=True), diagrams(most=6, endless=True), orders, grounds)
def test_endless_bars(a: np.ndarray, b: np.ndarray, order: float, ground: float) -> None:
    for essential in ("match", "drop"):
        found = mk.topology.wasserstein(a, b, order=order, ground=ground, essential=essential)
        wanted = reference.wasserstein(a, b, order, ground, essential)
        assert found == pytest.approx(wanted, rel=1e-9, abs=1e-12)


@given(diagrams(endless=True), diagrams(endless=True), orders, grounds, st.sampled_from(["match", "drop"]))
def test_matching_attains_the_distance(
    a: np.ndarray, b: np.ndarray, order: float, ground: float, essential: str
) -> None:
    found, matching = mk.topology.wasserstein(
        a, b, order=order, ground=ground, essential=essential, return_matching=True
    )
    counts = [np.isfinite(d).all(1) if essential == "drop" else np.ones(len(d), bool) for d in (a, b)]
    assert found == mk.topology.wasserstein(a, b, order=order, ground=ground, essential=essential)
    for column, count in enumerate(counts):
        rows = matching[:, column]
        assert sorted(rows[rows >= 0]) == list(np.flatnonzero(count))
    assert (np.diff(matching[matching[:, 0] >= 0, 0]) > 0).all()
    if math.isfinite(found):
        assert cost_of(matching, a, b, order, ground) == pytest.approx(found, rel=1e-12, abs=1e-12)


SIZES = [(40, 55), (120, 90), (1, 150)]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("ground", GROUNDS)
@pytest.mark.parametrize("kind", [{}, {"one_birth": True}, {"grid": 12}, {"one_birth": True, "grid": 9}])
def test_larger_diagrams(order: float, ground: float, kind: dict[str, Any]) -> None:
    for seed, (m, n) in enumerate(SIZES):
        a, b = random_diagram(m, seed, **kind), random_diagram(n, seed + 100, **kind)
        found = mk.topology.wasserstein(a, b, order=order, ground=ground)
        assert found == pytest.approx(reference.wasserstein(a, b, order, ground), rel=1e-9)


@pytest.mark.parametrize("ground", GROUNDS)
def test_lengths_over_many_magnitudes(ground: float) -> None:
    """Many bars of very different lengths, which are compared band by band."""
    random = np.random.default_rng(0)
    births = random.uniform(0, 1, (2, 600))
    a, b = (np.stack([x, x + 10 ** random.uniform(-5, 0, 600)], 1) for x in births)
    for order in (1, 2, math.inf):
        found = mk.topology.wasserstein(a, b, order=order, ground=ground)
        assert found == pytest.approx(reference.wasserstein(a, b, order, ground), rel=1e-9)


@pytest.mark.parametrize("order", [2, 5, 12, 80])
@pytest.mark.parametrize("one_birth", [False, True])
def test_small_moves_of_long_bars(order: float, one_birth: bool) -> None:
    """Powers of the moves are below the rounding of powers of the lengths."""
    random = np.random.default_rng(int(order))
    middle = random.uniform(0, 1e-3, (20, 2)) + np.array([0.0, 10.0])
    a, b = middle, middle + random.uniform(-1e-4, 1e-4, (20, 2))
    if one_birth:
        a[:, 0] = b[:, 0] = 0
    pairs = np.linalg.norm(a[:, None] - b[None], axis=2)
    from scipy.optimize import linear_sum_assignment

    best = pairs[linear_sum_assignment((pairs / pairs.max()) ** order)]
    found = mk.topology.wasserstein(a, b, order=order)
    assert found <= reference.norm(list(best), order) * (1 + 1e-9)


@given(diagrams(), diagrams(), diagrams(), orders, grounds)
def test_is_a_metric(a: np.ndarray, b: np.ndarray, c: np.ndarray, order: float, ground: float) -> None:
    def w(x: np.ndarray, y: np.ndarray) -> float:
        return float(mk.topology.wasserstein(x, y, order=order, ground=ground))

    slack = 1e-9 * (1 + w(a, b) + w(b, c))
    assert w(a, a[::-1]) == pytest.approx(0, abs=1e-12)
    assert w(a, b) == pytest.approx(w(b, a), rel=1e-9, abs=1e-12)
    assert w(a, c) <= w(a, b) + w(b, c) + slack


@given(diagrams(), diagrams(), st.floats(0.01, 100), st.floats(-100, 100), grounds)
def test_scale_and_shift(a: np.ndarray, b: np.ndarray, factor: float, shift: float, ground: float) -> None:
    found = mk.topology.wasserstein(a * factor + shift, b * factor + shift, order=2, ground=ground)
    expected = factor * mk.topology.wasserstein(a, b, order=2, ground=ground)
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-9 * (1 + factor * 100))


@given(diagrams(), diagrams(), grounds)
def test_orders_approach_the_bottleneck(a: np.ndarray, b: np.ndarray, ground: float) -> None:
    values = [mk.topology.wasserstein(a, b, order=q, ground=ground) for q in (1, 2, 8, 64, math.inf)]
    assert all(x >= y * (1 - 1e-9) for x, y in itertools.pairwise(values))
    assert values[3] <= values[4] * (len(a) + len(b)) ** (1 / 64) * (1 + 1e-9)


def test_closed_forms() -> None:
    a = np.array([[1.0, 3.0]])
    assert mk.topology.wasserstein(a, []) == pytest.approx(math.sqrt(2))
    assert mk.topology.wasserstein(a, [], ground=math.inf) == 1
    assert mk.topology.wasserstein([], []) == 0
    assert mk.topology.wasserstein(a, np.array([[1.25, 3.0]])) == 0.25
    assert mk.topology.wasserstein(a, np.array([[1.3, 3.4]])) == pytest.approx(0.5)
    assert mk.topology.wasserstein(np.repeat(a, 3, 0), np.repeat(a, 2, 0), ground=math.inf) == 1
    never = np.array([[0.0, math.inf], [2.0, math.inf]])
    assert mk.topology.wasserstein(never, np.array([[0.5, math.inf], [2.5, math.inf]])) == 1
    assert mk.topology.wasserstein(never, never[:1]) == math.inf
    assert mk.topology.wasserstein(never, never[:1], essential="drop") == 0


@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1e-20, 1e150, 1e300])
@pytest.mark.parametrize("order", ORDERS)
def test_extreme_units(scale: float, order: float) -> None:
    for one_birth in (False, True):
        a, b = (random_diagram(n, n, one_birth=one_birth) for n in (12, 15))
        expected = mk.topology.wasserstein(a, b, order=order) * scale
        assert mk.topology.wasserstein(a * scale, b * scale, order=order) == pytest.approx(
            expected, rel=1e-9, abs=0
        )


@pytest.mark.parametrize("ground", GROUNDS)
def test_equals_gudhi(ground: float) -> None:
    gudhi = pytest.importorskip("gudhi.wasserstein")
    pytest.importorskip("ot")
    bottleneck = pytest.importorskip("gudhi").bottleneck_distance
    for seed, one_birth in enumerate([False, True]):
        a, b = (random_diagram(60, seed + k, one_birth=one_birth) for k in (0, 50))
        for order in (1, 2):
            expected = gudhi.wasserstein_distance(a, b, order=order, internal_p=ground)
            assert mk.topology.wasserstein(a, b, order=order, ground=ground) == pytest.approx(
                expected, rel=1e-9
            )
        if ground == math.inf:
            assert mk.topology.wasserstein(a, b, order=math.inf, ground=ground) == pytest.approx(
                bottleneck(a, b)
            )


def test_equals_persim() -> None:
    persim = pytest.importorskip("persim")
    for seed in range(3):
        a, b = (random_diagram(30, seed + k, one_birth=seed == 2) for k in (0, 50))
        assert mk.topology.wasserstein(a, b) == pytest.approx(persim.wasserstein(a, b), rel=1e-6)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("ground", GROUNDS)
def test_both_ways_to_match_bars_born_together(order: float, ground: float) -> None:
    """A far-away bar that goes to the diagonal sends the others to the general solver."""
    a, b = (random_diagram(n, n, one_birth=True) for n in (150, 180))
    far = np.array([[1e3, 1e3 + 0.25]])
    alone = mk.topology.wasserstein(a, b, order=order, ground=ground)
    expected = reference.norm([alone, *reference.to_diagonal(far, ground)], order)
    found = mk.topology.wasserstein(np.concatenate([far, a]), b, order=order, ground=ground)
    assert found == pytest.approx(expected, rel=1e-9)


def test_thousands_of_bars() -> None:
    """A matching was found, and no bar or pair of pairs can change for the better."""
    a, b = (random_diagram(2000, seed, length=0.02) for seed in (1, 2))
    found, matching = mk.topology.wasserstein(a, b, return_matching=True)
    assert cost_of(matching, a, b, 1, 2) == pytest.approx(found)
    pairs = matching[(matching >= 0).all(1)]
    x, y = a[pairs[:, 0]], b[pairs[:, 1]]
    costs = np.linalg.norm(x - y, axis=1)
    assert (costs <= reference.to_diagonal(x, 2) + reference.to_diagonal(y, 2) + 1e-12).all()
    exchanged = np.linalg.norm(x[:, None] - y[None], axis=2)
    assert (exchanged + exchanged.T >= costs[:, None] + costs[None] - 1e-12).all()


EVERY_CHOICE = """
from tests.topology.random_bars import random_diagram
import medkernels as mk
for seed, (m, n) in enumerate([(7, 5), (70, 66), (250, 240)]):
    for grid in (0, 9):
        a, b = random_diagram(m, seed, grid=grid), random_diagram(n, seed + 50, grid=grid)
        for order in (1, 2):
            for ground in (2, float("inf")):
                distance, matching = mk.topology.wasserstein(
                    a, b, order=order, ground=ground, return_matching=True
                )
                print(distance.hex(), hash(matching.tobytes()))
"""


def test_every_instruction_set_finds_the_same() -> None:
    """Distances to the last bit and matchings, also where several matchings are equally good."""
    found = []
    for level in ("baseline", "avx2", "avx512"):
        environment = dict(os.environ, MEDKERNELS_SIMD=level, PYTHONHASHSEED="0")
        command = [sys.executable, "-c", EVERY_CHOICE]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        found.append(done.stdout)
    assert found[0].count("\n") == 24
    assert found[0] == found[1] == found[2]


BAD = [
    ([[1.0, 0.0]], "a must hold bars .* but row 0 is \\(1, 0\\)"),
    ([[0.0, 1.0], [math.nan, 1.0]], "row 1 is \\(nan, 1\\)"),
    ([[0.0, 1.0, 2.0]], "a must have shape \\[n, 2\\] .* but has shape \\[1, 3\\]"),
    ([0.0, 1.0], "a must have shape \\[n, 2\\]"),
    (np.zeros((2, 3, 2)), "a must have shape \\[n, 2\\]"),
    ([np.zeros((2, 2)), np.zeros((3, 2))], "a is a list of 2 diagrams.*give one of them"),
    ([(0, (0.0, 1.0)), (1, (0.5, 1.0))], "a holds bars of dimensions 0, 1: give those of one"),
]


@pytest.mark.parametrize(("value", "message"), BAD)
def test_bad_diagrams(value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mk.topology.wasserstein(value, [[0.0, 1.0]])
    with pytest.raises(ValueError, match=message.replace("a ", "b ", 1)):
        mk.topology.wasserstein([[0.0, 1.0]], value)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"order": 0.5}, ValueError, "order must be at least 1"),
        ({"order": math.nan}, ValueError, "order must be at least 1"),
        ({"order": "1"}, TypeError, "order must be a number"),
        ({"ground": 1}, ValueError, "ground must be 2 or inf, not 1"),
        ({"ground": "inf"}, TypeError, "ground must be 2 or inf"),
        ({"essential": "keep"}, ValueError, "essential must be one of 'match', 'drop'"),
        ({"return_matching": 1}, TypeError, "return_matching must be True or False"),
    ],
)
def test_bad_options(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        mk.topology.wasserstein([], [], **options)


@pytest.mark.parametrize(
    "value", ["text", None, np.array(["x"]), np.zeros((1, 2), int), np.zeros((1, 2), "f2")]
)
def test_bad_types(value: Any) -> None:
    with pytest.raises(TypeError, match="a must be"):
        mk.topology.wasserstein(value, [])


def test_other_forms_of_diagrams() -> None:
    a, b = random_diagram(6, 1), random_diagram(4, 2)
    expected = mk.topology.wasserstein(a, b)
    assert isinstance(expected, np.float64)
    gudhi_pairs = [(1, (float(x), float(y))) for x, y in a]
    assert mk.topology.wasserstein(gudhi_pairs, b.tolist()) == expected
    assert mk.topology.wasserstein([tuple(bar) for bar in a], list(b)) == expected
    for form in (np.asfortranarray(a), a[::-1][::-1], a.astype(a.dtype.newbyteorder())):
        form.flags.writeable = False
        assert mk.topology.wasserstein(form, b) == expected
    single = mk.topology.wasserstein(a.astype("f4"), b)
    assert single == mk.topology.wasserstein(a.astype("f4").astype("f8"), b)


def test_bars_on_the_diagonal_cost_nothing() -> None:
    a, b = random_diagram(6, 1), random_diagram(4, 2)
    points = np.array([[0.3, 0.3], [math.inf, math.inf], [-math.inf, -math.inf]])
    distance, matching = mk.topology.wasserstein(np.concatenate([points, a]), b, return_matching=True)
    assert distance == mk.topology.wasserstein(a, b)
    np.testing.assert_array_equal(matching[:3], [[0, -1], [1, -1], [2, -1]])


def test_too_many_pairs_for_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    from medkernels import _backends

    monkeypatch.setattr(_backends, "available_memory", lambda: 1_000_000)
    a, b = (random_diagram(1500, seed, length=5) for seed in (1, 2))
    with pytest.raises(ValueError, match=r"the diagrams are too large: .* pairs of bars can match"):
        mk.topology.wasserstein(a, b)
    assert mk.topology.wasserstein(random_diagram(1500, 1, one_birth=True), b[:0]) > 0

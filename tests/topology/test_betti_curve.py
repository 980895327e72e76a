"""Betti curves against counting, gudhi, and every framework."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gudhi.representations import BettiCurve
from hypothesis import given
from hypothesis import strategies as st

import medkernels as mk
from tests.reference.betti_curve import betti_curve as reference
from tests.topology.diagrams import REFUSED, Floats, check_kinds, diagrams, examples

GRID = np.linspace(-0.5, 4, 23)


@given(
    many=st.lists(diagrams(), max_size=5),
    grid=st.lists(st.sampled_from([0.0, 0.5, 1.0, -np.inf, np.inf]) | st.floats(-4, 7), max_size=8),
)
def test_equals_counting(many: list[Floats], grid: list[float]) -> None:
    curves = mk.topology.betti_curve(many, grid)
    assert curves.shape == (len(many), len(grid))
    assert curves.dtype == np.int64
    for curve, diagram in zip(curves, many, strict=True):
        np.testing.assert_array_equal(curve, reference(diagram, np.array(grid)))


def test_equals_gudhi() -> None:
    many = [d for d in examples() if len(d)]
    wanted = BettiCurve(predefined_grid=GRID).fit_transform(many)
    np.testing.assert_array_equal(mk.topology.betti_curve(many, GRID), wanted)


def test_every_kind_of_array() -> None:
    check_kinds(lambda d: mk.topology.betti_curve(d, GRID))
    curve = mk.topology.betti_curve(torch.tensor([[0.0, 1.0]], requires_grad=True), torch.tensor([0.5, 2.0]))
    assert curve.tolist() == [1, 0]
    assert curve.dtype == torch.int64


@pytest.mark.parametrize(("bad", "error", "message"), REFUSED)
def test_refused_diagrams(bad: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        mk.topology.betti_curve(bad, GRID)


def test_refused_grids() -> None:
    with pytest.raises(ValueError, match=r"grid must have shape \[G\], but has shape \[1, 23\]"):
        mk.topology.betti_curve(examples(), GRID[None])
    with pytest.raises(ValueError, match="grid must not hold NaN"):
        mk.topology.betti_curve(examples(), [0.0, np.nan])
    with pytest.raises(TypeError, match="grid must be an array of numbers"):
        mk.topology.betti_curve(examples(), "fine")

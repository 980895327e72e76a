"""Persistence entropy against its sum, gudhi, persim, and every framework."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gudhi.representations import Entropy
from hypothesis import given
from hypothesis import strategies as st
from persim.persistent_entropy import persistent_entropy

import medkernels as mk
from tests.reference.persistence_entropy import persistence_entropy as reference
from tests.topology.diagrams import REFUSED, Floats, check_gradients, check_kinds, diagrams, examples


@given(many=st.lists(diagrams(), max_size=5), normalize=st.booleans())
def test_equals_definition(many: list[Floats], normalize: bool) -> None:
    found = mk.topology.persistence_entropy(many, normalize=normalize)
    assert found.shape == (len(many),)
    wanted = [reference(diagram, normalize) for diagram in many]
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-12)
    if normalize:
        assert ((found >= -1e-12) & (found <= 1 + 1e-12)).all()


def test_equals_gudhi_and_persim() -> None:
    many = [d for d in examples() if len(d)]
    finite = [d[np.isfinite(d).all(1)] for d in many]
    found = mk.topology.persistence_entropy(many)
    np.testing.assert_allclose(found, Entropy(mode="scalar").fit_transform(finite)[:, 0], rtol=1e-12)
    np.testing.assert_allclose(found, persistent_entropy(many), rtol=1e-12)
    normal = mk.topology.persistence_entropy(many, normalize=True)
    np.testing.assert_allclose(normal, persistent_entropy(many, normalize=True), rtol=1e-12)


def test_equal_bars_have_the_greatest_entropy() -> None:
    bars = np.array([[0.0, 2.0]] * 6)
    assert mk.topology.persistence_entropy(bars) == pytest.approx(np.log(6))
    assert mk.topology.persistence_entropy(bars, normalize=True) == pytest.approx(1)
    assert mk.topology.persistence_entropy(bars[:1], normalize=True) == 0


@pytest.mark.parametrize("normalize", [False, True])
def test_every_kind_of_array(normalize: bool) -> None:
    check_kinds(lambda d: mk.topology.persistence_entropy(d, normalize=normalize))
    check_gradients(lambda d: mk.topology.persistence_entropy(d, normalize=normalize))


@pytest.mark.parametrize(("bad", "error", "message"), REFUSED)
def test_refused(bad: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        mk.topology.persistence_entropy(bad)

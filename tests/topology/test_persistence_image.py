"""Persistence images against pixel-by-pixel integrals, persim, and every framework."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from persim import PersistenceImager

import medkernels as mk
from tests.reference.persistence_image import persistence_image as reference
from tests.topology.diagrams import REFUSED, Floats, check_gradients, check_kinds, diagrams, examples

FIXED: dict[str, Any] = {
    "resolution": (4, 3),
    "birth_range": (-0.5, 2.5),
    "persistence_range": (0.0, 2.0),
    "bandwidth": 0.4,
}


@given(
    many=st.lists(diagrams(), max_size=4),
    resolution=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    bandwidth=st.floats(1e-3, 10),
    power=st.sampled_from([0, 0.5, 1, 2.0]),
)
def test_equals_integrals(
    many: list[Floats], resolution: tuple[int, int], bandwidth: float, power: float
) -> None:
    ranges = {"birth_range": (-1.0, 2.0), "persistence_range": (0.25, 3.0)}
    found = mk.topology.persistence_image(
        many, resolution=resolution, bandwidth=bandwidth, weight=power, **ranges
    )
    assert found.shape == (len(many), *resolution)
    for image, diagram in zip(found, many, strict=True):
        bars = diagram[diagram[:, 1] > diagram[:, 0]]
        wanted = reference(
            bars,
            *ranges.values(),
            resolution=resolution,
            bandwidth=bandwidth,
            weight=lambda birth, length: length**power,
        )
        np.testing.assert_allclose(image, wanted, rtol=1e-10, atol=1e-12)


def test_equals_persim() -> None:
    """Whose images have births first, pixels of one size, and the covariance of the density."""
    many = examples()
    imager = PersistenceImager(
        birth_range=(0.0, 2.0),
        pers_range=(0.0, 3.0),
        pixel_size=0.25,
        weight="persistence",
        weight_params={"n": 1.5},
        kernel="gaussian",
        kernel_params={"sigma": 0.3**2},
    )
    found = mk.topology.persistence_image(
        many, resolution=(12, 8), birth_range=(0, 2), persistence_range=(0, 3), bandwidth=0.3, weight=1.5
    )
    for image, diagram in zip(found, many, strict=True):
        if len(diagram):
            wanted = imager.transform(diagram[np.isfinite(diagram).all(1)])
            np.testing.assert_allclose(image, wanted.T, rtol=1e-9, atol=1e-12)


def test_all_weight_arrives_in_a_wide_image() -> None:
    bars = np.array([[0.0, 1.0], [0.5, 2.5], [0.0, np.inf], [1.0, 1.0]])
    image = mk.topology.persistence_image(
        bars, birth_range=(-9, 9), persistence_range=(-9, 9), bandwidth=0.5, resolution=7
    )
    assert image.shape == (7, 7)
    assert image.sum() == pytest.approx(1.0 + 2.0)


def test_ranges_found_in_the_bars() -> None:
    many = examples()
    finite = np.concatenate([d[np.isfinite(d).all(1)] for d in many])
    stated = mk.topology.persistence_image(
        many,
        birth_range=(finite[:, 0].min(), finite[:, 0].max()),
        persistence_range=(0, np.diff(finite).max()),
        bandwidth=np.diff(finite).max() / 20,
    )
    np.testing.assert_allclose(mk.topology.persistence_image(many), stated, rtol=1e-12)
    # Components are all born at 0; there need not be any bar.
    components = mk.topology.persistence_image(
        np.array([[0.0, 1.0], [0.0, 3.0], [0.0, np.inf]]), resolution=3
    )
    assert components.sum() > 0.5
    np.testing.assert_array_equal(components, components[:, ::-1])
    assert not mk.topology.persistence_image(np.array([[0.0, np.inf]])).any()


def test_weight_as_a_function() -> None:
    many = examples()
    power = mk.topology.persistence_image(many, **FIXED, weight=2)
    function = mk.topology.persistence_image(many, **FIXED, weight=lambda birth, length: length * length)
    np.testing.assert_array_equal(power, function)
    check_gradients(lambda d: mk.topology.persistence_image(d, **FIXED, weight=lambda b, p: p**2 * (1 + b)))


@pytest.mark.parametrize("weight", [0, 0.5, 1])
def test_every_kind_of_array(weight: float) -> None:
    check_kinds(lambda d: mk.topology.persistence_image(d, **FIXED, weight=weight))
    check_gradients(lambda d: mk.topology.persistence_image(d, **FIXED, weight=weight))


@pytest.mark.parametrize(("bad", "error", "message"), REFUSED)
def test_refused_diagrams(bad: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        mk.topology.persistence_image(bad)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"resolution": 0}, ValueError, "resolution must be positive, but rows is 0"),
        ({"resolution": (3,)}, ValueError, r"resolution must be 2 integers \(rows, columns\)"),
        ({"resolution": 2.5}, ValueError, "resolution must be 2 integers"),
        ({"birth_range": (1.0, 1.0)}, ValueError, "birth_range must be two finite numbers that ascend"),
        ({"birth_range": (0.0, np.inf)}, ValueError, "birth_range must be two finite numbers that ascend"),
        ({"persistence_range": 3.0}, ValueError, r"persistence_range must be \(least, greatest\), not 3.0"),
        ({"persistence_range": ("0", 1)}, TypeError, "persistence_range must be a number, not '0'"),
        ({"bandwidth": 0}, ValueError, "bandwidth must be greater than 0, not 0"),
        ({"bandwidth": np.nan}, ValueError, "bandwidth must be greater than 0, not nan"),
        ({"weight": -1}, ValueError, "weight must be at least 0, not -1"),
        ({"weight": "long"}, TypeError, "weight must be a number, not 'long'"),
        (
            {"weight": lambda b, p: 1.0},
            ValueError,
            r"weight must return an array of shape \[18\], one value a bar",
        ),
    ],
)
def test_refused_options(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        mk.topology.persistence_image(examples(), **options)


def test_traced_ranges_are_stated() -> None:
    traced = jax.jit(mk.topology.persistence_image)
    with pytest.raises(ValueError, match=r"persistence_range must be stated inside jax\.jit and jax\.vmap"):
        traced(jnp.zeros((2, 2)))

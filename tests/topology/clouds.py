"""Clouds and matrices of distances for the tests: generic, degenerate and full of ties."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from tests.reference.vietoris_rips import pairwise

Floats = npt.NDArray[np.float64]


def generic(rng: np.random.Generator, count: int, dim: int) -> Floats:
    return rng.normal(size=(count, dim))


def lattice(rng: np.random.Generator, count: int, dim: int) -> Floats:
    """Few integers: duplicates, and many equal distances."""
    return rng.integers(0, 3, (count, dim)).astype(np.float64)


def collinear(rng: np.random.Generator, count: int, dim: int) -> Floats:
    return rng.integers(-5, 6, (count, 1)) * np.arange(1.0, dim + 1)


def equilateral(rng: np.random.Generator, count: int, dim: int) -> Floats:
    """All distances equal."""
    return np.eye(count, max(count, 1))


def polygon(rng: np.random.Generator, count: int, dim: int) -> Floats:
    """Regular, with each distance many times, but for rounding."""
    angle = 2 * np.pi * np.arange(count) / max(count, 1)
    return np.stack([np.cos(angle), np.sin(angle)], -1)


def same(rng: np.random.Generator, count: int, dim: int) -> Floats:
    return np.ones((count, dim))


KINDS = (generic, lattice, collinear, equilateral, polygon, same)


@st.composite
def clouds(draw: Any, max_points: int = 9) -> Floats:
    """[P, D] with P from 0."""
    kind = draw(st.sampled_from(KINDS))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return kind(rng, draw(st.integers(0, max_points)), draw(st.integers(1, 3)))


@st.composite
def matrices(draw: Any, max_points: int = 9) -> Floats:
    """Symmetric [P, P] with a diagonal of zeros; of points, or without triangle inequality, or with gaps."""
    if draw(st.booleans()):
        return pairwise(
            draw(clouds(max_points)), draw(st.sampled_from(["euclidean", "manhattan", "chebyshev"]))
        )
    count = draw(st.integers(0, max_points))
    values = st.sampled_from([0.0, 1.0, 2.0, 3.0, np.inf]) if draw(st.booleans()) else st.floats(0, 1)
    matrix = np.zeros((count, count))
    upper = np.triu_indices(count, 1)
    matrix[upper] = draw(st.lists(values, min_size=len(upper[0]), max_size=len(upper[0])))
    return matrix + matrix.T


def circle(rng: np.random.Generator, count: int, noise: float = 0.1) -> Floats:
    angle = rng.uniform(0, 2 * np.pi, count)
    return np.stack([np.cos(angle), np.sin(angle)], -1) + noise * rng.normal(size=(count, 2))


def sphere(rng: np.random.Generator, count: int) -> Floats:
    points = rng.normal(size=(count, 3))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def torus(rng: np.random.Generator, count: int) -> Floats:
    u, v = rng.uniform(0, 2 * np.pi, (2, count))
    return np.stack([(2 + np.cos(v)) * np.cos(u), (2 + np.cos(v)) * np.sin(u), np.sin(v)], -1)


def ordered(diagram: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Rows sorted by birth, then death."""
    return diagram[np.lexsort((diagram[:, 1], diagram[:, 0]))]


def long_bars(diagrams: list[npt.NDArray[Any]], least: float = 1e-9) -> list[npt.NDArray[Any]]:
    """Without bars that rounding may make or unmake."""
    return [diagram[diagram[:, 1] - diagram[:, 0] > least] for diagram in diagrams]

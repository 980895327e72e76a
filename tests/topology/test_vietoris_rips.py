"""Persistence against its definition, against other libraries, and against what theorems promise."""

from __future__ import annotations

from typing import Any

import gudhi
import numpy as np
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st
from ripser import ripser

import medkernels as mk
from tests.foreign import Foreign
from tests.reference import vietoris_rips as reference
from tests.topology.clouds import (
    Floats,
    circle,
    clouds,
    long_bars,
    matrices,
    ordered,
    sphere,
    torus,
)

METRICS = st.sampled_from(["euclidean", "manhattan", "chebyshev"])
DIMS = st.integers(0, 3)
RNG = np.random.default_rng(0)
GRID = np.stack(np.meshgrid(np.arange(6.0), np.arange(5.0)), -1).reshape(-1, 2)
CASES = {
    "circle": (reference.pairwise(circle(RNG, 80)), 1),
    "sphere": (reference.pairwise(sphere(RNG, 60)), 2),
    "torus": (reference.pairwise(torus(RNG, 90)), 2),
    "normal in 8 dimensions": (reference.pairwise(RNG.normal(size=(40, 8))), 2),
    "grid": (reference.pairwise(GRID), 2),
    "grid, city blocks": (reference.pairwise(GRID, "manhattan"), 2),
    "cube corners": (reference.pairwise(np.indices((2, 2, 2, 2)).reshape(4, -1).T.astype(float)), 3),
    "24-cell": (
        reference.pairwise(
            np.unique(
                [np.roll([a, b, 0, 0], k) for a in (-1, 1) for b in (-1, 1) for k in range(4)]
                + [np.roll([a, 0, b, 0], k) for a in (-1, 1) for b in (-1, 1) for k in range(4)],
                axis=0,
            ).astype(float)
        ),
        3,
    ),
    "no triangle inequality": ((lambda m: np.triu(m, 1) + np.triu(m, 1).T)(RNG.uniform(size=(35, 35))), 2),
}


def equal(ours: list[Any], wanted: list[Any]) -> None:
    assert len(ours) == len(wanted)
    for a, b in zip(ours, wanted, strict=True):
        np.testing.assert_array_equal(a, ordered(np.asarray(b).reshape(-1, 2)))


@given(distances=matrices(), max_dim=DIMS, threshold=st.none() | st.floats(0, 4))
def test_equals_definition(distances: Floats, max_dim: int, threshold: float | None) -> None:
    limit = np.inf if threshold is None else threshold
    equal(
        mk.topology.vietoris_rips(distances=distances, max_dim=max_dim, threshold=threshold),
        reference.vietoris_rips(distances, max_dim, limit),
    )


@given(points=clouds(), max_dim=DIMS, metric=METRICS)
def test_points_equal_definition(points: Floats, max_dim: int, metric: str) -> None:
    wanted = long_bars(reference.vietoris_rips(reference.pairwise(points, metric), max_dim))
    ours = mk.topology.vietoris_rips(points, max_dim=max_dim, metric=metric)
    for a, b in zip(long_bars(ours), wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-14)
    single = mk.topology.vietoris_rips(points.astype(np.float32), max_dim=max_dim, metric=metric)
    for a, b in zip(long_bars(single, 1e-4), long_bars(wanted, 1e-4), strict=True):
        assert a.dtype == np.float32
        np.testing.assert_allclose(ordered(a), ordered(b), rtol=1e-5, atol=1e-6)


@given(
    items=st.lists(st.tuples(clouds(7), st.integers(0, 2)), max_size=5).flatmap(
        lambda drawn: st.tuples(st.just([points for points, _ in drawn]), DIMS, METRICS)
    )
)
def test_lists_equal_single_clouds(items: tuple[list[Floats], int, str]) -> None:
    many, max_dim, metric = items
    options: dict[str, Any] = {"max_dim": max_dim, "metric": metric, "return_generators": True}
    diagrams, generators = mk.topology.vietoris_rips(many, **options)
    assert len(diagrams) == len(generators) == len(many)
    for points, item, edges in zip(many, diagrams, generators, strict=True):
        alone, alone_edges = mk.topology.vietoris_rips(points, **options)
        for a, b in zip([*item, *edges], [*alone, *alone_edges], strict=True):
            np.testing.assert_array_equal(a, b)


@given(distances=matrices(8), max_dim=DIMS, threshold=st.none() | st.floats(0, 4))
def test_generators_have_the_lengths_of_births_and_deaths(
    distances: Floats, max_dim: int, threshold: float | None
) -> None:
    diagrams, generators = mk.topology.vietoris_rips(
        distances=distances, max_dim=max_dim, threshold=threshold, return_generators=True
    )
    for dim, (diagram, edges) in enumerate(zip(diagrams, generators, strict=True)):
        assert edges.shape == (len(diagram), 4)
        assert edges.dtype == np.int64
        stays = np.isinf(diagram[:, 1])
        np.testing.assert_array_equal(distances[edges[:, 0], edges[:, 1]], diagram[:, 0])
        np.testing.assert_array_equal(distances[edges[~stays, 2], edges[~stays, 3]], diagram[~stays, 1])
        assert (edges[stays, 2:] == -1).all()
        assert ((edges[:, 0] == edges[:, 1]) == (dim == 0)).all()
    assert len(set(generators[0][:, 0].tolist())) == len(generators[0])


@given(distances=matrices(8), max_dim=DIMS, layout=st.sampled_from(["both", "upper", "lower"]))
def test_sparse_equals_dense(distances: Floats, max_dim: int, layout: str) -> None:
    keep = {"both": distances, "upper": np.triu(distances), "lower": np.tril(distances)}[layout]
    rows, cols = np.nonzero(np.isfinite(keep) & (distances == keep) & ~np.eye(len(keep), dtype=bool))
    shape = distances.shape
    if 0 in shape:
        return
    for kind in (scipy.sparse.coo_matrix, scipy.sparse.csr_array):
        sparse = kind(scipy.sparse.coo_matrix((distances[rows, cols], (rows, cols)), shape=shape))
        mixed = mk.topology.vietoris_rips(distances=[sparse, distances, sparse], max_dim=max_dim)
        for k in (0, 2):
            equal(mixed[k], mixed[1])
    single = mk.topology.vietoris_rips(distances=sparse.astype(np.float32), max_dim=max_dim)
    assert all(diagram.dtype == np.float32 for diagram in single)


@pytest.mark.parametrize("case", sorted(CASES))
def test_equals_ripser(case: str) -> None:
    """Ripser computes in float32, so it and we are given the same float32 distances."""
    distances, max_dim = CASES[case]
    single = distances.astype(np.float32)
    equal(
        mk.topology.vietoris_rips(distances=single, max_dim=max_dim),
        ripser(single, maxdim=max_dim, distance_matrix=True)["dgms"],
    )
    part = float(np.quantile(single, 0.3))
    equal(
        mk.topology.vietoris_rips(distances=single, max_dim=max_dim, threshold=part),
        ripser(single, maxdim=max_dim, distance_matrix=True, thresh=part)["dgms"],
    )


@pytest.mark.parametrize("case", ["circle", "cube corners", "24-cell", "normal in 8 dimensions"])
def test_equals_gudhi(case: str) -> None:
    distances, max_dim = CASES[case]
    # Above the enclosing radius nothing changes.
    radius = distances.max(1).min()
    tree = gudhi.RipsComplex(distance_matrix=distances, max_edge_length=radius).create_simplex_tree(
        max_dim + 1
    )
    tree.compute_persistence(homology_coeff_field=2, min_persistence=0)
    wanted = [tree.persistence_intervals_in_dimension(k).reshape(-1, 2) for k in range(max_dim + 1)]
    equal(mk.topology.vietoris_rips(distances=distances, max_dim=max_dim), long_bars(wanted, 0))


@given(points=clouds(12), seed=st.integers(0, 2**32 - 1), metric=METRICS)
def test_order_of_points_does_not_matter(points: Floats, seed: int, metric: str) -> None:
    shuffled = np.random.default_rng(seed).permutation(points)
    equal(
        mk.topology.vietoris_rips(shuffled, max_dim=2, metric=metric),
        mk.topology.vietoris_rips(points, max_dim=2, metric=metric),
    )


@given(points=clouds(12), seed=st.integers(0, 2**32 - 1))
def test_isometries_do_not_matter(points: Floats, seed: int) -> None:
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(rng.normal(size=(points.shape[1],) * 2))[0]
    moved = mk.topology.vietoris_rips(points @ turn + rng.normal(size=points.shape[1]), max_dim=2)
    for a, b in zip(long_bars(moved), long_bars(mk.topology.vietoris_rips(points, max_dim=2)), strict=True):
        np.testing.assert_allclose(ordered(a.round(10)), ordered(b.round(10)), atol=1e-9)


@given(seed=st.integers(0, 2**32 - 1), noise=st.floats(0, 0.5))
def test_stability(seed: int, noise: float) -> None:
    """The bottleneck distance of diagrams is at most twice the Hausdorff distance of clouds."""
    rng = np.random.default_rng(seed)
    first = circle(rng, 25)
    second = (first + noise * rng.normal(size=first.shape))[:-3]
    gaps = np.linalg.norm(first[:, None] - second[None], axis=-1)
    hausdorff = max(gaps.min(0).max(), gaps.min(1).max())
    for a, b in zip(*(mk.topology.vietoris_rips(cloud, max_dim=2) for cloud in (first, second)), strict=True):
        assert gudhi.bottleneck_distance(a, b) <= 2 * hausdorff + 1e-12


def test_does_not_depend_on_threads() -> None:
    rng = np.random.default_rng(5)
    batch = rng.normal(size=(7, 40, 3)).round(1)
    large = torus(rng, 500)
    before = mk.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 5):
            mk.set_num_threads(threads)
            found = [
                mk.topology.vietoris_rips(batch, max_dim=2, return_generators=True),
                mk.topology.vietoris_rips([large], max_dim=1, return_generators=True),
            ]
            results.append([a for pair in found for part in pair for item in part for a in item])
    finally:
        mk.set_num_threads(before)
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_few_points() -> None:
    none, one, two = (
        mk.topology.vietoris_rips(np.arange(2.0 * n).reshape(n, 2), max_dim=3) for n in (0, 1, 2)
    )
    assert [d.tolist() for d in none] == [[], [], [], []]
    assert [d.tolist() for d in one] == [[[0, np.inf]], [], [], []]
    assert [d.tolist() for d in two] == [[[0, np.sqrt(8)], [0, np.inf]], [], [], []]
    assert all(d.shape == (0, 2) for d in none)
    same = mk.topology.vietoris_rips(np.zeros((5, 2)), max_dim=3)
    assert [d.tolist() for d in same] == [[[0, np.inf]], [], [], []]


def test_known_spaces() -> None:
    rng = np.random.default_rng(3)
    loop = mk.topology.vietoris_rips(circle(rng, 150, noise=0.02))[1]
    assert (np.diff(loop)[:, 0] > 0.5).sum() == 1
    ball = mk.topology.vietoris_rips(sphere(rng, 300), max_dim=2)
    assert [(np.diff(d)[:, 0] > 0.5).sum() for d in ball[1:]] == [0, 1]
    # The boundary of the cross-polytope in four dimensions is a 3-sphere, there from sqrt 2 to 2.
    cross = mk.topology.vietoris_rips(np.concatenate([np.eye(4), -np.eye(4)]), max_dim=3)
    assert cross[3].tolist() == [[np.sqrt(2), 2.0]]


def test_input_is_not_changed_and_layout_does_not_matter() -> None:
    points = np.random.default_rng(7).normal(size=(20, 3))
    points.flags.writeable = False
    wanted = mk.topology.vietoris_rips(points)
    equal(mk.topology.vietoris_rips(np.asfortranarray(points)), wanted)
    equal(mk.topology.vietoris_rips(np.repeat(points, 2, 0)[::2]), wanted)
    equal(mk.topology.vietoris_rips(points.astype(points.dtype.newbyteorder())), wanted)
    equal(mk.topology.vietoris_rips(points.tolist()), wanted)
    equal(mk.topology.vietoris_rips([points.tolist(), points[:3].tolist()])[0], wanted)
    equal(mk.topology.vietoris_rips(np.stack([points, points]))[1], wanted)
    assert mk.topology.vietoris_rips([]) == mk.topology.vietoris_rips(np.zeros((0, 5, 2))) == []


def test_other_libraries_by_dlpack() -> None:
    batch = np.random.default_rng(8).normal(size=(2, 9, 2))
    wanted, wanted_edges = mk.topology.vietoris_rips(batch, return_generators=True)
    for value in (Foreign(batch), [Foreign(batch[0]), Foreign(batch[1])]):
        diagrams, generators = mk.topology.vietoris_rips(value, return_generators=True)
        for found, plain in ((diagrams, wanted), (generators, wanted_edges)):
            for item, plain_item in zip(found, plain, strict=True):
                assert all(isinstance(each, Foreign) for each in item)
                for each, other in zip(item, plain_item, strict=True):
                    np.testing.assert_array_equal(each.array, other)

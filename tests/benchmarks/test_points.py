"""Benchmarks of points: all providers run on the small cases and agree."""

from __future__ import annotations

import importlib.util

import pytest

torch = pytest.importorskip("torch")

from medkernels.benchmarks import farthest_point_sampling, load_op  # noqa: E402

import medkernels as mk  # noqa: E402

#: Too large for everybody's environment.
OPTIONAL = ("open3d",)
OPS = ("farthest_point_sampling", "gather_sum", "knn", "rotation_invariant_features")


@pytest.mark.parametrize("op", OPS)
def test_providers_agree(op: str) -> None:
    module = load_op(op)
    for case in (c for c in module.cases("small") if not c.curve):
        inputs = case.inputs("cpu", 0)
        assert case.work(inputs, False).units > 0
        ours = module.PROVIDERS[0].run(inputs, False)
        for peer in module.PROVIDERS[1:]:
            if peer.library in OPTIONAL and importlib.util.find_spec(peer.library) is None:
                continue
            pytest.importorskip(peer.library)
            if peer.name in case.excluded:
                continue
            found = peer.compare(ours, peer.run(inputs, False))
            assert all(value <= peer.allows(name) for name, value in found.items()), (case.name, peer.name)


@pytest.mark.parametrize("op", OPS)
def test_targets_name_cases_and_providers(op: str) -> None:
    module = load_op(op)
    names = {case.name for case in module.cases("full")}
    assert {target.case for target in module.TARGETS} <= names
    assert len(names) == len(module.cases("full"))


def test_picks_that_differ_are_seen() -> None:
    points = farthest_point_sampling.cloud(0, 50, 3)
    picks = mk.points.farthest_point_sampling(points, 5, start=7)
    ours = {"result": mk.points.farthest_point_sampling(points, 5), "points": points}
    assert farthest_point_sampling.compare_picks(ours, {"result": picks})["largest"] == 0
    assert farthest_point_sampling.compare_picks(ours, {"result": picks[[0, 1, 2, 4, 3]]})["largest"] == 2
    assert (
        farthest_point_sampling.compare_sets(ours, {"result": points[ours["result"][::-1]]})["largest"] == 0
    )
    assert farthest_point_sampling.compare_sets(ours, {"result": points[picks]})["largest"] > 0

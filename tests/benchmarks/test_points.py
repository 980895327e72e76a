"""Comparisons of picked points see what differs."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

from medkernels.benchmarks import farthest_point_sampling

import medkernels as mk


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

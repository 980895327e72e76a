"""Comparisons of picked points, neighbours and axes see what differs."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from medkernels.benchmarks import ball_query, farthest_point_sampling, local_reference_axis  # noqa: E402

import medkernels as mk  # noqa: E402


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


def test_neighbours_that_differ_are_seen() -> None:
    points = farthest_point_sampling.cloud(0, 60, 3)
    ours = {"result": mk.points.ball_query(points, points, radius=1.0, k=4)[0]}
    within = np.linalg.norm(points[:, None] - points, axis=-1) <= 1.0
    theirs = [np.flatnonzero(row)[::-1] for row in within]
    assert ball_query.compare_neighbours(ours, {"result": theirs})["largest"] == 0
    theirs[3] = np.append(theirs[3][:-1], 59) if len(theirs[3]) > 1 else np.array([59])
    assert ball_query.compare_neighbours(ours, {"result": theirs})["largest"] == 1
    assert ball_query.compare_neighbours(ours, {"result": theirs[:-2]})["largest"] == 3


def test_axes_that_differ_are_seen() -> None:
    ours = {"result": torch.eye(3)[None]}
    assert local_reference_axis.compare_axes(ours, {"result": torch.eye(3)[None] + 1e-3})["largest"] == 0
    flipped = torch.eye(3)[None] * torch.tensor([1.0, -1.0, 1.0])
    found = local_reference_axis.compare_axes(ours, {"result": flipped})["largest"]
    assert found == pytest.approx(1 / 3)

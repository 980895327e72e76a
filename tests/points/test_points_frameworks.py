"""Points of every framework go in, results of the same kind come out."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import torch

import medkernels as mk

POINTS = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)


def calls(points: Any) -> list[Any]:
    """All results of the ops of this domain."""
    return [
        *mk.points.knn(points, k=3),
        *mk.points.ball_query(points, points, radius=1.0, k=3),
        mk.points.farthest_point_sampling(points, 5),
    ]


@pytest.mark.parametrize("make", [torch.from_numpy, jnp.asarray], ids=["torch", "jax"])
def test_the_same_kind_comes_back(make: Any) -> None:
    for result, expected in zip(calls(make(POINTS)), calls(POINTS), strict=True):
        assert isinstance(result, type(make(POINTS)))
        assert np.array_equal(np.asarray(result), expected)


def test_tensors_with_gradients_pass_none() -> None:
    indices, squared = mk.points.knn(torch.from_numpy(POINTS).requires_grad_(), k=2)
    assert not indices.requires_grad
    assert not squared.requires_grad


def test_open3d() -> None:
    """Its tensors and its point clouds."""
    o3d = pytest.importorskip("open3d")
    tensor = o3d.core.Tensor(POINTS)
    for points in (tensor, o3d.t.geometry.PointCloud(tensor)):
        for result, expected in zip(calls(points), calls(POINTS), strict=True):
            assert isinstance(result, o3d.core.Tensor)
            assert np.array_equal(result.numpy(), expected)


def test_kinds_do_not_mix() -> None:
    with pytest.raises(TypeError, match="use one kind"):
        mk.points.knn(POINTS, torch.from_numpy(POINTS), k=1)


def test_devices_without_kernels_are_named() -> None:
    with pytest.raises(TypeError, match="meta device"):
        mk.points.knn(torch.empty(3, 2, device="meta"), k=1)

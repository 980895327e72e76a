"""What `vietoris_rips` refuses, and how it says so."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch

import medkernels as mk
from medkernels import _backends

POINTS = np.random.default_rng(0).normal(size=(6, 2))
DISTANCES = np.abs(POINTS[:, :1] - POINTS[:, 0])


def changed(array: Any, value: float, *places: tuple[int, int]) -> Any:
    array = array.copy()
    for place in places:
        array[place] = value
    return array


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, ValueError, "takes either points or distances"),
        ({"points": POINTS, "distances": DISTANCES}, ValueError, "takes either points or distances"),
        ({"points": POINTS[0]}, ValueError, r"points must have shape \[P, D\] or \[B, P, D\], or be a list"),
        ({"points": POINTS[None, None]}, ValueError, r"but has shape \[1, 1, 6, 2\]"),
        (
            {"points": [POINTS, POINTS[0]]},
            ValueError,
            r"points\[1\] must have shape \[P, D\], but has shape \[2\]",
        ),
        ({"points": POINTS[:, :0]}, ValueError, "points must have at least one coordinate"),
        ({"points": 3.0}, ValueError, r"points must have shape \[P, D\]"),
        ({"points": "here"}, TypeError, "points must be an array of numbers"),
        ({"points": [[0.0, 1.0], [2.0]]}, TypeError, "points must be an array of numbers"),
        ({"points": [POINTS, "here"]}, TypeError, r"points\[1\] must be an array of numbers"),
        ({"points": POINTS.astype(np.int64)}, TypeError, "points must be float32 or float64, not int64"),
        ({"points": POINTS.astype(np.float16)}, TypeError, "points must be float32 or float64, not float16"),
        (
            {"points": [POINTS, POINTS.astype(np.float32)]},
            TypeError,
            r"points\[1\] is float32, but points\[0\] is float64: use one dtype",
        ),
        ({"points": [POINTS, torch.from_numpy(POINTS)]}, TypeError, r"points\[1\] is a torch array, but"),
        (
            {"points": [torch.from_numpy(POINTS), POINTS.tolist()]},
            TypeError,
            r"points\[1\] is a numpy array, but",
        ),
        ({"points": scipy.sparse.eye(3)}, TypeError, r"points must be a dense array, not a sparse matrix"),
        ({"points": torch.from_numpy(POINTS).to_sparse()}, TypeError, "points must be a dense tensor"),
        (
            {"points": [torch.ones(3, 2), torch.ones(3, 2, device="meta")]},
            ValueError,
            r"points\[1\] is on meta, but points\[0\] is on cpu: use one device",
        ),
        (
            {"points": changed(POINTS, np.nan, (4, 1))},
            ValueError,
            r"points must be finite .* \(4, 1\) is nan",
        ),
        ({"points": [POINTS, changed(POINTS, -np.inf, (0, 0))]}, ValueError, r"points\[1\] must be finite"),
        ({"points": torch.full((3, 2), torch.nan)}, ValueError, "points must be finite"),
        ({"points": np.array([[1e200], [-1e200]])}, ValueError, r"points must be finite and at most 1e\+150"),
        ({"points": np.array([[1e38], [-1e38]], np.float32)}, ValueError, r"finite and at most 1e\+30"),
        (
            {"distances": DISTANCES[:5]},
            ValueError,
            r"distances must be square, \[P, P\], but has shape \[5, 6\]",
        ),
        (
            {"distances": changed(DISTANCES, np.nan, (1, 2), (2, 1))},
            ValueError,
            r"at least 0, but .* \(1, 2\) is nan",
        ),
        (
            {"distances": changed(DISTANCES, -1.0, (1, 2), (2, 1))},
            ValueError,
            r"at least 0, but .* \(1, 2\) is -1",
        ),
        ({"distances": changed(DISTANCES, 0.5, (3, 3))}, ValueError, "must have a diagonal of zeros, but"),
        (
            {"distances": [DISTANCES, changed(DISTANCES, 9.0, (4, 1))]},
            ValueError,
            r"distances\[1\] must equal its tr",
        ),
        ({"distances": DISTANCES, "metric": "manhattan"}, ValueError, "metric='manhattan' is for points"),
        ({"distances": scipy.sparse.csr_matrix((2, 3))}, ValueError, r"distances must be square"),
        ({"distances": scipy.sparse.eye(3).tocsr()}, ValueError, "distances must have a diagonal of zeros"),
        (
            {"distances": scipy.sparse.csr_matrix(-DISTANCES)},
            ValueError,
            "distances must hold distances of at least 0",
        ),
        (
            {"distances": scipy.sparse.csr_matrix(changed(DISTANCES, np.nan, (1, 2)))},
            ValueError,
            r"distances must hold distances of at least 0, but element \(1, 2\) is nan",
        ),
        (
            {"distances": [DISTANCES, scipy.sparse.csr_matrix(changed(DISTANCES, 9.0, (4, 1)))]},
            ValueError,
            r"distances\[1\] must be symmetric or hold each pair once, but from 1 to 4",
        ),
        (
            {"distances": scipy.sparse.csr_matrix((3, 3), dtype=np.int32)},
            TypeError,
            "float32 or float64, not int32",
        ),
        (
            {"points": POINTS, "metric": "cosine"},
            ValueError,
            "metric must be one of 'euclidean', 'manhattan'",
        ),
        ({"points": POINTS, "max_dim": 4}, ValueError, "max_dim must be from 0 to 3, not 4"),
        ({"points": POINTS, "max_dim": -1}, ValueError, "max_dim must be from 0 to 3, not -1"),
        ({"points": POINTS, "max_dim": 1.0}, TypeError, "max_dim must be an integer, not 1.0"),
        ({"points": POINTS, "max_dim": True}, TypeError, "max_dim must be an integer, not True"),
        ({"points": POINTS, "threshold": -1.0}, ValueError, "threshold must be at least 0, not -1"),
        ({"points": POINTS, "threshold": np.nan}, ValueError, "threshold must be at least 0, not nan"),
        ({"points": POINTS, "threshold": "far"}, TypeError, "threshold must be a number, not 'far'"),
    ],
)
def test_refused(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        mk.topology.vietoris_rips(**arguments)


def test_memory_is_checked_before_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_backends, "available_memory", lambda: 10_000)
    with pytest.raises(ValueError, match=r"points\[1\] with 200 points is too large: it needs about"):
        mk.topology.vietoris_rips([np.zeros((2, 2)), np.zeros((200, 2))])
    with pytest.raises(ValueError, match=r"points\[1\] with 200 points is too large: it needs about"):
        mk.topology.vietoris_rips([torch.zeros((2, 2)), torch.zeros((200, 2))])
    with pytest.raises(ValueError, match="points with 40 points is too large"):
        mk.topology.vietoris_rips(np.zeros((40, 2)))
    assert len(mk.topology.vietoris_rips(np.zeros((40, 2)), threshold=0.5)) == 2

"""How far the outputs of two providers lie apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

Differences = dict[str, float]
STEPS = (0.0, *(10.0**power for power in range(-9, 1)))  # that a bottleneck distance is rounded up to


def compare_arrays(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Differences:
    """Of arrays by name: the greatest difference of the result, and the relative one of each."""
    found = {}
    for name in ours:
        a, b = _numbers(ours[name]), _numbers(theirs[name])
        if a.shape != b.shape:
            raise ValueError(f"{name}: shapes {list(a.shape)} and {list(b.shape)} cannot be compared")
        with np.errstate(invalid="ignore"):
            gap = np.where(a == b, 0.0, b - a)  # infinities may agree
        if name == "result":
            found["largest"] = float(np.abs(gap).max(initial=0.0))
        found[f"relative {name}"] = float(np.linalg.norm(gap) / max(np.linalg.norm(a), 1e-30))
    return found


def compare_diagrams(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Differences:
    """Of nested lists of persistence diagrams: the greatest bottleneck distance, see `bottleneck_bound`.

    Diagrams are multisets: order does not count, nor do bars of no length, which some libraries list and
    others leave out. Where one library rounds the two ends of a bar alike and another does not, the bar is
    there in one and absent in the other; the bottleneck distance counts it with half its length.
    """
    return {"largest": _worst(ours["result"], theirs["result"])}


def _worst(ours: Any, theirs: Any) -> float:
    if not isinstance(ours, Sequence):
        return bottleneck_bound(_numbers(ours), _numbers(theirs))
    if len(ours) != len(theirs):
        raise ValueError(f"result: lists of {len(ours)} and {len(theirs)} cannot be compared")
    return max((_worst(a, b) for a, b in zip(ours, theirs, strict=True)), default=0.0)


def bottleneck_bound(a: np.ndarray, b: np.ndarray) -> float:
    """A number that the bottleneck distance of two diagrams, [n,2] and [m,2], does not exceed.

    Bars in sorted order give one bound; the least of `STEPS` below it for which a matching exists gives a
    better one where near-equal births put bars in another order. Infinite without any finite bound, as for
    different numbers of infinite bars; NaN where a diagram holds one.
    """
    a, b = (bars[bars[:, 0] != bars[:, 1]] for bars in (a.reshape(-1, 2), b.reshape(-1, 2)))
    if np.isnan(a).any() or np.isnan(b).any():
        return float("nan")
    bound = float("inf")
    if len(a) == len(b):
        a, b = (bars[np.lexsort(bars.T[::-1])] for bars in (a, b))
        with np.errstate(invalid="ignore"):
            bound = float(np.abs(np.where(a == b, 0.0, a - b)).max(initial=0.0))
    return next((step for step in STEPS if step < bound and _within(a, b, step)), bound)


def _within(a: np.ndarray, b: np.ndarray, reach: float) -> bool:
    """Whether the bottleneck distance of two diagrams is at most `reach`."""
    endless_a, endless_b = (np.sort(bars[np.isinf(bars[:, 1]), 0]) for bars in (a, b))
    if len(endless_a) != len(endless_b) or (np.abs(endless_a - endless_b) > reach).any():
        return False
    a, b = (bars[np.isfinite(bars[:, 1])] for bars in (a, b))
    # A matching that covers the long bars of one and a matching that covers those of the other make up one
    # that covers both (Mendelsohn and Dulmage 1958).
    return _covered(a, b, reach) and _covered(b, a, reach)


def _covered(bars: np.ndarray, others: np.ndarray, reach: float) -> bool:
    """Whether the bars too long for the diagonal can all be matched to different others within reach."""
    # Of the packages that the peers need; rendering is measured without it.
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import maximum_bipartite_matching
    from scipy.spatial import cKDTree

    long = bars[bars[:, 1] - bars[:, 0] > 2 * reach]
    if not len(long) or len(others) < len(long):
        return not len(long)
    near = cKDTree(others).query_ball_point(long, reach, p=np.inf)
    starts = np.concatenate([[0], np.cumsum([len(row) for row in near])])
    columns = np.concatenate([np.asarray(row, dtype=int) for row in near])
    graph = csr_array((np.ones(len(columns), dtype=bool), columns, starts), shape=(len(long), len(others)))
    return bool((maximum_bipartite_matching(graph, perm_type="column") >= 0).all())


def _numbers(value: Any) -> np.ndarray:
    if isinstance(value, Tensor):
        value = value.detach().cpu()
    return np.asarray(value, dtype=np.float64)

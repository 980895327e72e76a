"""Farthest point sampling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from medkernels import _checks, _core
from medkernels.points import _clouds


def farthest_point_sampling(points: Any, n_samples: int | Sequence[int], *, start: int = 0) -> Any:
    """Pick points that cover a cloud: each pick is the point farthest from all picks before it.

    Parameters
    ----------
    points
        A cloud [N, D] of float32 or float64, a batch [B, N, D], or a list of clouds that may differ in
        size; N at least 1, D from 1 to 64. Open3D's tensors and point clouds are taken as well.
    n_samples
        How many points to pick, at most N; for a list of clouds it may be a list of numbers.
    start
        Index of the first pick.

    Returns
    -------
    int64 [n_samples]
        Indices of the picks in their order; [B, n_samples] for a batch, a list for a list of clouds.

    Raises
    ------
    ValueError
        If a shape, `n_samples` or `start` is out of range, or a coordinate is NaN, infinite or so large
        that squared distances are not finite (beyond 1e18 in float32, 1e150 in float64).
    TypeError
        For other dtypes, two dtypes, or arrays of several kinds.
    medkernels.BackendError
        For arrays on a GPU, unless ``MEDKERNELS_CPU_FALLBACK=1``.

    Notes
    -----
    Distances are taken in float64, and of points that are equally far the one with the lowest index is
    picked, so results are exact, the same on every processor and for any number of threads. Once all
    points coincide with picks, the point with the lowest index is picked again.

    Few picks go over all points, O(N n_samples D). Many go over boxes of a k-d tree, each of which keeps its
    farthest point, and enter those only that they come nearer to: about O(N log N + n_samples log N) in
    few dimensions. Memory is O(N D). Threads spread over the clouds. No derivatives are passed on.

    T. F. Gonzalez, "Clustering to minimize the maximum intercluster distance" (1985); boxes as in M. Han et
    al., "QuickFPS: architecture and algorithm co-design for farthest point sampling in large-scale point
    clouds" (2023).

    Examples
    --------
    >>> import numpy as np
    >>> import medkernels as mk
    >>> line = np.array([[0.0], [1.0], [2.0], [7.0], [10.0]])
    >>> mk.points.farthest_point_sampling(line, 3)
    array([0, 4, 3])
    """
    first = _checks.check_count("start", start, least=0)
    clouds = _clouds.take("farthest_point_sampling", points)
    counts = _counts(n_samples, clouds)
    for name, cloud, count in zip(clouds.names, clouds.points, counts, strict=True):
        if len(cloud) == 0:
            raise ValueError(f"{name} must hold at least one point")
        if first >= len(cloud):
            raise ValueError(f"start is {first}, but {name} has {len(cloud)} points")
        if count > len(cloud):
            raise ValueError(f"n_samples is {count}, but {name} has {len(cloud)} points")
    picks = clouds.results([(count,) for count in counts], np.int64)
    if clouds.points:
        _core.points.farthest_point_sampling(clouds.points, clouds.names, first, picks.parts)
    return clouds.given_back(picks, _clouds.is_batch(points))


def _counts(n_samples: Any, clouds: _clouds.Clouds) -> list[int]:
    if not isinstance(n_samples, (list, tuple)):
        return [_checks.check_count("n_samples", n_samples)] * len(clouds.points)
    if not clouds.many or len(n_samples) != len(clouds.points):
        came = f"{len(clouds.points)} clouds" if clouds.many else "one cloud"
        raise ValueError(f"n_samples holds {len(n_samples)} numbers, but points is {came}")
    return [_checks.check_count(f"n_samples[{i}]", count) for i, count in enumerate(n_samples)]

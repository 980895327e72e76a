"""The points within a radius."""

from __future__ import annotations

import math
from typing import Any

from medkernels import _checks, _core
from medkernels.points import _clouds
from medkernels.points.knn import neighbour_arrays, neighbours_on_device


def ball_query(points: Any, queries: Any, *, radius: float, k: int) -> tuple[Any, Any]:
    """Find the first k points within a radius of each query, exactly.

    Parameters
    ----------
    points
        A cloud [N, D] of float32 or float64, a batch [B, N, D], or a list of clouds that may differ in
        size; D from 1 to 64. Open3D's tensors and point clouds are taken as well.
    queries
        A cloud [Q, D], a batch [B, Q, D] or a list, as `points`.
    radius
        Greatest distance of a neighbour, at least 0.
    k
        How many points to find at most, at least 1.

    Returns
    -------
    indices : int64 [Q, k]
        Indices of points at most `radius` away, the k lowest ones in ascending order; -1 where there are
        fewer than k.
    squared_distances : [Q, k]
        Squared Euclidean distances, in the dtype of the points; infinite where there are fewer than k.

    Both have a batch dimension in front for batches, and are lists for lists.

    Raises
    ------
    ValueError
        If a shape, `radius` or `k` is out of range, the numbers of clouds or coordinates differ, or a
        coordinate is NaN, infinite or so large that squared distances are not finite (beyond 1e18 in
        float32, 1e150 in float64).
    TypeError
        For other dtypes, two dtypes, or arrays of several kinds.
    medkernels.BackendError
        For arrays on a GPU without a kernel in this build (torch tensors and CuPy arrays on a CUDA device
        have one), unless ``MEDKERNELS_CPU_FALLBACK=1`` allows a copy through the CPU.

    Notes
    -----
    A point counts if its squared distance, taken in float64, is at most the square of `radius`. Results are
    the same on every processor and for any number of threads. Which k of more points are found depends on
    their order, as in PointNet++ (C. R. Qi et al., 2017); `knn` finds the nearest.

    The search is that of `knn` with a limit that stays: time is about O((N + Q) log N) plus the number of
    points within reach, memory O((N + Q) D) beside the result. No derivatives are passed on.

    On CUDA devices the search is that of `knn` there, and results are those of the CPU.

    Examples
    --------
    >>> import numpy as np
    >>> import medkernels as mk
    >>> line = np.array([[0.0], [1.0], [3.0], [4.0]])
    >>> indices, squared = mk.points.ball_query(line, line[:2], radius=2, k=3)
    >>> indices
    array([[ 0,  1, -1],
           [ 0,  1,  2]])
    """
    reach = _checks.check_number("radius", radius)
    if not math.isfinite(reach):
        raise ValueError(f"radius must be finite, not {reach}")
    count = _checks.check_count("k", k)
    if queries is None:
        raise TypeError("queries must be a cloud, a batch or a list of clouds, not None")
    read = _clouds.read("ball_query", points, queries)
    on_device = read.on_device()
    if on_device is not None:
        return neighbours_on_device(read, on_device, on_device.module.points.ball_query, count, (reach,))
    clouds = read.for_core()
    indices, squared = neighbour_arrays(clouds, clouds.queries, count)
    if clouds.points:
        _core.points.ball_query(
            clouds.points,
            clouds.names,
            clouds.queries,
            clouds.query_names,
            reach,
            count,
            indices.parts,
            squared.parts,
        )
    return clouds.given_back(indices), clouds.given_back(squared)

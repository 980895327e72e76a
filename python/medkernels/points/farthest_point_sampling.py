"""Farthest point sampling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from medkernels import _checks, _core, _device
from medkernels._items import Items
from medkernels.points import _clouds
from medkernels.points._device import INDEX_BYTES, OnDevice


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
        For arrays on a GPU without a kernel in this build (torch tensors and CuPy arrays on a CUDA device
        have one), unless ``MEDKERNELS_CPU_FALLBACK=1`` allows a copy through the CPU.

    Notes
    -----
    Distances are taken in float64, and of points that are equally far the one with the lowest index is
    picked, so results are exact, the same on every processor and for any number of threads. Once all
    points coincide with picks, the point with the lowest index is picked again.

    Few picks go over all points, O(N n_samples D). Many go over boxes of a k-d tree, each of which keeps its
    farthest point, and enter those only that they come nearer to: about O(N log N + n_samples log N) in
    few dimensions. Memory is O(N D). Threads spread over the clouds. No derivatives are passed on.

    On CUDA devices the picks are those of the CPU. Every pick goes over all points, O(N n_samples D), which
    stay in the registers (up to 3 coordinates) or the shared memory of one block of threads, or, for large
    clouds, of several that agree on each pick without another launch. Distances in float32 spare those in
    float64 wherever a bound of their rounding errors decides.

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
    read = _clouds.read("farthest_point_sampling", points)
    counts = _counts(n_samples, read.points)
    for name, cloud, count in zip(read.points.names, read.points.arrays, counts, strict=True):
        size = int(cloud.shape[0])
        if size == 0:
            raise ValueError(f"{name} must hold at least one point")
        if first >= size:
            raise ValueError(f"start is {first}, but {name} has {size} points")
        if count > size:
            raise ValueError(f"n_samples is {count}, but {name} has {size} points")
    on_device = read.on_device()
    if on_device is not None:
        return _on_device(read, on_device, first, counts)
    clouds = read.for_core()
    picks = clouds.results([(count,) for count in counts], np.int64)
    if clouds.points:
        _core.points.farthest_point_sampling(clouds.points, clouds.names, first, picks.parts)
    return clouds.given_back(picks)


def _on_device(read: _clouds.Argument, on_device: OnDevice, start: int, counts: list[int]) -> Any:
    clouds, device = on_device.described(), on_device.device
    doubles = _device.dtype_name(on_device.arrays[0]) == "float64"
    on_device.check_room(
        sum(counts) * INDEX_BYTES + on_device.module.points.sampling_memory(clouds, doubles, device.number)
    )
    picks, held = on_device.rows(counts, (), "int64"), list[Any]()
    bad = on_device.module.points.farthest_point_sampling(
        clouds,
        doubles,
        start,
        counts,
        device.pointer(picks.array),
        device.number,
        device.stream,
        device.allocator(held),
    )
    if bad >= 0:
        on_device.refuse_coordinate(bad)
    return picks.given_back(read.points.many, read.batch)


def _counts(n_samples: Any, clouds: Items) -> list[int]:
    if not isinstance(n_samples, (list, tuple)):
        return [_checks.check_count("n_samples", n_samples)] * len(clouds.arrays)
    if not clouds.many or len(n_samples) != len(clouds.arrays):
        came = f"{len(clouds.arrays)} clouds" if clouds.many else "one cloud"
        raise ValueError(f"n_samples holds {len(n_samples)} numbers, but points is {came}")
    return [_checks.check_count(f"n_samples[{i}]", count) for i, count in enumerate(n_samples)]

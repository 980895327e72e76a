"""The nearest neighbours of points."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from medkernels import _checks, _core, _device
from medkernels.points import _clouds
from medkernels.points._device import INDEX_BYTES, OnDevice


def knn(points: Any, queries: Any = None, *, k: int, include_self: bool = True) -> tuple[Any, Any]:
    """Find the k points nearest to each query, exactly.

    Parameters
    ----------
    points
        A cloud [N, D] of float32 or float64, a batch [B, N, D], or a list of clouds that may differ in
        size; D from 1 to 64. Open3D's tensors and point clouds are taken as well.
    queries
        A cloud [Q, D], a batch [B, Q, D] or a list, as `points`. By default the points themselves.
    k
        How many points to find, at least 1.
    include_self
        Without `queries`, whether a point is a neighbour of itself (the first one, unless points with a lower
        index coincide with it).

    Returns
    -------
    indices : int64 [Q, k]
        Indices of the nearest points, nearest first; -1 where there are fewer than k.
    squared_distances : [Q, k]
        Squared Euclidean distances, in the dtype of the points; infinite where there are fewer than k.

    Both have a batch dimension in front for batches, and are lists for lists.

    Raises
    ------
    ValueError
        If a shape or `k` is out of range, the numbers of clouds or coordinates differ, or a coordinate is
        NaN, infinite or so large that squared distances are not finite (beyond 1e18 in float32, 1e150 in
        float64); or if `include_self` is False beside `queries`.
    TypeError
        For other dtypes, two dtypes, or arrays of several kinds.
    medkernels.BackendError
        For arrays on a GPU without a kernel in this build (torch tensors and CuPy arrays on a CUDA device
        have one), unless ``MEDKERNELS_CPU_FALLBACK=1`` allows a copy through the CPU.

    Notes
    -----
    Distances are taken in float64 and only rounded for the result, and equally near points rank by index,
    so results are exact, the same on every processor and for any number of threads.

    Points and queries are put into k-d trees with leaves of 32 points and 16 children a node. The queries of
    a leaf go down the other tree together, to the nearer box first, so that a leaf of points is read once for
    all of them, and each looks where its own k-th distance reaches. Boxes and points are compared in the type
    of the coordinates, with room for every rounding error; what is near enough is measured in float64. With
    more than 24 coordinates boxes would not spare anything, and blocks of points are compared instead. Time
    is about O((N + Q) log N) in few dimensions and O(N Q D) at worst, spread over threads; memory
    O((N + Q) D) beside the result. No derivatives are passed on.

    On CUDA devices indices and squared distances are those of the CPU. Clouds with up to 3 coordinates and at
    least 4,096 points are sorted along Hilbert's curve into a tree of boxes, 32 in a box, which a warp
    searches for each query: about O(N log N + Q (k + log N)). Others are compared in tiles, O(N Q D), in
    float32 where a bound of its rounding errors decides. Each of about k log(N / k) entries that enter a list
    of k costs O(k). A tree takes about 40 bytes of memory a point (55 in float64), lists of more than 32 up
    to 256 MiB.

    J. H. Friedman, J. L. Bentley and R. A. Finkel, "An algorithm for finding best matches in logarithmic
    expected time" (1977); on CUDA devices: I. Kamel and C. Faloutsos, "On packing R-trees" (1993), and J.
    Johnson, M. Douze and H. Jegou, "Billion-scale similarity search with GPUs" (2017).

    Examples
    --------
    >>> import numpy as np
    >>> import medkernels as mk
    >>> line = np.array([[0.0], [1.0], [3.0], [4.0]])
    >>> indices, squared = mk.points.knn(line, k=2, include_self=False)
    >>> indices
    array([[1, 2],
           [0, 2],
           [3, 1],
           [2, 1]])
    >>> squared[0]
    array([1., 9.])
    """
    count = _checks.check_count("k", k)
    if not isinstance(include_self, (bool, np.bool_)):
        raise TypeError(f"include_self must be True or False, not {include_self!r}")
    if queries is not None and not include_self:
        raise ValueError("include_self=False goes without queries: of other points none is its own neighbour")
    read = _clouds.read("knn", points, queries)
    on_device = read.on_device()
    if on_device is not None:
        return neighbours_on_device(
            read, on_device, on_device.module.points.knn, count, (bool(include_self),)
        )
    clouds = read.for_core()
    asking = clouds.points if queries is None else clouds.queries
    indices, squared = neighbour_arrays(clouds, asking, count)
    if clouds.points:
        _core.points.knn(
            clouds.points,
            clouds.names,
            clouds.queries,
            clouds.query_names,
            count,
            bool(include_self),
            indices.parts,
            squared.parts,
        )
    return clouds.given_back(indices), clouds.given_back(squared)


def neighbour_arrays(clouds: _clouds.Clouds, asking: Any, k: int) -> tuple[_clouds.Results, _clouds.Results]:
    """Arrays [Q, k] for indices and squared distances."""
    shapes = [(len(each), k) for each in asking]
    return clouds.results(shapes, np.int64), clouds.results(shapes, clouds.dtype)


def neighbours_on_device(
    read: _clouds.Argument,
    on_device: OnDevice,
    kernel: Callable[..., int],
    k: int,
    options: tuple[Any, ...],
) -> tuple[Any, Any]:
    """Indices and squared distances of a kernel that takes `k` and these options."""
    clouds, device = on_device.described(), on_device.device
    points = clouds[: len(read.points.arrays)]
    queries = clouds[len(points) :]
    counts = [size for _, size, _ in queries or points]
    dtype = _device.dtype_name(on_device.arrays[0])
    doubles = dtype == "float64"
    rows = sum(counts) * k
    on_device.check_room(
        rows * (INDEX_BYTES + np.dtype(dtype).itemsize)
        + on_device.module.points.neighbour_memory(points, queries, doubles, k, device.number)
    )
    indices, squared = on_device.rows(counts, (k,), "int64"), on_device.rows(counts, (k,), dtype)
    held: list[Any] = []
    bad = kernel(
        points,
        queries,
        doubles,
        k,
        *options,
        device.pointer(indices.array),
        device.pointer(squared.array),
        device.number,
        device.stream,
        device.allocator(held),
    )
    if bad >= 0:
        on_device.refuse_coordinate(bad)
    many, batch = read.points.many, read.batch
    return indices.given_back(many, batch), squared.given_back(many, batch)

"""An axis for each point, from how its neighbours lie."""

from __future__ import annotations

from typing import Any

import numpy as np

from medkernels import _core
from medkernels.points import _tables


def local_reference_axis(points: Any, neighbours: Any, *, weighted: bool = True) -> Any:
    """Find the direction in which the neighbours of each point spread least; it turns with the cloud.

    With y_j the offsets from a point to its neighbours, the axis is the eigenvector of the smallest
    eigenvalue of the sum of w_j y_j y_j^T, where w_j = m - |y_j| and m is the greatest |y_j|. On a surface
    it is the normal.

    Parameters
    ----------
    points
        A cloud [N, 3] of float32 or float64, a batch [B, N, 3], or a list of clouds that may differ in size.
        Open3D's tensors and point clouds are taken as well.
    neighbours
        Integers [N, k], [B, N, k] or a list: indices of the neighbours of each point, as `knn` finds them; -1
        where there is none. The point itself may be among them and adds nothing.
    weighted
        Whether near neighbours weigh more; otherwise w_j = 1.

    Returns
    -------
    [N, 3]
        Axes of length 1, in the dtype of the points; [B, N, 3] for a batch, a list for a list. 0 where no
        direction is distinguished: the two smallest eigenvalues are equal but for rounding, as where the
        neighbours (those with a weight) lie in one place or on a line.

    Raises
    ------
    ValueError
        If a shape does not fit, the numbers of clouds differ, an index is not from -1 to N - 1, or a
        coordinate is NaN, infinite or beyond 1e18 (float32) or 1e150 (float64).
    TypeError
        For other dtypes, two dtypes, or arrays of several kinds.
    medkernels.BackendError
        For arrays on a GPU where this build has no CUDA kernels, or of JAX, unless
        ``MEDKERNELS_CPU_FALLBACK=1`` allows a copy through the CPU.

    Notes
    -----
    Of the two directions the axis is the one that points away from c, the mean of all points of the cloud:
    n . (x - c) > 0. Where that is 0 but for rounding, as in a flat cloud, the coordinate of n that is
    greatest in size is positive; such an axis may change its sign when the cloud is turned.

    Eigenvalues a <= b <= c count as equal if b - a <= 1e-5 sqrt(b c) in float32 (1e-12 in float64), since
    rotating the coordinates would then decide on the direction, or if b is below 1e-14 c.

    Sums and eigenvectors (Jacobi's method) are in float64, and results are the same on every processor and
    for any number of threads; on a GPU signs may differ where a point is on the plane through c but for
    rounding. Time is O(N k), spread over points and clouds; memory O(k) beside the result.
    No derivatives are passed on.

    F. Tombari, S. Salti and L. Di Stefano, "Unique signatures of histograms for local surface description"
    (2010), equation 1, for the weights; Z. Zhang, B.-S. Hua and S.-K. Yeung, "RIConv++" (2022), section 3,
    for the axis.

    Examples
    --------
    >>> import numpy as np
    >>> import medkernels as mk
    >>> corner = np.array([[0.0, 0.0, 2.0], [1.0, 0.0, 2.0], [0.0, 1.0, 2.0], [0.5, 0.5, 0.0]])
    >>> indices, _ = mk.points.knn(corner, k=3)
    >>> mk.points.local_reference_axis(corner, indices, weighted=False)[0]
    array([0., 0., 1.])
    """
    if not isinstance(weighted, (bool, np.bool_)):
        raise TypeError(f"weighted must be True or False, not {weighted!r}")
    read = _tables.read(
        "local_reference_axis",
        {"points": points, "neighbours": neighbours},
        {"points": "N 3", "neighbours": "N k"},
        ["neighbours"],
    )
    on_device = read.on_device()
    if on_device is not None:
        return _on_device(on_device, bool(weighted))
    call = read.for_core()
    clouds = call.arrays["points"]
    axes, give_back = call.results([cloud.shape for cloud in clouds], _tables.dtype_of(clouds))
    if clouds:
        _core.points.local_reference_axis(
            clouds,
            call.names["points"],
            call.arrays["neighbours"],
            call.names["neighbours"],
            bool(weighted),
            axes,
        )
    return give_back()


def _on_device(call: _tables.DeviceCall, weighted: bool) -> Any:
    place, held = call.on_device.device, list[Any]()
    shapes = [(size["N"], 3) for size in call.sizes]
    addresses, axes = call.results(shapes, "float64" if call.doubles else "float32")
    bad = call.on_device.module.points.local_reference_axis(
        call.doubles, call.clouds(), weighted, addresses, place.number, place.stream, place.allocator(held)
    )
    if bad >= len(shapes):
        _tables.refuse_index(call.on_device, bad, shapes[bad - len(shapes)][0], -1)
    if bad >= 0:
        call.on_device.refuse_coordinate(bad)
    return axes

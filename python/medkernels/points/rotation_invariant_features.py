"""Numbers that describe neighbourhoods and do not change when the cloud is turned."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np

from medkernels import _core
from medkernels.points import _tables

#: Numbers for each neighbour.
INVARIANTS = 8
#: Axes that are longer or shorter than 1 by more than this are refused.
UNIT_WITHIN = 1e-3


def rotation_invariant_features(points: Any, axes: Any, centers: Any, neighbours: Any) -> tuple[Any, Any]:
    """Describe each neighbour of some points by eight numbers, in their order around the axis of the point.

    Around a centre x with the axis n, let y_i be the offsets to its neighbours, n_i their axes, and p the
    neighbour before i in one turn around n. Then, with unit(v) = v / |v| (0 for 0),

    ====  ==================================================================================
    0     abs(y_i), the distance
    1     key_i - key_p, how far the turn has gone from p to i; -3 - key_p for the first
    2     unit(y_i) . n
    3     unit(y_i) . n_i
    4     the angle between n_i and n, positive where number 2 is less than number 3
    5     unit(y_i - y_p) . n_i
    6     unit(y_i - y_p) . n_p
    7     the angle between n_i and n_p, positive where number 5 is less than number 6
    ====  ==================================================================================

    Parameters
    ----------
    points
        A cloud [N, 3] of float32 or float64, a batch [B, N, 3], or a list of clouds that may differ in size.
        Open3D's tensors and point clouds are taken as well.
    axes
        [N, 3], [B, N, 3] or a list, of the dtype of the points: an axis for each point as
        `local_reference_axis` finds them, of length 1 (within 0.001) or 0.
    centers
        Integers [M], [B, M] or a list: indices of the points whose neighbourhoods are described.
    neighbours
        Integers [M, k], [B, M, k] or a list: indices of the neighbours of each centre, as `knn` finds them;
        -1 where there is none. The centre itself may be among them.

    Returns
    -------
    features : [M, k, 8]
        In the dtype of the points, angles in radians.
    ordered : int64 [M, k]
        Indices of the neighbours in the order in which their features stand. Absent neighbours come last:
        -1, and features of 0.

    Both have a batch dimension in front for batches, and are lists for lists.

    Raises
    ------
    ValueError
        If a shape does not fit, the numbers of clouds differ, an index is out of range, an axis is not of
        length 1 or 0, or a coordinate is NaN, infinite or beyond 1e18 (float32) or 1e150 (float64).
    TypeError
        For other dtypes, two dtypes, or arrays of several kinds.
    medkernels.BackendError
        For arrays on a GPU where this build has no CUDA kernels, or of JAX, unless
        ``MEDKERNELS_CPU_FALLBACK=1`` allows a copy through the CPU.

    Notes
    -----
    The order: u_i is unit(y_i - (y_i . n) n), the direction in the plane across n, or 0 for a neighbour that
    is the centre or lies on the axis. From the neighbour r that is farthest from the axis (of several, the
    first in the row) the key falls from 1 to -3 in one turn: c = u_i . u_r, and -c - 2 where
    (u_i x u_r) . n is negative. Keys descend along the order; where they are equal to within about 1e-12,
    the order of the row holds. The neighbour before the first is the last.

    Comparisons (of numbers 2 and 3, of 5 and 6, of the product above with 0) allow for rounding: less means
    less by more than 1e-5 in float32 and 1e-12 in float64. What they decide still jumps at that limit, and
    with the neighbour r and an axis that changes; elsewhere features of turned clouds differ by rounding
    only.

    The order is found in float64, whatever the dtype. Angles come from the length of n_i - n or n_i + n,
    which equals the arc cosine of the product and does not lose digits near 0 and pi; they are pi / 2 where
    an axis is 0. Results are the same on every processor and for any number of threads. Time is O(M k^2) for
    k up to 256, with a small constant, and O(M k log k) above, spread over centres and clouds; memory
    O(N + k) beside the result. Results carry no derivatives: the method takes them for constants.

    Z. Zhang, B.-S. Hua and S.-K. Yeung, "RIConv++: effective rotation invariant convolutions for 3D point
    clouds deep learning" (2022), section 3.

    Examples
    --------
    >>> import numpy as np
    >>> import medkernels as mk
    >>> cloud = np.random.default_rng(0).normal(size=(50, 3))
    >>> indices, _ = mk.points.knn(cloud, k=8)
    >>> axes = mk.points.local_reference_axis(cloud, indices)
    >>> features, ordered = mk.points.rotation_invariant_features(cloud, axes, np.arange(50), indices)
    >>> features.shape, ordered.shape
    ((50, 8, 8), (50, 8))
    >>> turned = cloud[:, [1, 2, 0]]
    >>> again = mk.points.local_reference_axis(turned, indices)
    >>> same, _ = mk.points.rotation_invariant_features(turned, again, np.arange(50), indices)
    >>> bool(np.allclose(features, same))
    True
    """
    shapes = {"points": "N 3", "axes": "N 3", "centers": "M", "neighbours": "M k"}
    read = _tables.read(
        "rotation_invariant_features",
        {"points": points, "axes": axes, "centers": centers, "neighbours": neighbours},
        shapes,
        ["centers", "neighbours"],
    )
    on_device = read.on_device()
    if on_device is not None:
        return _on_device(on_device)
    call = read.for_core()
    clouds = call.arrays["points"]
    rows = [table.shape for table in call.arrays["neighbours"]]
    features, give_features = call.results([(*row, INVARIANTS) for row in rows], _tables.dtype_of(clouds))
    ordered, give_ordered = call.results(rows, np.int64)
    if clouds:
        _core.points.rotation_invariant_features(
            *(call.arrays[name] for name in shapes), [call.names[name] for name in shapes], features, ordered
        )
    return give_features(), give_ordered()


def _on_device(call: _tables.DeviceCall) -> tuple[Any, Any]:
    place, module, held = call.on_device.device, call.on_device.module.points, list[Any]()
    for size in call.sizes:
        if size["k"] > module.most_neighbours:
            raise ValueError(
                f"neighbours must have at most {module.most_neighbours} a row on a GPU, not {size['k']}"
            )
    rows = [(size["M"], size["k"]) for size in call.sizes]
    dtype = "float64" if call.doubles else "float32"
    feature_addresses, features = call.results([(*row, INVARIANTS) for row in rows], dtype)
    ordered_addresses, ordered = call.results(rows, "int64")
    others = (call.addresses["axes"], call.addresses["centers"], feature_addresses, ordered_addresses)
    bad = module.rotation_invariant_features(
        call.doubles,
        call.clouds(),
        list(zip(*others, strict=True)),
        place.number,
        place.stream,
        place.allocator(held),
    )
    if bad >= 0:
        _refuse(call, bad)
    return features, ordered


def _refuse(call: _tables.DeviceCall, bad: int) -> NoReturn:
    kind, item = divmod(bad, len(call.sizes))
    if kind == 0:
        call.on_device.refuse_coordinate(bad)
    if kind >= 2:
        _tables.refuse_index(call.on_device, bad, call.sizes[item]["N"], 0 if kind == 2 else -1)
    axes = call.on_device.device.to_host(call.on_device.arrays[bad]).astype(np.float64)
    name = call.on_device.names[bad]
    lengths = np.sqrt((axes**2).sum(1))
    wrong = np.flatnonzero(~((lengths == 0) | (np.abs(lengths - 1) <= UNIT_WITHIN)))
    if len(wrong) == 0:
        raise RuntimeError(f"{name} was changed while it was read")
    raise ValueError(
        f"{name} must hold vectors of length 1 or 0, but that of point {wrong[0]} has length "
        f"{lengths[wrong[0]]:.6g}"
    )

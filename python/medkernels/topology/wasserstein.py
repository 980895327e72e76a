"""The Wasserstein distance between two persistence diagrams."""

from __future__ import annotations

from typing import Any

import numpy as np

from medkernels import _backends, _interop
from medkernels.topology._wasserstein import Options, as_diagram, check_options, match, matching_of


def wasserstein(
    a: Any,
    b: Any,
    *,
    order: float = 1,
    ground: float = 2,
    return_matching: bool = False,
    essential: str = "match",
) -> Any:
    """Exact Wasserstein or bottleneck distance between two diagrams; differentiable in both.

    Every bar goes to a bar of the other diagram or to the diagonal, such that the sum of costs is least:

        W = min over matchings of (sum of cost ** order) ** (1 / order)

    The cost of two bars is the distance of the points (birth, death), that of a bar and the diagonal is
    (death - birth) / sqrt(2) with the Euclidean `ground` distance and (death - birth) / 2 with the maximum.

    Parameters
    ----------
    a, b
        [m, 2] and [n, 2]: births and deaths, float32 or float64, in one unit; m and n may be 0. GUDHI's lists
        of (dimension, (birth, death)) are taken if they hold one dimension. Bars with birth = death cost
        nothing.
    order
        At least 1. ``inf`` is the bottleneck distance, the greatest cost instead of the sum.
    ground
        2 or ``inf``: which distance of points is meant.
    return_matching
        Also return who goes with whom.
    essential
        What becomes of bars with an infinite end. ``"match"``: those of one kind (which never die, were never
        born, or both) are matched in the order of their finite ends, at the cost of the distance between
        these; the distance is infinite where `a` and `b` have different numbers of a kind. ``"drop"``: they
        are left out.

    Returns
    -------
    distance
        A number in the unit of the diagrams: float64 whatever their dtype is (float32 for JAX without x64),
        of the kind and on the device of `a` and `b`.
    matching
        Only with `return_matching`: [k, 2] integers. A row (i, j) says that bar i of `a` goes with bar j of
        `b`; -1 stands for the diagonal. The rows of `a` come in order, then the other ones of `b`. Every bar
        is there, except those dropped; with -1 also endless bars beyond the number of the other diagram.

    Raises
    ------
    ValueError
        For shapes other than these, NaN, birth > death, several diagrams or dimensions at once, an unknown
        option, devices that differ, or diagrams too large for memory.
    TypeError
        For dtypes other than float32 and float64, or arrays of different frameworks.
    medkernels.BackendError
        For arrays that are not on the CPU, unless ``MEDKERNELS_CPU_FALLBACK=1``.

    Notes
    -----
    Diagrams whose bars are all born together, as in H0, take O(m + n) after sorting for `order` 1, and O(m n)
    time and O(m + n) memory for higher orders. For others only pairs that are nearer to each other than both
    to the diagonal can match; these are found in blocks of eight sorted bars and given to an assignment
    solver that searches around one bar at a time. Time and memory grow with the number of such pairs.

    The gradient holds the matching fixed, which is exact wherever the matching is unique: (c / W) ** (order -
    1) times the gradient of each cost c, nothing for pairs at distance zero or an infinite distance. With the
    maximum ground distance the larger difference gets it, birth at a tie; for the bottleneck distance the
    first of the largest costs. There is no second derivative. The result does not depend on threads.

    M. Kerber, D. Morozov, A. Nigmetov, "Geometry helps to compare persistence diagrams" (2017) for the
    distance; R. Jonker, A. Volgenant (Computing 38, 1987) for the assignment.

    Examples
    --------
    >>> import numpy as np
    >>> import medkernels as mk
    >>> a = np.array([[0.0, 1.0], [0.5, 4.0]])
    >>> b = np.array([[0.5, 4.5]])
    >>> distance, matching = mk.topology.wasserstein(a, b, return_matching=True)
    >>> float(distance.round(6))  # 1 / sqrt(2) + 0.5
    1.207107
    >>> matching
    array([[ 0, -1],
           [ 1,  0]])
    """
    options = check_options(order, ground, essential)
    if not isinstance(return_matching, bool):
        raise TypeError(f"return_matching must be True or False, not {return_matching!r}")
    arrays = {"a": as_diagram(a, "a"), "b": as_diagram(b, "b")}
    came = {name: [] if isinstance(each, (list, tuple)) else each for name, each in (("a", a), ("b", b))}
    framework = _interop.common_framework(came)
    if framework == "torch":
        from medkernels.topology import _wasserstein_torch

        return _wasserstein_torch.distance(arrays["a"], arrays["b"], options, return_matching)
    if framework == "jax":
        from medkernels.topology import _wasserstein_jax

        return _wasserstein_jax.distance(arrays["a"], arrays["b"], options, return_matching)
    if framework == "cupy":
        return _cupy_distance(arrays["a"], arrays["b"], options, return_matching)
    like = a if _interop.framework_of(a) == framework else b
    restore = _interop.restorer(like) if framework == "dlpack" else np.asarray
    distance, partner = match(arrays["a"], arrays["b"], options)
    # A NumPy scalar for NumPy arrays, as its own reductions return.
    result = restore(np.asarray(distance)) if framework == "dlpack" else np.float64(distance)
    if not return_matching:
        return result
    return result, restore(matching_of(arrays["a"], arrays["b"], partner, options.drop))


def _cupy_distance(a: Any, b: Any, options: Options, return_matching: bool) -> Any:
    _backends.fall_back_to_cpu("wasserstein", "there is no kernel for single pairs of CuPy arrays")
    import cupy

    host_a, host_b = cupy.asnumpy(a), cupy.asnumpy(b)
    distance, partner = match(host_a, host_b, options)
    result = cupy.asarray(distance)
    if not return_matching:
        return result
    return result, cupy.asarray(matching_of(host_a, host_b, partner, options.drop))

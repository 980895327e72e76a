"""Nearest and second nearest descriptors, and the ratio test."""

from __future__ import annotations

from typing import Any

import numpy as np

from medkernels import _checks, _core, _interop
from medkernels.features._arrays import numpy_arrays

DTYPES = ("float32", "float64", "uint8")


def match(d1: Any, d2: Any, *, ratio: float = 0.91, mutual: bool = False) -> tuple[Any, Any]:
    """Match each descriptor with its nearest one in another set, where that one stands out.

    A row of `d1` is matched with the row of `d2` at the least Euclidean distance if this distance is at most
    `ratio` times that of the second nearest row.

    Parameters
    ----------
    d1, d2
        Descriptors [K1, D] and [K2, D] of one dtype: float32, float64 or uint8. D is any number from 1.
    ratio
        Greatest nearest distance, as a share of the second nearest one; greater than 0, at most 1. With 1
        every row is matched.
    mutual
        Keep only the pairs in which the row of `d1` is also the one nearest to the row of `d2`. No row of
        `d2` is then matched twice.

    Returns
    -------
    matches : integers [M, 2]
        Rows of `d1` and `d2`, M <= K1, in ascending order of the rows of `d1`.
    distances : [M]
        Euclidean distance of each pair; float64 for float64 descriptors, float32 otherwise.

    Raises
    ------
    ValueError
        If a rank or length differs, a value is NaN or infinite (or beyond 1e150 in float64), or `ratio` is
        out of range.
    TypeError
        For other dtypes, two dtypes, arrays of several kinds, or an argument that is not of the type named.
    medkernels.BackendError
        For arrays on a GPU, unless ``MEDKERNELS_CPU_FALLBACK=1`` allows a copy through the CPU.

    Notes
    -----
    Equally near rows rank by index, lowest first. Two rows at the same distance do not stand out: their
    ratio counts as 1, also where both distances are 0. If `d2` has one row there is no second nearest,
    which counts as ratio 0; if `d1` or `d2` has none there are no matches.

    Time is O(K1 K2 D), spread over threads, memory O((K1 + K2) D): distances are folded into the best of
    each row as they arise. A first pass takes the scores a.b - |b|^2 / 2 in float32 (in whole numbers for
    bytes) and keeps a few best rows with the bound of their rounding errors; the two nearest are then
    decided among them by distances in float64. Rows that this leaves open, as when many rows of `d2` are
    nearly equal, are decided among all of `d2`, which is slower. So results equal those of float64
    throughout, on every processor and for any number of threads. No derivatives are passed on.

    The ratio test is that of D. G. Lowe, "Distinctive image features from scale-invariant keypoints"
    (2004), section 7.1; the bound is that of N. J. Higham, "Accuracy and stability of numerical algorithms"
    (2002), section 3.1.

    Examples
    --------
    >>> import numpy as np
    >>> import medkernels as mk
    >>> d1 = np.array([[0.0, 1.0], [5.0, 5.0], [2.0, 2.0]])
    >>> d2 = np.array([[5.0, 4.0], [9.0, 9.0], [0.0, 1.0]])
    >>> matches, distances = mk.features.match(d1, d2, ratio=0.6)
    >>> matches
    array([[0, 2],
           [1, 0]])
    >>> distances
    array([0., 1.])
    """
    limit = _checks.check_number("ratio", ratio, positive=True)
    if limit > 1:
        raise ValueError(f"ratio must be at most 1, not {limit}")
    if not isinstance(mutual, (bool, np.bool_)):
        raise TypeError(f"mutual must be True or False, not {mutual!r}")
    views, restore = numpy_arrays("match", {"d1": d1, "d2": d2})
    sizes = _checks.check_shapes(views, {"d1": "K1 D", "d2": "K2 D"})
    dtype = views["d1"].dtype
    for name, view in views.items():
        if view.dtype.name not in DTYPES:
            raise TypeError(f"{name} must be float32, float64 or uint8, not {view.dtype.name}")
        if view.dtype.name != dtype.name:
            raise TypeError(f"{name} is {view.dtype}, but d1 is {dtype}: use one dtype")
    if sizes["D"] < 1:
        raise ValueError("d1 and d2 must have rows of at least one number, but D is 0")
    for name, letter in (("d1", "K1"), ("d2", "K2")):
        if sizes[letter] > _checks.MAX_INDEX:
            raise ValueError(f"{name} has {sizes[letter]} rows, more than {_checks.MAX_INDEX}")
    ready = [_interop.kernel_array(view, dtype.newbyteorder("=")) for view in views.values()]
    matches, distances = _core.features.match(*ready, limit, bool(mutual))
    kind = np.float64 if dtype.name == "float64" else np.float32
    return restore(matches), restore(distances.astype(kind))

"""Nearest and second nearest descriptors, and the ratio test."""

from __future__ import annotations

from typing import Any

import numpy as np

from medkernels import _backends, _checks, _core, _interop
from medkernels._items import Items, common_kind, dtype_name, split, to_numpy

DTYPES = ("float32", "float64", "uint8")


def match(d1: Any, d2: Any, *, ratio: float = 0.91, mutual: bool = False) -> Any:
    """Match each descriptor with its nearest one in another set, where that one stands out.

    A row of `d1` is matched with the row of `d2` at the least Euclidean distance if this distance is at most
    `ratio` times that of the second nearest row.

    Parameters
    ----------
    d1, d2
        Descriptors [K1, D] and [K2, D] of one dtype: float32, float64 or uint8. D is any number from 1. Or
        equally many of them, whose items are matched one by one: batches [B, K1, D] and [B, K2, D], or lists
        of sets, which may differ in K1, K2 and D.
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

    For batches and lists, a list of such tuples (matches, distances).

    Raises
    ------
    ValueError
        If a rank, a length or the number of sets differs, a value is NaN or infinite (or beyond 1e150 in
        float64), `ratio` is out of range, or descriptors are too many for the memory of a GPU.
    TypeError
        For other dtypes, two dtypes, arrays of several kinds, or an argument that is not of the type named.
    medkernels.BackendError
        For arrays on a GPU without Triton and PyTorch, or of JAX, unless ``MEDKERNELS_CPU_FALLBACK=1``.

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
    throughout, on every processor and GPU, for any number of threads and in any batch. No derivatives are
    passed on.

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
    sets = split("match", "d1", d1, _is_batch), split("match", "d2", d2, _is_batch)
    kind = common_kind(*sets)
    _check_sets(*sets)
    if not sets[0].arrays:
        return []
    if kind.on_gpu:
        try:
            _backends.triton_kernels("match")
        except _backends.BackendError as error:
            _backends.fall_back_to_cpu("match", str(error))
        else:
            from medkernels.features import _match_gpu

            found = _match_gpu.match(kind, *sets, limit, bool(mutual))
            return found if sets[0].many else found[0]
    views, restore = to_numpy("match", kind, [*sets[0].arrays, *sets[1].arrays])
    ready = [_interop.kernel_array(view, view.dtype.newbyteorder("=")) for view in views]
    pairs = list(zip(ready[: len(ready) // 2], ready[len(ready) // 2 :], strict=True))
    width = np.float64 if ready[0].dtype == np.float64 else np.float32
    results = [
        (restore(matches), restore(distances.astype(width)))
        for matches, distances in _core.features.match(pairs, sets[0].many, limit, bool(mutual))
    ]
    return results if sets[0].many else results[0]


def _is_batch(shape: tuple[int, ...]) -> bool:
    return len(shape) == 3


def _check_sets(first: Items, second: Items) -> None:
    """Refuse sets that do not go together."""
    if first.many != second.many:
        one, other = ("d2", "d1") if first.many else ("d1", "d2")
        raise ValueError(
            f"{one} is one set of descriptors, but {other} is a batch or list: give as many of both"
        )
    if len(first.arrays) != len(second.arrays):
        raise ValueError(
            f"d2 holds {len(second.arrays)} sets of descriptors, but d1 holds {len(first.arrays)}"
        )
    dtype = None
    for a, b, name_a, name_b in zip(first.arrays, second.arrays, first.names, second.names, strict=True):
        sizes = _checks.check_shapes({name_a: a, name_b: b}, {name_a: "K1 D", name_b: "K2 D"})
        for name, array in ((name_a, a), (name_b, b)):
            came = dtype_name(array)
            dtype = dtype or came
            if came not in DTYPES:
                raise TypeError(f"{name} must be float32, float64 or uint8, not {came}")
            if came != dtype:
                raise TypeError(f"{name} is {came}, but {first.names[0]} is {dtype}: use one dtype")
        if sizes["D"] < 1:
            raise ValueError(f"{name_a} and {name_b} must have rows of at least one number, but D is 0")
        for name, letter in ((name_a, "K1"), (name_b, "K2")):
            if sizes[letter] > _checks.MAX_INDEX:
                raise ValueError(f"{name} has {sizes[letter]} rows, more than {_checks.MAX_INDEX}")

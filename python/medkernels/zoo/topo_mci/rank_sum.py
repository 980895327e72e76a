"""The rank-sum test of two groups of subjects, for all pairs of ROIs at once."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import erfc
from scipy.stats import false_discovery_control, rankdata

Floats = npt.NDArray[np.float64]


class RankSum(NamedTuple):
    """Result of `rank_sum`."""

    z: Floats  # positive where the first group has the larger values
    p: Floats


def rank_sum(first: npt.ArrayLike, second: npt.ArrayLike) -> RankSum:
    """Wilcoxon's rank-sum test (Mann and Whitney's U), two-sided, with the correction for ties.

    The normal approximation without continuity correction: with W the rank sum of the first group (ties take
    their mean rank), U = W - n1 (n1 + 1) / 2, z = (U - n1 n2 / 2) / s, where s^2 = n1 n2 / 12 ((N + 1) - sum
    (t^3 - t) / (N (N - 1))) over groups of t equal values, N = n1 + n2, and p = 2 (1 - Phi(|z|)).

    Parameters
    ----------
    first, second : [n1,...], [n2,...]
        Values of the subjects of each group; all places behind the first axis are tested on their own.

    Returns
    -------
    RankSum
        z and p [...] float64. Where all values are equal there is nothing to tell apart: z is 0 and p is 1.

    Raises
    ------
    ValueError
        If a group is empty, the shapes do not fit, or a value is not finite.

    Notes
    -----
    O(N log N) time a place.

    F. Wilcoxon, "Individual comparisons by ranking methods" (1945); H. B. Mann and D. R. Whitney, "On a test
    of whether one of two random variables is stochastically larger than the other" (1947).

    Examples
    --------
    >>> found = rank_sum([1.0, 2.0, 3.0, 4.0], [3.0, 5.0, 6.0, 7.0, 8.0])
    >>> round(float(found.z), 4), round(float(found.p), 4)
    (-2.0908, 0.0365)
    """
    x, y = np.asarray(first, np.float64), np.asarray(second, np.float64)
    for name, values in (("first", x), ("second", y)):
        if values.ndim < 1 or not len(values):
            raise ValueError(f"{name}: want at least one subject, got shape {list(values.shape)}")
        if not np.isfinite(values).all():
            raise ValueError(f"{name}: want finite values")
    if x.shape[1:] != y.shape[1:]:
        raise ValueError(f"first and second differ beyond the subjects: {list(x.shape)} and {list(y.shape)}")
    n1, n2 = len(x), len(y)
    total = n1 + n2
    pooled = np.concatenate([x, y])
    least, most = (rankdata(pooled, method, axis=0) for method in ("min", "max"))
    ranks = (least + most) / 2
    tied = most - least + 1.0
    # Each of t equal values adds t^2 - 1, together t^3 - t.
    ties = (tied**2 - 1).sum(axis=0)
    variance = n1 * n2 / 12 * (total + 1 - ties / (total * (total - 1)))
    excess = ranks[:n1].sum(axis=0) - n1 * (n1 + 1) / 2 - n1 * n2 / 2
    z = np.where(variance > 0, excess / np.sqrt(np.where(variance > 0, variance, 1)), 0.0)
    return RankSum(z, np.asarray(erfc(np.abs(z) / np.sqrt(2))))


def p_map(matrices: Floats, group: npt.NDArray[Any], *, fdr: bool = False) -> RankSum:
    """`rank_sum` for every pair of ROIs.

    Parameters
    ----------
    matrices : [N,n,n]
        Symmetric distance matrices of the subjects.
    group : [N] bool
        True for the first group, False for the second.
    fdr : bool
        Adjust p for the n (n - 1) / 2 tests by Benjamini and Hochberg's method, so that a bound on it is one
        on the expected share of false findings.

    Returns
    -------
    RankSum
        z and p [n,n], symmetric; on the diagonal z is 0 and p is 1.
    """
    chosen = np.asarray(group, bool)
    size = matrices.shape[1]
    pairs = np.triu_indices(size, 1)
    values = matrices[:, pairs[0], pairs[1]]
    z, p = rank_sum(values[chosen], values[~chosen])
    if fdr and p.size:
        p = false_discovery_control(p)
    maps = np.zeros((size, size)), np.ones((size, size))
    for full, flat in zip(maps, (z, p), strict=True):
        full[pairs] = flat
        full.T[pairs] = flat
    return RankSum(*maps)

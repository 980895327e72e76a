"""How evenly persistence is spread over the bars of a diagram."""

from __future__ import annotations

from typing import Any

import numpy as np

from medkernels.topology._diagrams import pack


def persistence_entropy(diagrams: Any, *, normalize: bool = False) -> Any:
    """Shannon entropy of the lengths of bars; differentiable.

    With lengths l_i = death - birth, their sum L and p_i = l_i / L, the entropy is -sum(p_i log p_i).

    Parameters
    ----------
    diagrams
        One diagram [n, 2] of births and deaths, a batch [B, n, 2], or a list of B diagrams. Bars that never
        die (or were never born) are left out, as are bars of length zero.
    normalize
        Divide by the logarithm of the number of bars, so that equal lengths give 1.

    Returns
    -------
    array
        A scalar for one diagram, else [B], in nats (0 to 1 when normalised), of the kind, dtype and device of
        `diagrams`. 0 where a diagram has no bar or one.

    Raises
    ------
    ValueError
        For shapes other than these, NaN, or bars that end before they begin.
    TypeError
        For diagrams that are not float32 or float64, or of several kinds.

    Notes
    -----
    O(n) for a diagram, all diagrams at once. To count infinite bars, cut them first:
    ``np.minimum(diagram, largest)``. While ``jax.jit`` or ``torch.compile`` trace, values are not checked.

    H. Chintakunta et al., "An entropy-based persistence barcode" (2015); the normalised form as in N. Atienza
    et al., "On the stability of persistent entropy and new summary functions for topological data analysis"
    (2020).

    Examples
    --------
    >>> import numpy as np
    >>> import medkernels as mk
    >>> diagram = np.array([[0.0, 1.0], [0.0, 1.0], [0.5, 2.5], [0.0, np.inf]])
    >>> float(mk.topology.persistence_entropy(diagram).round(4))
    1.0397
    """
    bars = pack(diagrams)
    where, log = bars.xp.where, bars.xp.log
    length, alive = bars.lengths()
    total = bars.sums(length)
    none = total <= 0
    share = length / where(none, 1.0, total)[bars.indices(bars.owner)]
    entropy = bars.sums(where(alive, -share * log(where(alive, share, 1.0)), 0.0))
    if normalize:
        number = bars.sums(where(alive, bars.xp.ones_like(length), 0.0))
        entropy = entropy / log(where(number > 1, number, np.e))
    return bars.result(entropy)

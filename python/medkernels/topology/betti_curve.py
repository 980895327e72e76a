"""How many bars are alive, as a function of scale."""

from __future__ import annotations

from typing import Any

import numpy as np

from medkernels import _interop
from medkernels.topology._diagrams import pack


def betti_curve(diagrams: Any, grid: Any) -> Any:
    """Count the bars that are alive at each scale: those with birth <= t < death.

    Parameters
    ----------
    diagrams
        One diagram [n, 2] of births and deaths, a batch [B, n, 2], or a list of B diagrams.
    grid
        [G]: the scales t, in the unit of the diagrams and in any order. They are rounded to their dtype.

    Returns
    -------
    array
        [G] for one diagram, else [B, G], integers, of the kind and device of `diagrams`. Infinite bars count.

    Raises
    ------
    ValueError
        For shapes other than these, NaN, or bars that end before they begin.
    TypeError
        For diagrams that are not float32 or float64, or of several kinds.

    Notes
    -----
    O((n + G) log G) for a diagram, all diagrams at once. Betti numbers do not change
    continuously, so there is no gradient: see :func:`persistence_image`. While ``jax.jit`` or
    ``torch.compile`` trace, values are not checked.

    Examples
    --------
    >>> import numpy as np
    >>> import medkernels as mk
    >>> diagram = np.array([[0.0, 1.0], [0.0, 3.0], [0.0, np.inf]])
    >>> mk.topology.betti_curve(diagram, np.array([0.0, 1.0, 2.0, 5.0]))
    array([3, 2, 2, 1])
    """
    bars = pack(diagrams)
    scales = np.asarray(_interop.numpy_view(grid, "grid"), dtype=np.float64)
    if scales.ndim != 1:
        raise ValueError(f"grid must have shape [G], but has shape {list(scales.shape)}")
    if np.isnan(scales).any():
        raise ValueError("grid must not hold NaN")
    order = np.argsort(scales, kind="stable")
    steps = bars.floats(scales[order])
    width = len(scales) + 1
    first = bars.indices(bars.owner) * width
    # A bar raises the curve from the first scale that is not before its birth, until its death does the
    # opposite.
    born, died = (
        bars.sums(bars.xp.ones_like(first), first + bars.xp.searchsorted(steps, ends), bars.count * width)
        for ends in bars.xp.stack([bars.constant(bars.birth), bars.constant(bars.death)])
    )
    curve = bars.xp.cumsum((born - died).reshape(bars.count, width), 1)
    return bars.result(curve[:, bars.indices(np.argsort(order, kind="stable"))])

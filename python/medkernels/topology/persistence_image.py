"""Persistence diagrams as images."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from medkernels import _checks, _core
from medkernels.topology._diagrams import Bars, pack


def persistence_image(
    diagrams: Any,
    *,
    resolution: int | Sequence[int] = 20,
    birth_range: Sequence[float] | None = None,
    persistence_range: Sequence[float] | None = None,
    bandwidth: float | None = None,
    weight: float | Callable[[Any, Any], Any] = 1.0,
) -> Any:
    """Blur diagrams into images of equal size; differentiable.

    A bar is the point (birth, persistence) with persistence = death - birth. A normal density around each
    point, times the weight of the bar, makes a surface; a pixel is the integral of the surface over its
    area.

    Parameters
    ----------
    diagrams
        One diagram [n, 2] of births and deaths, a batch [B, n, 2], or a list of B diagrams. Bars that never
        die (or were never born) are left out, as are bars of length zero.
    resolution
        Pixels: (rows, columns), or one number for both. Rows go up in persistence, columns in birth, both
        from the least value at index 0.
    birth_range, persistence_range
        (least, greatest) at the borders of the image, in the unit of the diagrams. By default the births,
        and the persistence from 0, of all bars given; state them where images of separate calls are
        compared. Bars outside add what their densities reach into the image.
    bandwidth
        Standard deviation of the densities, in the unit of the diagrams. By default the height of a row.
    weight
        A power of persistence, at least 0, or a function of two arrays [m], birth and persistence, that
        returns one. Images are stable when the weight goes to zero with persistence.

    Returns
    -------
    array
        [rows, columns] for one diagram, else [B, rows, columns], of the kind, dtype and device of `diagrams`.

    Raises
    ------
    ValueError
        For shapes other than these, NaN, bars that end before they begin, empty ranges, or, inside
        ``jax.jit``, ranges that are not stated.
    TypeError
        For diagrams that are not float32 or float64, or of several kinds.

    Notes
    -----
    O(n rows columns) for a diagram, O(n (rows + columns)) memory. Ranges taken from the bars are
    constants to the gradient. While ``jax.jit`` or ``torch.compile`` trace, values are not checked. To see
    infinite bars, cut them first: ``np.minimum(diagram, largest)``.

    H. Adams et al., "Persistence images: a stable vector representation of persistent homology" (2017).

    Examples
    --------
    >>> import numpy as np
    >>> import medkernels as mk
    >>> diagram = np.array([[0.0, 1.0], [0.25, 2.25], [0.0, np.inf]])
    >>> image = mk.topology.persistence_image(
    ...     diagram, resolution=(3, 2), birth_range=(-1.0, 1.0), persistence_range=(0.0, 3.0), bandwidth=0.25)
    >>> image.round(2)
    array([[0.25, 0.25],
           [0.41, 1.09],
           [0.16, 0.84]])
    """
    sides = (resolution, resolution) if isinstance(resolution, (int, np.integer)) else resolution
    rows, columns = _checks.check_size("resolution", sides, ("rows", "columns"))
    bars = pack(diagrams)
    persistence, alive = bars.lengths()
    birth = bars.xp.where(alive, bars.birth, 0.0)
    tall = _range(bars, "persistence_range", persistence_range, persistence, alive, 0.0)
    wide = _range(bars, "birth_range", birth_range, birth, alive, None, (tall[1] - tall[0]) / 2)
    if bandwidth is None:
        bandwidth = (tall[1] - tall[0]) / rows
    bandwidth = _checks.check_number("bandwidth", bandwidth, positive=True)
    up = _masses(bars, persistence, tall, rows, bandwidth)
    along = (
        _masses(bars, birth, wide, columns, bandwidth)
        * _weights(bars, birth, persistence, alive, weight)[:, None]
    )
    images = [up[s:e].T @ along[s:e] for s, e in zip(bars.starts[:-1], bars.starts[1:], strict=True)]
    if not images:
        return bars.result(bars.floats(np.empty((0, rows, columns))))
    return bars.result(bars.xp.stack(images))


def _weights(
    bars: Bars, birth: Any, persistence: Any, alive: Any, weight: float | Callable[[Any, Any], Any]
) -> Any:
    """Weight [m] of each bar; 0 for those left out."""
    # Powers below 1 have no derivative at 0.
    safe = bars.xp.where(alive, persistence, 1.0)
    if callable(weight):
        values = weight(birth, safe)
        if tuple(getattr(values, "shape", ())) != tuple(safe.shape):
            raise ValueError(f"weight must return an array of shape {list(safe.shape)}, one value a bar")
    else:
        values = safe ** _checks.check_number("weight", weight)
    return bars.xp.where(alive, values, 0.0)


def _range(
    bars: Bars,
    name: str,
    given: Sequence[float] | None,
    values: Any,
    alive: Any,
    least: float | None,
    margin: float = 0.5,
) -> tuple[float, float]:
    """The range asked for, or that of the values of bars; one without width is widened by `margin`."""
    if given is not None:
        if not isinstance(given, Sequence) or len(given) != 2:
            raise ValueError(f"{name} must be (least, greatest), not {given!r}")
        low, high = (_checks.check_number(name, value, least=-math.inf) for value in given)
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ValueError(f"{name} must be two finite numbers that ascend, not ({low}, {high})")
        return low, high
    if bars.traced and bars.framework == "jax":
        raise ValueError(f"{name} must be stated inside jax.jit and jax.vmap: bars have no values there")
    found = bars.constant(values)[bars.constant(alive)]
    if found.shape[0] == 0:
        return 0.0, 1.0
    low, high = float(found.min()) if least is None else least, float(found.max())
    return (low, high) if low < high else (low - margin, high + margin)


def _masses(bars: Bars, centers: Any, limits: tuple[float, float], count: int, bandwidth: float) -> Any:
    """Integrals [m, count] of normal densities around `centers` over `count` equal parts of a range."""
    edges = bars.floats(np.linspace(*limits, count + 1))
    below = _erf(bars, (edges - centers[:, None]) / (bandwidth * math.sqrt(2.0)))
    return (below[:, 1:] - below[:, :-1]) / 2


def _erf(bars: Bars, values: Any) -> Any:
    if bars.framework == "torch":
        return bars.xp.erf(values)
    if bars.framework == "jax":
        import jax

        return jax.scipy.special.erf(values)
    if bars.framework == "cupy":
        return importlib.import_module("cupyx.scipy.special").erf(values)
    return _core.topology.erf(values).astype(values.dtype)

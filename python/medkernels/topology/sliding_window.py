"""Delay embedding of time series."""

from __future__ import annotations

from typing import Any

import numpy as np

from medkernels import _checks, _interop


def sliding_window(series: Any, *, dimension: int = 3, delay: int = 1) -> Any:
    """Turn time series into clouds of points; differentiable.

    Point t of a series v is (v[t], v[t + delay], ..., v[t + (dimension - 1) delay]).

    Parameters
    ----------
    series
        [..., T], of any dtype and unit. Values are not looked at.
    dimension
        Coordinates of a point, at least 1.
    delay
        Samples from one coordinate to the next, at least 1.

    Returns
    -------
    array
        [..., T - (dimension - 1) delay, dimension] of the kind, dtype and device of `series`. With NumPy
        arrays a read-only view and with torch tensors a view: no numbers are copied.

    Raises
    ------
    ValueError
        If a series is shorter than one window, or `dimension` or `delay` less than 1.
    TypeError
        If `series` is no array of numbers, or `dimension` or `delay` no integer.

    Notes
    -----
    O(1) time and memory for views, O(points x dimension) otherwise. Gradients add up where windows overlap.

    The embedding is that of F. Takens, "Detecting strange attractors in turbulence" (1981); for persistent
    homology: J. A. Perea and J. Harer, "Sliding windows and persistence" (2015), whose M is dimension - 1 and
    whose tau is the delay.

    Examples
    --------
    >>> import numpy as np
    >>> import medkernels as mk
    >>> mk.topology.sliding_window(np.arange(6.0), dimension=3, delay=2)
    array([[0., 2., 4.],
           [1., 3., 5.]])
    """
    dimension, delay = (_checks.check_count(n, v) for n, v in (("dimension", dimension), ("delay", delay)))
    framework = _interop.framework_of(series)
    if framework in ("numpy", "python", "dlpack"):
        restore, series = _interop.restorer(series), _interop.numpy_view(series, "series")
    if series.ndim < 1:
        raise ValueError("series must have shape [..., T], but is a single number")
    length, reach = series.shape[-1], (dimension - 1) * delay + 1
    if length < reach:
        raise ValueError(
            f"series must have at least {reach} samples for dimension={dimension} and delay={delay}, "
            f"but has shape {list(series.shape)}"
        )
    if framework == "torch":
        return series.unfold(-1, reach, 1)[..., ::delay]
    if framework in ("jax", "cupy"):
        return series[..., np.arange(length - reach + 1)[:, None] + delay * np.arange(dimension)]
    windows = np.lib.stride_tricks.sliding_window_view(series, reach, axis=-1)[..., ::delay]
    # Other libraries do not take read-only memory.
    return restore(windows if framework == "numpy" else windows.copy())

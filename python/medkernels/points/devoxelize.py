"""Features of a grid at points."""

from __future__ import annotations

from typing import Any

from medkernels.points import _grids
from medkernels.points._flat import Argument, flatten
from medkernels.points.voxelize import check_subtract_mean


def devoxelize(grid: Any, points: Any, *, subtract_mean: bool = True) -> Any:
    """Interpolate the features of a cubic grid at points, linearly along each axis; differentiable.

    The way back from `voxelize`: with R cells along each edge, a coordinate x, after the mean of the cloud is
    subtracted, lies at clamp((x + 1) / 2 R, 0, R - 1), counted from the middle of the first cell.

    Parameters
    ----------
    grid
        [C, R, R, R], along x, y and z, of float32 or float64; [B, C, R, R, R] for a batch or list of clouds.
    points
        A cloud [N, 3] of the same dtype, a batch [B, N, 3], or a list of clouds that may differ in size.
    subtract_mean
        Whether the mean of each cloud is subtracted from its points first.

    Returns
    -------
    array
        [N, C]; [B, N, C] for a batch, a list of [N, C] for a list.

    Raises
    ------
    ValueError
        For shapes that do not fit together, or coordinates that are NaN, infinite or beyond 1e18 (1e150 in
        float64).
    TypeError
        For other dtypes, several of them, or arrays of several frameworks.
    medkernels.BackendError
        For arrays on a GPU where this build has no CUDA kernels, or of JAX, unless
        ``MEDKERNELS_CPU_FALLBACK=1`` allows a copy through the CPU.

    Notes
    -----
    Time and memory are O(N C), and O(R^3 C) more for the gradient. Places and sums are in float64, and
    gradients of a cell are summed in the order of the points, so results are the same for any number of
    threads; on a GPU gradients are summed in float64, in another order.

    Derivatives are passed to the grid and to the points, the latter through the mean as well, in PyTorch
    (autograd, ``torch.compile``, ``vmap``) and JAX (``jit``, ``grad``, ``vmap``); second ones are not. A
    point that is held at the border has a derivative of 0 along that axis, and one right between two cells'
    pieces has that of the upper one.

    Z. Liu et al., "Point-Voxel CNN for Efficient 3D Deep Learning" (2019).

    Examples
    --------
    >>> import numpy as np
    >>> import medkernels as mk
    >>> grid = np.arange(8.0).reshape(1, 2, 2, 2)
    >>> mk.points.devoxelize(grid, np.array([[0.0, -1.0, -1.0], [-1.0, -1.0, -0.5]]), subtract_mean=False)
    array([[4. ],
           [0.5]])
    """
    check_subtract_mean(subtract_mean)
    flat = flatten("devoxelize", {"points": Argument(points, "N 3"), "grid": Argument(grid, "C R R R")})
    if 0 in flat.arrays["grid"].shape[2:]:
        raise ValueError(f"grid must not be empty, but has shape {list(flat.arrays['grid'].shape)}")
    features = _grids.run(_grids.DEVOXELIZE, flat, (bool(subtract_mean),))
    if flat.batch:
        return flat.restore(features.reshape(len(flat.counts), -1, features.shape[1]))
    if not flat.many:
        return flat.restore(features)
    parts, first = [], 0
    for count in flat.counts:
        parts.append(flat.restore(features[first : first + count]))
        first += count
    return parts

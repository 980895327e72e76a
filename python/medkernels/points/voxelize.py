"""Features of points as means in the cells of a grid."""

from __future__ import annotations

from typing import Any

import numpy as np

from medkernels import _checks
from medkernels.points import _grids
from medkernels.points._flat import Argument, flatten


def voxelize(points: Any, features: Any, *, resolution: int, subtract_mean: bool = True) -> Any:
    """Average the features of the points in each cell of a cubic grid; differentiable in the features.

    With R = `resolution`, a coordinate x, after the mean of the cloud is subtracted, lies in cell
    round(clamp((x + 1) / 2 R, 0, R - 1)), of two equally near cells in the even one: the grid spans [-1, 1],
    and points beyond it are in the cells at its border.

    Parameters
    ----------
    points
        A cloud [N, 3] of float32 or float64, a batch [B, N, 3], or a list of clouds that may differ in size.
    features
        [N, C], [B, N, C] or a list, as `points` and of their dtype; all of one C.
    resolution
        Number of cells along each edge, at least 1.
    subtract_mean
        Whether the mean of each cloud is subtracted from its points first.

    Returns
    -------
    array
        [C, R, R, R], along x, y and z: the mean of the features of the points in a cell, 0 in empty cells.
        [B, C, R, R, R] for a batch or a list.

    Raises
    ------
    ValueError
        For shapes that do not fit together, a `resolution` out of range, coordinates that are NaN, infinite
        or beyond 1e18 (1e150 in float64), or a grid that does not fit in memory.
    TypeError
        For other dtypes, several of them, or arrays of several frameworks.
    medkernels.BackendError
        For arrays on a GPU where this build has no CUDA kernels, or of JAX, unless
        ``MEDKERNELS_CPU_FALLBACK=1`` allows a copy through the CPU.

    Notes
    -----
    Time and memory are O(N C + R^3 C). Cells are computed in float64, and summed in the order of the points,
    so results are the same for any number of threads. A GPU sums the mean, and cells of more than 1024
    points, in another order. Each point gets the gradient of its cell divided by the number of points in it;
    the coordinates get none, in PyTorch (autograd, ``torch.compile``, ``vmap``) and JAX (``jit``, ``grad``,
    ``vmap``).

    Z. Liu et al., "Point-Voxel CNN for Efficient 3D Deep Learning" (2019). `devoxelize` is the way back.

    Examples
    --------
    >>> import numpy as np
    >>> import medkernels as mk
    >>> points = np.array([[-0.9, -0.9, -0.9], [-0.8, -1.0, -0.9], [0.6, -0.2, 0.9]])
    >>> grid = mk.points.voxelize(
    ...     points, np.array([[1.0], [2.0], [5.0]]), resolution=2, subtract_mean=False)
    >>> grid[0, 0, 0, 0], grid[0, 1, 1, 1]
    (np.float64(1.5), np.float64(5.0))
    """
    count = _checks.check_count("resolution", resolution)
    check_subtract_mean(subtract_mean)
    flat = flatten("voxelize", {"points": Argument(points, "N 3"), "features": Argument(features, "N C")})
    grids = _grids.run(_grids.VOXELIZE, flat, (count, bool(subtract_mean)))
    return flat.restore(grids if flat.many else grids[0])


def check_subtract_mean(value: Any) -> None:
    """Raise TypeError unless this is True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"subtract_mean must be True or False, not {value!r}")

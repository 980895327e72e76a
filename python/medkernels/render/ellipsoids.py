"""Soft ellipsoids over a background."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from medkernels.render._dispatch import ELLIPSOIDS, check_look, render


def ellipsoids(
    centers: Any,
    axes: Any,
    rotations: Any,
    colors: Any,
    background: Any,
    size: Sequence[int],
    *,
    composition: str = "union",
    profile: str = "sigmoid",
    tau: float = 0.15,
    opacity: Any = 0.995,
) -> Any:
    """Draw soft ellipsoids over a background; differentiable in every array.

    :func:`medkernels.render.ellipses` in three dimensions. Voxel (slice i, row j, column k) is the point
    (x=k, y=j, z=i).

    Parameters
    ----------
    centers
        [B, K, 3], voxels, (x, y, z). Anywhere, also off the canvas.
    axes
        [B, K, 3], voxels: semi-axes along the ellipsoid's own axes, from 1e-30 to 1e30.
    rotations
        [B, K, 4]: quaternions (w, x, y, z) that turn the coordinate axes into the ellipsoid's own axes. Any
        non-zero length; they are normalised, and gradients go through the normalisation.
    colors
        [B, K, C], any number of channels, any range.
    background
        [B, C] (one colour a volume) or [B, C, D, H, W].
    size
        (D, H, W) of the volumes.
    composition, profile, tau, opacity
        As for :func:`medkernels.render.ellipses`.

    Returns
    -------
    array
        [B, C, D, H, W] of the kind, dtype and device of `centers`.

    Raises
    ------
    ValueError, TypeError, medkernels.BackendError
        As for :func:`medkernels.render.ellipses`, and ValueError for quaternions of length zero.

    Notes
    -----
    Cost is proportional to the voxels inside the cut-offs; memory is O(B D H W C + B K). Results do not
    depend on the number of threads. "Autoassociative Learning of Structural Representations for Modeling and
    Classification in Medical Imaging" (arXiv 2411.12070) names volumes as future work; this is the direct
    extension of its ellipses.

    Examples
    --------
    >>> import numpy as np
    >>> import medkernels as mk
    >>> volume = mk.render.ellipsoids(
    ...     centers=np.array([[[8.0, 8.0, 6.0]]]), axes=np.array([[[5.0, 3.0, 2.0]]]),
    ...     rotations=np.array([[[1.0, 0.0, 0.0, 0.0]]]), colors=np.array([[[1.0]]]),
    ...     background=np.zeros((1, 1)), size=(12, 16, 16))
    >>> volume.shape
    (1, 1, 12, 16, 16)
    """
    arrays = {
        "centers": centers,
        "axes": axes,
        "rotations": rotations,
        "colors": colors,
        "opacity": opacity,
        "background": background,
    }
    return render(ELLIPSOIDS, arrays, size, check_look(composition, profile, tau))

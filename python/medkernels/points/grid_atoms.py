"""Atoms as densities in a grid."""

from __future__ import annotations

import math
from typing import Any

from medkernels import _checks
from medkernels.points import _grids
from medkernels.points._flat import Argument, Flat, flatten

DENSITIES = ("gaussian", "binary")
#: Within these, constants of the density are normal numbers in float32.
MULTIPLES = (0.01, 6.0)


def grid_atoms(
    coords: Any,
    channels: Any,
    radii: Any,
    *,
    center: Any,
    side: float,
    resolution: float,
    n_channels: int | None = None,
    density: str = "gaussian",
    gaussian_radius_multiple: float = 1.0,
) -> Any:
    """Draw atoms into a cubic grid, those of each type into a channel of their own; differentiable.

    The grid has n = round(side / resolution) + 1 points along each edge. Point (i, j, k) lies at center -
    side / 2 + resolution (i, j, k), along x, y and z. It holds the sum of the densities of the atoms of its
    channel, where an atom of radius r at distance d has, with u = d / r, G = `gaussian_radius_multiple` and F
    = (1 + 2 G^2) / (2 G):

        exp(-2 u^2)                      where u <= G
        4 G^2 exp(-2 G^2) (F - u)^2      where G < u < F
        0                                beyond

    Parameters
    ----------
    coords
        Places of atoms, [N, 3] of float32 or float64, a batch [B, N, 3], or a list of arrays that may differ
        in N; in any unit of length, as `radii`, `center`, `side` and `resolution`. They may lie off the grid.
    channels
        Integers [N], [B, N] or a list, as `coords`: the channel of each atom. Atoms of channel -1 are left
        out, which pads a batch.
    radii
        [N], [B, N], a list, or one number for all: from 1e-18 to 1e18.
    center
        The middle of the grid: [3], or [B, 3] for a batch or list.
    side
        Length of the edges of the cube, at least 0.
    resolution
        Distance of grid points, greater than 0.
    n_channels
        Number of channels. By default one more than the largest of `channels`, at least 1, which has to be
        given where the values are not known: under ``torch.compile``, ``torch.func.vmap`` and ``jax.jit``.
    density
        ``"gaussian"`` as above, or ``"binary"``: 1 where the distance to any atom is less than its radius,
        else 0; without derivatives.
    gaussian_radius_multiple
        G, from 0.01 to 6.

    Returns
    -------
    array
        [n_channels, n, n, n] of the dtype of `coords`; [B, n_channels, n, n, n] for a batch or a list.

    Raises
    ------
    ValueError
        For shapes that do not fit together, options or channels out of range, coordinates that are NaN,
        infinite or beyond 1e18 (1e150 in float64), or a grid that does not fit in memory.
    TypeError
        For other dtypes, several of them, or arrays of several frameworks.
    medkernels.BackendError
        For arrays on a GPU where this build has no CUDA kernels, or of JAX, unless
        ``MEDKERNELS_CPU_FALLBACK=1`` allows a copy through the CPU.

    Notes
    -----
    Time is proportional to the grid points and to those within F radii of an atom; memory beside the result
    is O(N). A grid point is summed in the order of the atoms, so results are the same for any number of
    threads and any instruction set, and on a GPU but for rounding.

    Derivatives are passed to `coords`, `radii` and `center`, in PyTorch (autograd, ``torch.compile``,
    ``vmap``) and JAX (``jit``, ``grad``, ``vmap``); second ones are not. The density has a continuous slope
    everywhere, 0 at the centre of an atom.

    J. Sunseri and D. R. Koes, "libmolgrid: Graphics Processing Unit Accelerated Molecular Gridding for Deep
    Learning Applications" (2020), whose option `gaussian_radius_multiple` is, and whose grids these are.

    Examples
    --------
    >>> import numpy as np
    >>> import medkernels as mk
    >>> carbon, oxygen = [0.0, 0.0, 0.0], [1.5, 0.0, 0.0]
    >>> grid = mk.points.grid_atoms(
    ...     np.array([carbon, oxygen]), [0, 1], [1.9, 1.7], center=[0, 0, 0], side=4, resolution=0.5)
    >>> grid.shape
    (2, 9, 9, 9)
    >>> grid[:, 4:8, 4, 4].round(3)
    array([[1.   , 0.871, 0.575, 0.287],
           [0.211, 0.501, 0.841, 1.   ]])
    """
    _checks.check_choice("density", density, DENSITIES)
    length = _checks.check_number("side", side)
    step = _checks.check_number("resolution", resolution, positive=True)
    multiple = _checks.check_number("gaussian_radius_multiple", gaussian_radius_multiple, MULTIPLES[0])
    if multiple > MULTIPLES[1]:
        raise ValueError(f"gaussian_radius_multiple must be at most {MULTIPLES[1]:g}, not {multiple}")
    points = _grid_points(length, step)
    flat = flatten(
        "grid_atoms",
        {
            "coords": Argument(coords, "N 3"),
            "channels": Argument(channels, "N", integer=True),
            "radii": Argument(radii, "N", broadcast=True),
            "center": Argument(center, "3", broadcast=True),
        },
    )
    count = _channel_count(n_channels, flat)
    binary = density == "binary"
    grids = _grids.run(_grids.GRID_ATOMS, flat, (count, points, length, step, multiple, binary))
    if binary:
        grids = _constant(flat.framework, grids)
    return flat.restore(grids if flat.many else grids[0])


def _grid_points(side: float, resolution: float) -> int:
    steps = side / resolution
    if not math.isfinite(steps) or steps + 1.5 > _checks.MAX_INDEX:
        raise ValueError(
            f"side / resolution must be less than {_checks.MAX_INDEX}, not {side:g} / {resolution:g}"
        )
    return math.floor(steps + 0.5) + 1


def _channel_count(n_channels: int | None, flat: Flat) -> int:
    if n_channels is not None:
        return _checks.check_count("n_channels", n_channels)
    channels = flat.arrays["channels"]
    if _is_traced(flat.framework, channels):
        raise ValueError("n_channels must be given where the call is traced: it depends on the channels")
    return max(0, int(channels.max())) + 1 if 0 not in channels.shape else 1


def _constant(framework: str, grids: Any) -> Any:
    """Without derivatives."""
    if framework == "torch":
        return grids.detach()
    if framework == "jax":
        import jax

        return jax.lax.stop_gradient(grids)
    return grids


def _is_traced(framework: str, channels: Any) -> bool:
    if framework == "torch":
        import torch

        return torch.compiler.is_compiling() or torch._C._functorch.is_batchedtensor(channels)
    if framework == "jax":
        import jax

        return isinstance(channels, jax.core.Tracer)
    return False

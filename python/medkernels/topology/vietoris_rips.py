"""Persistent homology of Vietoris-Rips filtrations."""

from __future__ import annotations

from typing import Any

import numpy as np

from medkernels import _interop
from medkernels.topology._items import Items, split
from medkernels.topology._rips import Diagram, Options, check_items, check_options, diagrams_of_numpy


def vietoris_rips(
    points: Any = None,
    *,
    distances: Any = None,
    max_dim: int = 1,
    threshold: float | None = None,
    metric: str = "euclidean",
    return_generators: bool = False,
) -> Any:
    """Compute persistence diagrams of clouds of points or of distances; differentiable.

    At scale t the Vietoris-Rips complex of a cloud holds every set of points that are pairwise within t of
    each other. A bar (birth, death) of dimension k is a k-dimensional hole of it (0: a component, 1: a loop,
    2: a cavity), with coefficients in Z/2. Bars of length zero are left out, so the diagrams equal Ripser's.

    Parameters
    ----------
    points
        One cloud [P, D], a batch [B, P, D], or a list of B clouds, which may differ in size.
    distances
        Instead of points: a symmetric matrix [P, P] of distances with a diagonal of zeros, a batch
        [B, P, P], or a list. Infinity stands for points that are never joined. The triangle inequality is
        not needed. A sparse matrix of SciPy holds the finite distances, each pair once or twice; entries it
        does not store are infinite, stored zeros are zero.
    max_dim
        Greatest dimension of the holes, 0 to 3.
    threshold
        Greatest scale, in the unit of the points: bars that are born later are left out, and those that
        would die later are infinite. By default there is none.
    metric
        Of points: ``"euclidean"``, ``"manhattan"`` or ``"chebyshev"``.
    return_generators
        Return the edges too whose lengths are births and deaths.

    Returns
    -------
    diagrams
        For one cloud a list of max_dim + 1 diagrams [n, 2], one for each dimension, of births and deaths in
        the unit, dtype and kind of the input, sorted by birth, then death. Bars that never die have death
        infinity. An empty cloud has empty diagrams. For a batch or list, a list with one such list an item.
    generators
        Only with `return_generators`: integers [n, 4] in the same lists. A row i, j, k, l says that the bar
        is born with edge (i, j) and dies with edge (k, l). Components are born as a point, i = j. Bars that
        never die have k = l = -1.

    Raises
    ------
    ValueError
        For shapes other than these, NaN, infinite points, negative or asymmetric distances, an unknown
        metric, options out of range, or clouds too large for memory.
    TypeError
        For dtypes other than float32 and float64, arrays of several kinds, or, inside ``jax.jit`` and
        ``jax.vmap``, because the number of bars depends on values.
    medkernels.BackendError
        For arrays on a GPU without CUDA kernels or device for them, unless ``MEDKERNELS_CPU_FALLBACK=1``
        allows a copy through the CPU.

    Notes
    -----
    The time of dimension 0 is O(P^2 log P). That of dimension k > 0 depends on the cloud and grows with the
    number of its simplices of dimension k + 1, at most O(P^(k + 2)). Memory is O(P^2) and what the reduction
    keeps. Results do not depend on the number of threads, which spread over the clouds of a batch.

    For arrays on a CUDA device, distances, their order and the edges that matter are found there, for all
    clouds of a batch at once, and the CPU reduces what is left; a cloud can have up to 65536 points. The
    result is that of the CPU bit for bit.

    Each birth and death is the length of one edge, so its derivative goes to the two points of that edge (to
    equal parts to the two entries of a distance matrix). Births of components, deaths that never come, and
    edges of length zero pass no derivative; where several edges are equally long the result is the
    derivative of one choice. Derivatives of all orders are available with torch's autograd and in JAX.
    ``torch.compile`` traces the call without a graph break.

    U. Bauer, "Ripser: efficient computation of Vietoris-Rips persistence barcodes" (2021); edge collapse:
    M. Glisse and S. Pritam, "Swap, shift and trim to edge collapse a filtration" (2022); derivatives:
    R. B. Gabrielsson et al., "A topology layer for machine learning" (2020).

    Examples
    --------
    >>> import numpy as np
    >>> import medkernels as mk
    >>> square = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    >>> components, loops = mk.topology.vietoris_rips(square)
    >>> components
    array([[ 0.,  1.],
           [ 0.,  1.],
           [ 0.,  1.],
           [ 0., inf]])
    >>> loops.round(3)
    array([[1.   , 1.414]])
    """
    if (points is None) == (distances is None):
        raise ValueError("vietoris_rips takes either points or distances")
    kind, shape = ("points", "P D") if distances is None else ("distances", "P P")
    options = check_options(kind, metric, max_dim, threshold)
    items = split(kind, points if distances is None else distances, shape, sparse=kind == "distances")
    check_items(items, kind)
    found = _diagrams(items, options) if items.arrays else []
    diagrams = [[intervals for intervals, _ in item] for item in found]
    if not return_generators:
        return diagrams if items.many else diagrams[0]
    generators = [[edges for _, edges in item] for item in found]
    return (diagrams, generators) if items.many else (diagrams[0], generators[0])


def _diagrams(items: Items, options: Options) -> list[list[Diagram]]:
    """Intervals and edges with the implementation for the framework and device of the items."""
    if items.framework == "torch":
        from medkernels.topology import _torch

        return _torch.diagrams(items, options)
    if items.framework == "jax":
        from medkernels.topology import _jax

        return _jax.diagrams(items, options)
    if items.framework == "cupy":
        from medkernels.topology import _cupy

        return _cupy.diagrams(items, options)
    restore = _interop.restorer(items.like)
    found = diagrams_of_numpy(items, options)
    return [[(restore(i), restore(e.astype(np.int64))) for i, e in item] for item in found]

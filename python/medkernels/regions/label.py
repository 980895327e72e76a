"""Connected components of masks."""

from __future__ import annotations

from typing import Any, NamedTuple

from medkernels import _core
from medkernels.regions import _cuda
from medkernels.regions._cuda import DeviceImages, device_images
from medkernels.regions._images import DIMENSIONS, Images, check_connectivity, check_room, read_masks

#: Bytes of an element in the result.
BYTES = 4


class Measures(NamedTuple):
    """Measures of n components, of which entry i belongs to label i + 1; d is 2 for pictures, 3 for volumes.

    Attributes
    ----------
    area
        [n], integers: elements.
    box
        [n, 2 d], integers: the least (z,) y, x of the elements and one more than their greatest.
    centroid
        [n, d], float64: the mean (z,) y, x.
    perimeter
        [n], integers: sides of pixels, or faces of voxels, that separate the component from everything else
        or from the outside of the picture.
    moments
        [n, d, d], float64: the second central moments over the area, a covariance matrix of the positions.
    """

    area: Any
    box: Any
    centroid: Any
    perimeter: Any
    moments: Any


def label(mask: Any, *, connectivity: int = 8, return_measures: bool = False) -> Any:
    """Number the connected components of masks, and measure them.

    Parameters
    ----------
    mask
        Booleans or integers, of which all but 0 are set: pictures [H, W] or [B, H, W] where `connectivity` is
        4 or 8, volumes [D, H, W] or [B, D, H, W] where it is 6, 18 or 26.
    connectivity
        Neighbours of an element: 4 (sides) or 8 (corners too); 6 (faces), 18 (edges too), 26 (corners too).
    return_measures
        Return measures of the components too.

    Returns
    -------
    labels : array
        int32, of the shape, kind and device of `mask`: 0 outside the mask, 1 to `count` inside. Components
        are numbered in the raster order of their first elements, for each item of a batch anew.
    count : int
        The number of components; for a batch a list.
    measures : Measures
        With `return_measures`: a named tuple of `area` [n], `box` [n, 2 d], `centroid` [n, d], `perimeter`
        [n] and `moments` [n, d, d], in elements, arrays of the kind of `mask`; for a batch a list of them.

    Raises
    ------
    ValueError
        For another shape or connectivity, or 2^31 elements or more in one item.
    TypeError
        If `mask` is no array of booleans or integers.
    medkernels.BackendError
        For arrays on a device without a kernel in this build (torch tensors and CuPy arrays on a CUDA device
        have one), unless ``MEDKERNELS_CPU_FALLBACK=1`` allows a copy through the CPU.

    Notes
    -----
    O(N) for N elements: runs of elements are joined by union-find, strips of rows in parallel. Memory beside
    the results is a bit for each element and up to 8 bytes for each run; to measure, up to 130 bytes more for
    each run. Sums are exact. Results do not depend on the number of threads.

    On CUDA devices the runs within words of 32 elements are joined by all threads at once; labels, counts and
    measures are those of the CPU.

    The perimeter counts sides: that of a square of side a is 4 a, that of a disc of radius r is close to 8 r.

    L. He, Y. Chao and K. Suzuki, "A run-based two-scan labeling algorithm" (2008); F. Lemaitre, A. Hennequin
    and L. Lacassagne, "How to speed connected component labeling up with SIMD RLE algorithms" (2020); on CUDA
    devices: A. Hennequin, L. Lacassagne, L. Cabaret and Q. Meunier, "A new direct connected component
    labeling and analysis algorithm for GPUs" (2018).

    Examples
    --------
    >>> import numpy as np
    >>> import medkernels as mk
    >>> mask = np.array([[1, 1, 0, 1], [0, 0, 1, 0], [1, 0, 0, 0]])
    >>> labels, count, measures = mk.regions.label(mask, connectivity=4, return_measures=True)
    >>> labels
    array([[1, 1, 0, 2],
           [0, 0, 3, 0],
           [4, 0, 0, 0]], dtype=int32)
    >>> count
    4
    >>> measures.area, measures.centroid[0]
    (array([2, 1, 1, 1]), array([0. , 0.5]))
    >>> mk.regions.label(mask)[1]
    2
    """
    connectivity = check_connectivity(connectivity)
    on_device = device_images("mask", mask, DIMENSIONS[connectivity], "label")
    if on_device is not None:
        return _label_on_device(on_device, connectivity, bool(return_measures))
    images = read_masks("mask", mask, DIMENSIONS[connectivity], "label")
    check_room("mask", images, BYTES)
    labels, counts, measures = _core.regions.label(images.array, connectivity, bool(return_measures))
    found = (images.result(labels), images.items(counts.tolist()))
    return (*found, images.items(_named(images, measures))) if return_measures else found


def _label_on_device(images: DeviceImages, connectivity: int, measured: bool) -> Any:
    labels, counts, found = _cuda.label(images, connectivity, measured)
    count = counts if images.batched else counts[0]
    if not measured:
        return labels, count
    measures = [Measures(*item) for item in found]
    return labels, count, measures if images.batched else measures[0]


def _named(images: Images, measures: list[tuple[Any, ...]]) -> list[Measures]:
    return [Measures(*map(images.restore, item)) for item in measures]

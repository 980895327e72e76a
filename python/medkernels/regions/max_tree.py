"""Component trees."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from medkernels import _core, _device
from medkernels.regions import _cuda
from medkernels.regions._cuda import device_images
from medkernels.regions._images import DIMENSIONS, Images, check_connectivity, check_room, read_images

DTYPES = ("uint8", "uint16", "int16", "float32", "float64")
#: Bytes of an element in the result and on the way to it, with up to 0.5 components.
BYTES = 64


class MaxTree(NamedTuple):
    """The max-tree of an image, element by element; numbers of elements count in raster order.

    Attributes
    ----------
    parent
        Of a canonical element (one that stands for a component: the first in raster order of those at the
        lowest level in it) the canonical element of the next larger component; the root is its own parent.
        Of any other element the canonical one of its component.
    order
        The elements by value, and by number where values are equal, flat. Parents come before children.
    area
        The elements of the component that a canonical element stands for; 1 for others.
    """

    parent: Any
    order: Any
    area: Any


def max_tree(image: Any, *, connectivity: int = 8) -> Any:
    """Compute the max-tree: the connected components of all upper level sets, ordered by inclusion.

    Parameters
    ----------
    image
        uint8, uint16, int16, float32 or float64, in any unit: pictures [H, W] or [B, H, W] where
        `connectivity` is 4 or 8, volumes [D, H, W] or [B, D, H, W] where it is 6, 18 or 26.
    connectivity
        Neighbours of an element: 4 (sides) or 8 (corners too); 6 (faces), 18 (edges too), 26 (corners too).

    Returns
    -------
    MaxTree
        A named tuple of int32 arrays of the kind and device of `image`: `parent` and `area` of its shape, and
        `order`, flat: [N], or [B, N] for a batch. Numbers of elements count within an item. `parent` and
        `order` equal the ``parent`` and ``tree_traverser`` of ``skimage.morphology.max_tree``.

    Raises
    ------
    ValueError
        For another shape or connectivity, NaN, 2^31 elements or more in one item, or images too large for
        the memory that is free.
    TypeError
        For another dtype.
    medkernels.BackendError
        For arrays on a device without a kernel in this build (torch tensors and CuPy arrays on a CUDA device
        have one), unless ``MEDKERNELS_CPU_FALLBACK=1`` allows a copy through the CPU.

    Notes
    -----
    O(N) memory and, but for the inverse Ackermann function, O(N) time for N elements and any dtype. Images of
    at most 4096 different integers are flooded in parts, one a thread, which are then joined along their
    seams. In others elements are sorted and joined one by one by union-find; threads share the sorting and
    the comparison of neighbours. Results do not depend on the number of threads. The tree of ``-image`` (of
    ``255 - image`` for uint8) is the min-tree.

    On CUDA devices regions around the peaks of an image, of any dtype, join across their highest passes in at
    most log2(peaks) rounds; the tree is that of the CPU, and the work takes 24 bytes an element.

    P. Salembier, A. Oliveras and L. Garrido, "Antiextensive connected operators for image and sequence
    processing" (1998), where the flooding is from; joining parts: M. H. F. Wilkinson et al., "Concurrent
    computation of attribute filters on shared memory parallel machines" (2008); union-find: C. Berger et al.,
    "Effective component tree computation with application to pattern recognition in astronomical imaging"
    (2007); on CUDA devices: H. Carr et al., "Parallel peak pruning for scalable SMP contour tree computation"
    (2016).

    Examples
    --------
    Remove bright details of fewer than three pixels, an area opening:

    >>> import numpy as np
    >>> import medkernels as mk
    >>> image = np.array([[5, 1, 7], [5, 1, 2], [5, 1, 1]], dtype=np.uint8)
    >>> tree = mk.regions.max_tree(image, connectivity=4)
    >>> tree.parent
    array([[1, 1, 5],
           [0, 1, 1],
           [0, 1, 1]], dtype=int32)
    >>> opened, parent, area = image.ravel().copy(), tree.parent.ravel(), tree.area.ravel()
    >>> for p in tree.order:
    ...     if area[p] < 3 or image.flat[parent[p]] == image.flat[p]:
    ...         opened[p] = opened[parent[p]]
    >>> opened.reshape(3, 3)
    array([[5, 1, 1],
           [5, 1, 1],
           [5, 1, 1]], dtype=uint8)
    """
    connectivity = check_connectivity(connectivity)
    on_device = device_images("image", image, DIMENSIONS[connectivity], "max_tree")
    if on_device is not None:
        check_dtype(on_device.dtype)
        if on_device.dtype.startswith("float"):
            check_no_nan(_device.first_nan(on_device.array))
        return MaxTree(*_cuda.max_tree(on_device, connectivity))
    images = read_images("image", image, DIMENSIONS[connectivity], "max_tree")
    check_values(images)
    check_room("image", images, BYTES)
    parent, order, area = _core.regions.max_tree(images.array, connectivity)
    shape = (images.array.shape[0], int(np.prod(images.array.shape[1:])))
    flat = order.reshape(shape if images.batched else shape[1:])
    return MaxTree(images.result(parent), images.restore(flat), images.result(area))


def check_values(images: Images) -> None:
    """Check that there is a kernel for the dtype, and that values can be ordered."""
    dtype = images.array.dtype
    check_dtype(dtype.name)
    if dtype.kind == "f" and np.isnan(images.array).any():
        check_no_nan(tuple(np.argwhere(np.isnan(images.array.reshape(images.shape)))[0].tolist()))


def check_dtype(dtype: str) -> None:
    """Check that there is a kernel for a dtype, by NumPy's name."""
    if dtype not in DTYPES:
        raise TypeError(f"image must be {', '.join(DTYPES[:-1])} or {DTYPES[-1]}, not {dtype}")


def check_no_nan(place: tuple[int, ...] | None) -> None:
    """Refuse an image that holds NaN there."""
    if place is not None:
        raise ValueError(f"image must not hold NaN, but element {place} is")

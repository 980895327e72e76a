"""Blobs, the ellipses around them that deform with the image, and their descriptors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from medkernels import _backends, _checks, _core, _device, _interop
from medkernels._items import Items, Kind, common_kind, dtype_name, placed, split, to_numpy

#: Levels of an octave beyond these make neighbouring scales too alike to tell blobs from noise.
MOST_LEVELS = 16

#: Pixels of the image, so that those of its doubled version can be counted in 32 bits.
MOST_GREY = 1e15  # of a pixel, as in the core
MOST_PIXELS = _checks.MAX_INDEX // 4

DTYPES = ("uint8", "uint16", "float32", "float64")


class AffineFeatures(NamedTuple):
    """What `affine_covariant` finds.

    Parameters
    ----------
    frames
        [K, 2, 3]: the maps from the unit disc to an ellipse of the image, L p + t with L in the first two
        columns and t = (x, y) in the last.
    descriptors
        [K, 128], float32.
    responses
        [K]: differences of scales at the blobs, positive for dark blobs on light ground.
    """

    frames: Any
    descriptors: Any
    responses: Any


def affine_covariant(
    image: Any,
    *,
    peak_threshold: float = 0.01,
    edge_threshold: float = 10.0,
    levels: int = 3,
    doubled: bool = True,
    adapt: bool = True,
    orient: bool = False,
    max_features: int | None = None,
) -> Any:
    """Find blobs, fit an ellipse to each that deforms with the image, and describe what is in it.

    Seen from another side, a flat patch of tissue is deformed by an affine map. The frames of the two views
    are then related by that map, and their descriptors are alike, so `match` can pair them.

    Parameters
    ----------
    image
        Grey [H, W] or of three channels [H, W, 3], whose mean counts; at least 2 x 2 pixels. Or a batch [B,
        H, W] or [B, H, W, 3], or a list of images, which may differ in size. An array of three dimensions
        whose last one is 3 is one image of three channels. uint8 and uint16 are scaled to 0..1; float32 and
        float64 are taken as they are, and should span about as much.
    peak_threshold
        Least difference of scales at a blob, at least 0. The lower, the more features.
    edge_threshold
        Greatest ratio of the two curvatures at a blob, greater than 1: leaves out points along edges.
    levels
        Scales in an octave, 1 to 16.
    doubled
        Double the image first, to find the smallest blobs.
    adapt
        Fit ellipses; otherwise frames are circles.
    orient
        Turn frames along the direction in which many gradients point, up to four frames for each blob. By
        default the y-axis of each frame is vertical in the image: better where the camera does not roll.
    max_features
        Keep this many blobs of an image, those with the strongest response; by default all.

    Returns
    -------
    AffineFeatures
        A tuple (frames [K, 2, 3], descriptors [K, 128], responses [K]) of float32, by size of the response,
        strongest first. A frame L p + t maps the unit disc to the ellipse; its determinant is positive, (x,
        y) are in pixels with (0, 0) the centre of the first, and a circle has the radius sigma of the blob.
        Descriptors have length 1, and are 0 where the image is flat. Their layout is that of OpenCV's SIFT:
        4 x 4 places row by row, 8 directions in each. For a batch or list of images a list of such tuples.

    Raises
    ------
    ValueError
        For other shapes, values that are NaN, infinite or beyond 1e15, options out of range, or an image too
        large for memory.
    TypeError
        For other dtypes or what is no array.
    medkernels.BackendError
        For arrays on a GPU where this build has no CUDA kernels, or of JAX, unless
        ``MEDKERNELS_CPU_FALLBACK=1`` allows a copy through the CPU.

    Notes
    -----
    Time is O(H W) and, for each feature, that of up to 15 patches of 41 x 41 samples. Memory is about 150
    bytes a pixel when the image is doubled, else 40, for each image that is under way: as many as threads on
    the CPU, and on a GPU those of one size that follow each other and fit in its memory. Results do not
    depend on the number of threads, nor on the other images of a batch; between processors and GPUs they
    differ by rounding, which may decide about a blob at a threshold. No derivatives are passed on.

    Adaptation pays where the view changes much: for oriented frames from a foreshortening of about 1.5, for
    upright ones from about 2. Between nearly equal views circles match as well or better.

    Blobs are extrema of differences of Gaussians, refined by Newton's method (D. G. Lowe, "Distinctive
    image features from scale-invariant keypoints", 2004). An ellipse is adapted until the second moments of
    the gradient, in its own coordinates, are alike in all directions (T. Lindeberg and J. Garding,
    "Shape-adapted smoothing in estimation of 3-D shape cues", 1997; K. Mikolajczyk and C. Schmid, "Scale
    and affine invariant interest point detectors", 2004); its area stays that of the blob. Adaptation
    ends after 15 rounds, at a ratio of the moments below 1.001, or at the last ellipse with axes of a ratio
    up to 5. Patches are blurred alike in all directions of the ellipse, whatever its shape, which discs of
    a scale space are not; only an ellipse narrower than the blur of the first level keeps, along its minor
    axis, what that level has.

    Examples
    --------
    A blob that is twice as wide as high:

    >>> import numpy as np
    >>> import medkernels as mk
    >>> y, x = np.mgrid[:96, :96]
    >>> image = np.exp(-(((x - 50) / 12) ** 2 + ((y - 40) / 6) ** 2) / 2)
    >>> found = mk.features.affine_covariant(image, max_features=1)
    >>> L, t = found.frames[0, :, :2], found.frames[0, :, 2]
    >>> t.round().tolist()
    [50.0, 40.0]
    >>> round(float(L[0, 0] / L[1, 1]), 1)
    2.0
    """
    options = (
        _checks.check_count("levels", levels, 1, MOST_LEVELS),
        _flag("doubled", doubled),
        _checks.check_number("peak_threshold", peak_threshold),
        _checks.check_number("edge_threshold", edge_threshold),
        _flag("adapt", adapt),
        _flag("orient", orient),
        _checks.MAX_INDEX if max_features is None else _checks.check_count("max_features", max_features, 0),
    )
    if not edge_threshold > 1:
        raise ValueError(f"edge_threshold must be greater than 1, not {float(edge_threshold)}")
    images = split("affine_covariant", "image", image, _is_batch)
    kind = common_kind(images)
    for name, array in zip(images.names, images.arrays, strict=True):
        _check_image(name, array)
    if not images.arrays:
        return []
    if kind.on_gpu and (module := _backends.cuda_kernels("affine_covariant")) is not None:
        return _on_gpu(module, kind, images, options)
    views, restore = to_numpy("affine_covariant", kind, images.arrays)
    found = _on_cpu(images, views, options)
    results = [AffineFeatures(*(restore(part) for part in parts)) for parts in found]
    return results if images.many else results[0]


def _is_batch(shape: tuple[int, ...]) -> bool:
    return len(shape) == 4 or (len(shape) == 3 and shape[2] != 3)


def _check_image(name: str, image: Any) -> None:
    """Refuse dtypes and shapes that no image has."""
    shape = list(image.shape)
    if dtype_name(image) not in DTYPES:
        raise TypeError(f"{name} must be uint8, uint16, float32 or float64, not {dtype_name(image)}")
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] != 3):
        raise ValueError(f"{name} must have shape [H, W] or [H, W, 3], but has shape {shape}")
    if min(shape[:2]) < 2 or shape[0] * shape[1] > MOST_PIXELS:
        raise ValueError(f"{name} must have 2 x 2 to {MOST_PIXELS} pixels, but has shape {shape}")


def _on_gpu(module: ModuleType, kind: Kind, images: Items, options: tuple[Any, ...]) -> Any:
    from medkernels.features import _affine_cuda

    device = _device.device_of(kind.like)
    ready = images._replace(arrays=[_device.contiguous(each) for each in placed(kind, images.arrays)])

    def check_finite(name: str, array: Any) -> None:
        grey = _grey(device.to_host(array))
        bad = np.flatnonzero(~(np.abs(grey) <= MOST_GREY))
        if len(bad):
            value = grey.flat[bad[0]]
            raise ValueError(
                f"{name} must be finite and at most {MOST_GREY:g} in size, "
                f"but element {bad[0]} (in row-major order) is {value}"
            )

    found = [
        AffineFeatures(*parts) for parts in _affine_cuda.find(module, ready, options, device, check_finite)
    ]
    return found if images.many else found[0]


def _on_cpu(images: Items, views: Sequence[npt.NDArray[Any]], options: tuple[Any, ...]) -> Any:
    """Frames, descriptors and responses of each image."""
    levels, doubled = options[:2]
    height, width = max((view.shape[:2] for view in views), key=math.prod)
    # Of each octave levels + 3 blurred images and one to make them from; a third more for smaller octaves.
    planes = (4 if doubled else 1) * (levels + 4) * 4 / 3
    at_once = min(len(views), _backends.get_num_threads())
    needed = math.ceil(at_once * planes * height * width * np.dtype(np.float32).itemsize)
    many = f"{len(views)} images of up to " if images.many else ""
    _checks.check_memory(f"image of {many}{width} x {height} pixels", needed, _backends.available_memory())
    return _core.features.affine_covariant([_grey(view) for view in views], images.many, *options)


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, not {value!r}")
    return bool(value)


def _grey(image: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """The image as one channel of float32."""
    scale = 1 / np.iinfo(image.dtype).max if image.dtype.kind == "u" else 1.0
    values = image.sum(axis=2, dtype=np.float64) / 3 if image.ndim == 3 else image
    with np.errstate(over="ignore"):  # what float32 cannot hold is refused with the place where it is
        return _interop.kernel_array((values * scale).astype(np.float32), np.float32)

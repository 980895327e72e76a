"""The geometry of two views from pairs of points of which many are wrong: graph-cut RANSAC."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from medkernels import _checks
from medkernels.zoo.specular.inpainting import Bools

MODELS = ("fundamental", "homography")
#: Pairs that a model goes through exactly, and one more that speaks for it.
LEAST = {"fundamental": 8, "homography": 5}
THRESHOLD = 1.5  # px
CONFIDENCE = 0.999
ITERATIONS = 10_000
REFINEMENTS = 10  # inner samples of a local optimisation
FLAT = 1e-3  # points whose second singular value is below this share of the first lie on a line
GREATEST_SEED = 2**31 - 1

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A model of two views.

    Attributes
    ----------
    matrix : array [3,3] or None
        x2^T F x1 = 0 for a fundamental matrix, of Frobenius norm 1; x2 ~ H x1 for a homography, with a last
        entry of 1; x = (x, y, 1) in pixels. None where the pairs give no model.
    inliers : array [M] bool
        Pairs that agree with the model: none without one.
    message : str
        Why there is no model; empty if there is one.
    """

    matrix: Floats | None
    inliers: Bools
    message: str


def estimate(
    first: Any,
    second: Any,
    *,
    model: str = "fundamental",
    threshold: float = THRESHOLD,
    seed: int = 0,
) -> Estimate:
    """Fit a fundamental matrix or a homography to pairs of points, and tell which pairs agree with it.

    Parameters
    ----------
    first, second : [M,2]
        The points of each pair, (x, y) in pixels. Better pairs need not come first.
    model : {"fundamental", "homography"}
        A fundamental matrix holds for any rigid scene, but binds a point to a line only. A homography holds
        for flat scenes and for a camera that turns on the spot, and binds it to a point.
    threshold : float
        Largest distance of an inlier in pixels, above 0: Sampson's for a fundamental matrix, that of the
        mapped first point from the second one for a homography.
    seed : int
        Of the samples, 0 to 2^31 - 1. The result depends on it and on the pairs alone.

    Returns
    -------
    Estimate
        Without a model if there are fewer than 8 pairs (fundamental) or 5 (homography), if the points of a
        view lie on a line, or if no model is found that so many pairs agree with.

    Raises
    ------
    TypeError, ValueError
        For other shapes, points that are not finite, or options out of range.

    Notes
    -----
    OpenCV's USAC: uniform samples, MSAC scores, local optimisation by a graph cut over pairs that are near
    each other in a grid, and least squares at the end (D. Barath and J. Matas, "Graph-cut RANSAC", 2018). Up
    to 10,000 samples, until another would find a better model with a probability below 0.1 %.

    Examples
    --------
    >>> import numpy as np
    >>> first = np.random.default_rng(0).uniform(0, 200, (60, 2))
    >>> second = 1.1 * first + [5, -3]
    >>> second[:20] += 40
    >>> found = estimate(first, second, model="homography")
    >>> found.inliers[:20].any(), found.inliers[20:].all()
    (np.False_, np.True_)
    >>> np.allclose(found.matrix, [[1.1, 0, 5], [0, 1.1, -3], [0, 0, 1]], atol=1e-3)
    True
    """
    points = [_points(name, value) for name, value in (("first", first), ("second", second))]
    if len(points[0]) != len(points[1]):
        raise ValueError(
            f"first and second must have a row for each pair, not {len(points[0])} and {len(points[1])}"
        )
    check_options(model, threshold, seed)
    least, count = LEAST[model], len(points[0])
    if count < least:
        return _nothing(count, f"{count} pairs, fewer than the {least} that a {model} model needs")
    if any(_on_a_line(view) for view in points):
        return _nothing(count, "all points of a view lie on a line, which fits many models")
    params = cv2.UsacParams()
    params.sampler = cv2.SAMPLING_UNIFORM
    params.score = cv2.SCORE_METHOD_MSAC
    params.loMethod = cv2.LOCAL_OPTIM_GC
    params.loIterations = REFINEMENTS
    params.neighborsSearch = cv2.NEIGH_GRID
    params.final_polisher = cv2.LSQ_POLISHER
    params.confidence = CONFIDENCE
    params.maxIterations = ITERATIONS
    params.threshold = float(threshold)
    params.randomGeneratorState = int(seed)
    params.isParallel = False  # threads would take samples in the order in which they come
    find: Any = cv2.findFundamentalMat if model == "fundamental" else cv2.findHomography
    try:
        matrix, marked = find(*points, params)
    except cv2.error as error:
        return _nothing(count, f"OpenCV finds no model ({' '.join(str(error.err).split())})")
    if matrix is None or marked is None or np.shape(matrix) != (3, 3) or not np.isfinite(matrix).all():
        return _nothing(count, f"no {model} model fits")
    inliers = np.asarray(marked).reshape(-1) > 0
    if inliers.sum() < least:
        return _nothing(count, f"no {model} model fits {least} pairs or more")
    scale = matrix[2, 2] if model == "homography" else np.linalg.norm(matrix)
    if scale == 0:
        return _nothing(count, f"no {model} model fits: it maps the corner (0, 0) to infinity")
    return Estimate(np.asarray(matrix / scale, np.float64), inliers, "")


def check_options(model: Any, threshold: Any, seed: Any) -> None:
    """Raise TypeError or ValueError unless `estimate` can take these."""
    _checks.check_choice("model", model, MODELS)
    if not np.isfinite(_checks.check_number("threshold", threshold, positive=True)):
        raise ValueError("threshold must be finite")
    _checks.check_count("seed", seed, 0, GREATEST_SEED)


def distances(matrix: Floats, first: Floats, second: Floats, model: str) -> Floats:
    """How far pairs of points are from a model, in pixels: what `estimate` holds against its threshold.

    Parameters
    ----------
    matrix : [3,3]
    first, second : [M,2]
    model : {"fundamental", "homography"}

    Returns
    -------
    array [M]
        |x2^T F x1| over the length of its gradient (Sampson), or |H x1 - x2|; infinite where H maps a point
        to infinity.
    """
    x1, x2 = (np.column_stack([points, np.ones(len(points))]) for points in (first, second))
    if model == "homography":
        return np.asarray(np.hypot(*(project(matrix, first) - second).T))
    lines, back = x1 @ matrix.T, x2 @ matrix
    steep = np.hypot(np.hypot(*lines.T[:2]), np.hypot(*back.T[:2]))
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.abs((x2 * lines).sum(axis=1)) / steep
    return np.asarray(np.nan_to_num(found, nan=0.0, posinf=np.inf))


def project(matrix: Floats, points: Any) -> Floats:
    """Points [M,2] mapped by a homography; infinite where they go to infinity."""
    mapped = np.column_stack([points, np.ones(len(points))]) @ matrix.T
    with np.errstate(divide="ignore", invalid="ignore"):
        found = mapped[:, :2] / mapped[:, 2:]
    return np.where(mapped[:, 2:] == 0, np.inf, found)


def _points(name: str, value: Any) -> Floats:
    array = np.asarray(value)
    if array.ndim != 2 or array.shape[1] != 2:
        raise ValueError(f"{name} must have shape [M, 2], but has shape {list(array.shape)}")
    if not np.issubdtype(array.dtype, np.number) or np.issubdtype(array.dtype, np.complexfloating):
        raise TypeError(f"{name} must hold real numbers, not {array.dtype}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite")
    return np.ascontiguousarray(array, np.float64)


def _on_a_line(points: Floats) -> bool:
    spread = np.linalg.svd(points - points.mean(axis=0), compute_uv=False)
    return bool(spread[1] <= FLAT * spread[0])


def _nothing(count: int, message: str) -> Estimate:
    return Estimate(None, np.zeros(count, bool), message)

"""Two frames matched: features, pairs of them that are alike, and the geometry that the right pairs share."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from medkernels import _checks
from medkernels.features import affine_covariant, match
from medkernels.zoo.specular.estimation import THRESHOLD, check_options, estimate
from medkernels.zoo.specular.inpainting import Bools, Pixels, check_picture

FEATURES = ("affine", "circles", "sift", "orb")
RATIO = 0.91
PEAK = 0.002  # a fifth of the usual least contrast: tissue is faint, and the paper has 4,900 features a frame
MOST_FEATURES = 5000
LEVELS = 3  # scales in an octave of SIFT; OpenCV divides its contrast threshold by their number
FAST_THRESHOLD = 5  # grey levels, of ORB's corners; its usual 20 are more than faint tissue has
LEAST_SIDE = 12  # px: smaller frames hold no blob with a patch around it

Frames = npt.NDArray[np.float32]
Clean = Callable[[Pixels], Pixels]

_NO_FRAMES: Frames = np.zeros((0, 2, 3), np.float32)


@dataclass(frozen=True)
class MatchSettings:
    """How frames are matched.

    Attributes
    ----------
    features : {"affine", "circles", "sift", "orb"}
        Affine-covariant features; the same blobs without affine adaptation; SIFT and ORB of OpenCV.
    model : {"fundamental", "homography"}
        What the right pairs have in common; see `medkernels.zoo.specular.estimation.estimate`.
    ratio : float
        Greatest distance of a pair, as a share of that to the second nearest descriptor; in (0, 1].
    mutual : bool
        Keep only pairs that are the nearest to each other.
    peak_threshold : float
        Least contrast of a blob in [0, 1] of the grey scale; not of ORB. The lower, the more features.
    max_features : int
        Most features of a frame, those that stand out most.
    orient : bool
        Turn affine-covariant frames along the gradients in them. Otherwise they are upright, for cameras that
        do not roll; affine adaptation leaves their turn open where the view tilts obliquely. SIFT and ORB
        always turn theirs.
    threshold : float
        Largest distance of an inlier from the model, in pixels.
    seed : int
        Of the samples from which the model is estimated.

    Raises
    ------
    TypeError, ValueError
        If an option has the wrong type or is out of range; the message names it.
    """

    features: str = "affine"
    model: str = "fundamental"
    ratio: float = RATIO
    mutual: bool = False
    peak_threshold: float = PEAK
    max_features: int = MOST_FEATURES
    orient: bool = True
    threshold: float = THRESHOLD
    seed: int = 0

    def __post_init__(self) -> None:
        _checks.check_choice("features", self.features, FEATURES)
        check_options(self.model, self.threshold, self.seed)
        if _checks.check_number("ratio", self.ratio, positive=True) > 1:
            raise ValueError(f"ratio must be at most 1, not {self.ratio}")
        if not np.isfinite(_checks.check_number("peak_threshold", self.peak_threshold)):
            raise ValueError("peak_threshold must be finite")
        _checks.check_count("max_features", self.max_features)
        for name in ("mutual", "orient"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name} must be True or False, not {getattr(self, name)!r}")


@dataclass(frozen=True)
class PairMatches:
    """What is alike in two frames.

    Attributes
    ----------
    frames_first, frames_second : array [K,2,3] float32
        Features, as maps L p + t from the unit disc to an ellipse; (x, y) in pixels.
    pairs : array [M,2] int
        Rows of both that passed the ratio test.
    inliers : array [M] bool
        Pairs that agree with the model.
    model : str
        "fundamental" or "homography".
    matrix : array [3,3] or None
        The model, as `medkernels.zoo.specular.estimation.Estimate` has it; None if there is none.
    message : str
        Why there is no model; empty if there is one.
    seconds : dict
        By step: "cleaning", "features", "matching", "estimation".
    """

    frames_first: Frames
    frames_second: Frames
    pairs: npt.NDArray[np.int64]
    inliers: Bools
    model: str
    matrix: npt.NDArray[np.float64] | None
    message: str
    seconds: dict[str, float]

    @property
    def counts(self) -> dict[str, int]:
        """Features of both frames, pairs, and inliers."""
        return {
            "features_first": len(self.frames_first),
            "features_second": len(self.frames_second),
            "pairs": len(self.pairs),
            "inliers": int(self.inliers.sum()),
        }

    def points(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """The centres (x, y) of both features of each pair, [M,2] each."""
        first = self.frames_first[self.pairs[:, 0], :, 2]
        second = self.frames_second[self.pairs[:, 1], :, 2]
        return first.astype(np.float64), second.astype(np.float64)


def match_frames(
    first: Any,
    second: Any,
    *,
    settings: MatchSettings | None = None,
    clean: Clean | None = None,
) -> PairMatches:
    """Match two frames: clean them, find features, pair these, and keep the pairs that agree with one model.

    Parameters
    ----------
    first, second : [H,W,3] uint8
        Frames; their sizes may differ.
    settings : MatchSettings, optional
    clean : callable, optional
        Takes a frame and returns it without highlights, of the same size; by default frames are matched as
        they are.

    Returns
    -------
    PairMatches
        Frames without features, or without enough pairs, have no inliers and no model.

    Raises
    ------
    TypeError, ValueError
        If a frame is none.

    Notes
    -----
    The ratio test is on Euclidean distances; on Hamming distances for ORB.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.ndimage import gaussian_filter
    >>> scene = gaussian_filter(np.random.default_rng(0).normal(size=(120, 170)), 2)
    >>> scene = np.uint8(128 + 400 * scene)[..., None].repeat(3, axis=2)
    >>> found = match_frames(scene[:, :150], scene[:, 20:], settings=MatchSettings(model="homography"))
    >>> np.allclose(found.matrix, [[1, 0, -20], [0, 1, 0], [0, 0, 1]], atol=0.05)
    True
    """
    chosen = settings or MatchSettings()
    steps = {"start": time.perf_counter()}
    pictures = [_picture(name, rgb) for name, rgb in (("first", first), ("second", second))]
    if clean is not None:
        pictures = [_picture("what clean returns", clean(rgb)) for rgb in pictures]
    steps["cleaning"] = time.perf_counter()
    (frames_first, d1), (frames_second, d2) = (describe(rgb, chosen) for rgb in pictures)
    steps["features"] = time.perf_counter()
    # Squared Euclidean distances of bits are Hamming distances.
    ratio = float(np.sqrt(chosen.ratio)) if chosen.features == "orb" else chosen.ratio
    pairs, _ = match(d1, d2, ratio=ratio, mutual=chosen.mutual)
    steps["matching"] = time.perf_counter()
    ends = frames_first[pairs[:, 0], :, 2], frames_second[pairs[:, 1], :, 2]
    found = estimate(*ends, model=chosen.model, threshold=chosen.threshold, seed=chosen.seed)
    steps["estimation"] = time.perf_counter()
    seconds = {name: steps[name] - steps[before] for before, name in itertools.pairwise(steps)}
    return PairMatches(
        frames_first, frames_second, pairs, found.inliers, chosen.model, found.matrix, found.message, seconds
    )


def describe(rgb: Pixels, settings: MatchSettings) -> tuple[Frames, npt.NDArray[Any]]:
    """Features [K,2,3] of a frame and their descriptors: float32 [K,128], of ORB bits as uint8 [K,256]."""
    most, large_enough = settings.max_features, min(rgb.shape[:2]) >= LEAST_SIDE
    if settings.features in ("affine", "circles"):
        if not large_enough:
            return _NO_FRAMES, np.zeros((0, 128), np.float32)
        found = affine_covariant(
            rgb,
            peak_threshold=settings.peak_threshold,
            adapt=settings.features == "affine",
            orient=settings.orient,
            max_features=most,
        )
        # A blob has a frame for each of its directions; the strongest blobs come first.
        return found.frames[:most], found.descriptors[:most]
    bits = settings.features == "orb"
    detector: Any
    if bits:
        detector = cv2.ORB.create(nfeatures=most, fastThreshold=FAST_THRESHOLD)
    else:
        contrast = settings.peak_threshold * LEVELS
        detector = cv2.SIFT.create(nfeatures=most, nOctaveLayers=LEVELS, contrastThreshold=contrast)
    keypoints: Any = ()
    if large_enough:
        keypoints, rows = detector.detectAndCompute(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), None)
    if len(keypoints) == 0:
        return _NO_FRAMES, np.zeros((0, 256), np.uint8) if bits else np.zeros((0, 128), np.float32)
    return _circles(keypoints[:most]), (np.unpackbits(rows, axis=1) if bits else rows)[:most]


def _circles(keypoints: Any) -> Frames:
    """OpenCV's key points as frames: a circle of half their diameter, turned by their angle."""
    places = np.array([point.pt for point in keypoints])
    sizes = np.array([point.size for point in keypoints]) / 2
    turns = np.deg2rad([point.angle for point in keypoints])
    frames = np.empty((len(keypoints), 2, 3), np.float32)
    frames[:, 0, 0] = frames[:, 1, 1] = sizes * np.cos(turns)
    frames[:, 1, 0] = sizes * np.sin(turns)
    frames[:, 0, 1] = -frames[:, 1, 0]
    frames[:, :, 2] = places
    return frames


def _picture(name: str, rgb: Any) -> Pixels:
    try:
        return check_picture(rgb)
    except (TypeError, ValueError) as error:
        raise type(error)(str(error).replace("rgb", name, 1)) from None

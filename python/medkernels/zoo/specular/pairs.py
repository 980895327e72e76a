"""Pairs of frames with a known warp between them, and how much of what was matched is right."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from medkernels import _checks
from medkernels.zoo.specular.estimation import Floats, project
from medkernels.zoo.specular.inpainting import Pixels
from medkernels.zoo.specular.matching import PairMatches
from medkernels.zoo.specular.standin import SIZE, draw_count, draw_speculars, draw_tissue, expose

ANISOTROPY = 1.5  # of the warp: what lies across the tilt is so much longer than what lies along it
ROLL = 10.0  # degrees, the most that the camera turns about its axis
SHIFT = 6.0  # px, the most that the middle of the frame moves along x and y
PERSPECTIVE = 5e-4  # most of each entry of the last row of the warp, 1/px
NEAR = 3.0  # px within which a pair agrees with the true warp
PERIOD = 100  # frames in which the camera of a video comes back to about where it was
ZOOM, NEARER = 1.5, 0.06  # its mean magnification of the picture, and the change of that, as a share
SWAY = 0.07  # how far it pans to each side, as a share of the frame
TURN, TILT = 3.0, 0.08  # degrees that it rolls; how much larger one rim of the frame is seen than the middle
CANVAS = 2  # the tissue is so many times as large as a frame, so that the warped frame has no empty rim


class SyntheticPair(NamedTuple):
    """Two frames [H,W,3] uint8, and the homography [3,3] that maps (x, y, 1) of the first to the second."""

    first: Pixels
    second: Pixels
    homography: Floats


def synthetic_pair(
    rng: np.random.Generator, *, size: tuple[int, int] = SIZE, anisotropy: float = ANISOTROPY
) -> SyntheticPair:
    """Tissue seen from two sides, with other highlights in each frame.

    Parameters
    ----------
    rng : numpy.random.Generator
    size : (height, width)
    anisotropy : float
        Ratio of the singular values of the warp in the middle of the frame, at least 1; its determinant is 1.
        The direction is random, and so are a turn, a shift and a perspective.

    Returns
    -------
    SyntheticPair

    Raises
    ------
    ValueError
        If `anisotropy` is not a finite number of at least 1.
    """
    if not (np.isfinite(anisotropy) and anisotropy >= 1):
        raise ValueError(f"anisotropy must be finite and at least 1, not {anisotropy!r}")
    height, width = size
    canvas, white = draw_tissue(rng, (CANVAS * height, CANVAS * width))
    corner = (CANVAS - 1) / 2 * np.array([width, height])
    homography = draw_warp(rng, size, anisotropy)
    views = []
    for view in (np.eye(3), homography):
        # From places of the canvas to those of the frame.
        to_frame = view @ translation(-corner)
        tissue = cv2.warpPerspective(
            canvas, to_frame, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
        )
        pale = cv2.warpPerspective(white.astype(np.uint8), to_frame, (width, height), flags=cv2.INTER_NEAREST)
        rgb, _ = draw_speculars(
            rng, np.asarray(tissue).clip(0, 1), np.asarray(pale) > 0, draw_count(rng, size)
        )
        views.append(expose(rng, rgb))
    return SyntheticPair(views[0], views[1], homography)


def draw_warp(rng: np.random.Generator, size: tuple[int, int], anisotropy: float) -> Floats:
    """A homography [3,3] about the middle of a frame: what a tilt, a roll and a shift of the camera do."""
    turns = rng.uniform(0, np.pi), np.deg2rad(rng.uniform(-ROLL, ROLL))
    tilt, roll = (np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]) for a in turns)
    longer = np.sqrt(anisotropy)
    warp = np.eye(3)
    warp[:2, :2] = roll @ tilt @ np.diag([longer, 1 / longer]) @ tilt.T
    warp[2, :2] = rng.uniform(-PERSPECTIVE, PERSPECTIVE, 2)
    middle = np.array([size[1] - 1, size[0] - 1]) / 2
    return np.asarray(translation(middle + rng.uniform(-SHIFT, SHIFT, 2)) @ warp @ translation(-middle))


def camera_motion(frames: int, size: tuple[int, int]) -> Floats:
    """A smooth motion of the camera before a flat picture: it pans, comes nearer and goes back, rolls, tilts.

    Parameters
    ----------
    frames : int
        At least 1.
    size : (height, width)
        Of the picture and of the frames. No frame shows what lies beyond the picture.

    Returns
    -------
    array [frames,3,3]
        Homographies from the picture, (x, y, 1) in pixels, to each frame.

    Raises
    ------
    TypeError, ValueError
        If `frames` is not such a number.
    """
    height, width = size
    middle = np.array([width - 1, height - 1]) / 2
    motion = []
    for phase in 2 * np.pi * np.arange(_checks.check_count("frames", frames)) / PERIOD:
        zoom, roll = ZOOM * (1 + NEARER * np.cos(phase)), np.deg2rad(TURN) * np.sin(2 * phase)
        view = np.eye(3)
        view[:2, :2] = zoom * np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
        view[2, :2] = TILT * np.array([np.sin(2 * phase), np.cos(3 * phase)]) / middle
        pan = SWAY * np.array([width * np.sin(phase), height * np.sin(3 * phase)])
        motion.append(translation(middle) @ view @ translation(pan - middle))
    return np.array(motion)


def between(motion: Floats, first: int, second: int) -> Floats:
    """The homography [3,3] from one frame of a motion [N,3,3] to another."""
    return np.asarray(motion[second] @ np.linalg.inv(motion[first]))


def translation(by: Floats) -> Floats:
    """The homography [3,3] that moves points by (x, y)."""
    moved = np.eye(3)
    moved[:2, 2] = by
    return moved


def pair_metrics(found: PairMatches, homography: Floats) -> dict[str, float]:
    """How much of what was matched agrees with the true warp.

    Parameters
    ----------
    found : PairMatches
    homography : [3,3]
        From the first frame to the second one.

    Returns
    -------
    dict
        ``features`` (mean of both frames), ``pairs``, ``correct`` (pairs within 3 px of the true warp),
        ``inliers``, ``correct_inliers``, and ``precision``, the share of inliers that are correct; 0 if there
        are none.
    """
    first, second = found.points()
    correct = np.hypot(*(project(homography, first) - second).T) < NEAR
    inliers, right = int(found.inliers.sum()), int((correct & found.inliers).sum())
    return {
        "features": (len(found.frames_first) + len(found.frames_second)) / 2,
        "pairs": len(found.pairs),
        "correct": int(correct.sum()),
        "inliers": inliers,
        "correct_inliers": right,
        "precision": right / inliers if inliers else 0.0,
    }

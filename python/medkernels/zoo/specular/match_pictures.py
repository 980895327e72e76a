"""Matches as a picture: two frames side by side, ellipses in both, and a line for each right pair."""

from __future__ import annotations

import colorsys
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from medkernels.zoo.specular.images import write_png
from medkernels.zoo.specular.inpainting import Pixels, check_picture
from medkernels.zoo.specular.matching import Frames, PairMatches

LEAST_WIDTH = 640  # px a frame: smaller ones are enlarged by a whole factor
GAP = 8  # white px between both frames
LINES = 60  # most inliers drawn, spread evenly over the frame
SUBPIXEL = 4  # bits of a pixel's fraction that OpenCV draws with
CORNERS = 36  # of the polygon that stands for an ellipse
LIGHTNESS, SATURATION = 0.6, 1.0
DIM = 0.75  # of the frames' brightness, so that lines stand out

Ints = npt.NDArray[np.int64]


def draw_matches(
    first: Pixels, second: Pixels, found: PairMatches, path: str | Path | None = None, *, lines: int = LINES
) -> Pixels:
    """Draw the inliers of two matched frames.

    Parameters
    ----------
    first, second : [H,W,3] uint8
        The frames that were matched, as they are to be shown.
    found : PairMatches
    path : path, optional
        Where to write the picture, as PNG.
    lines : int
        Most inliers to draw, 0 or more. Where there are more, the picture holds some from all over the frame.

    Returns
    -------
    array [H',W',3] uint8
        Both frames in a row, enlarged if they are small. A pair has one colour: its ellipse in both frames,
        and the line between their centres.

    Raises
    ------
    TypeError, ValueError
        If a frame is none.
    OSError
        If the file cannot be written.
    """
    views = [check_picture(first), check_picture(second)]
    scale = max(1, round(LEAST_WIDTH / max(view.shape[1] for view in views)))
    heights, widths = ([view.shape[axis] * scale for view in views] for axis in (0, 1))
    canvas = np.full((max(heights), sum(widths) + GAP, 3), 255, np.uint8)
    starts = (0, widths[0] + GAP)
    for view, height, width, start in zip(views, heights, widths, starts, strict=True):
        large = cv2.resize(view, (width, height), interpolation=cv2.INTER_NEAREST)
        canvas[:height, start : start + width] = np.rint(DIM * np.asarray(large))
    frames = (found.frames_first, found.frames_second)
    chosen = _spread(found, lines)
    for number, row in enumerate(chosen):
        color = _color(number, len(chosen))
        centers = []
        for side, start in enumerate(starts):
            outline, center = _outline(frames[side][found.pairs[row, side]], scale, start)
            cv2.polylines(canvas, [outline], True, color, 1, cv2.LINE_AA, SUBPIXEL)
            centers.append(center)
        cv2.line(canvas, centers[0], centers[1], color, 1, cv2.LINE_AA, SUBPIXEL)
    if path is not None:
        write_png(Path(path), canvas)
    return canvas


def _spread(found: PairMatches, most: int) -> Ints:
    """At most so many rows of inliers, each as far as can be from those before it in the first frame."""
    rows = np.flatnonzero(found.inliers)
    if len(rows) <= most:
        return rows
    places = found.points()[0][rows]
    away = np.full(len(rows), np.inf)
    picked: list[int] = []
    for _ in range(most):
        picked.append(int(away.argmax()))
        away = np.minimum(away, np.hypot(*(places - places[picked[-1]]).T))
    return np.sort(rows[picked])


def _outline(frame: Frames, scale: int, start: int) -> tuple[npt.NDArray[np.int32], tuple[int, int]]:
    """The ellipse of a frame as a polygon, and its centre, in OpenCV's fractions of a pixel."""
    angles = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
    ring = frame[:, :2] @ np.stack([np.cos(angles), np.sin(angles)]) + frame[:, 2:]
    points = np.concatenate([ring, frame[:, 2:]], axis=1).T.astype(np.float64)
    # The centre of an enlarged pixel lies half a pixel further on than its first one.
    points = (points + 0.5) * scale - 0.5 + [start, 0]
    fixed = np.rint(points * 2**SUBPIXEL).astype(np.int32)
    return fixed[:-1, None], (int(fixed[-1, 0]), int(fixed[-1, 1]))


def _color(number: int, count: int) -> tuple[int, int, int]:
    red, green, blue = colorsys.hls_to_rgb(number / max(count, 1), LIGHTNESS, SATURATION)
    return round(255 * red), round(255 * green), round(255 * blue)

"""Frames with their masks drawn in, and close-ups, as arrays of pixels and as charts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from matplotlib.figure import Figure

from medkernels.regions import label
from medkernels.zoo.specular.inpainting import Bools, Pixels
from medkernels.zoo.specular.metrics import NAMES, Counts, scores

FOUND = (30, 220, 60)  # green stands out against tissue as well as against highlights
FALSE = (60, 110, 255)
MISSED = (255, 225, 0)
STRENGTH = 0.75  # of the colour over the picture
GAP = 4  # white px between pictures side by side
SHOWN_SIDE = 720  # px to which small frames are enlarged
CLOSE = 56  # side of a close-up, px of the frame


def overlay(rgb: Pixels, mask: Bools, truth: Bools | None = None) -> Pixels:
    """The frame with its mask in green; given the truth, false pixels are blue and missed ones yellow."""
    parts = [(mask if truth is None else mask & truth, FOUND)]
    if truth is not None:
        parts += [(mask & ~truth, FALSE), (truth & ~mask, MISSED)]
    out = rgb.astype(np.float32)
    for part, color in parts:
        out[part] += STRENGTH * (np.array(color, np.float32) - out[part])
    return np.asarray(np.rint(out), np.uint8)


def side_by_side(pictures: Sequence[Pixels]) -> Pixels:
    """Pictures of one height in a row."""
    gap = np.full((pictures[0].shape[0], GAP, 3), 255, np.uint8)
    row: list[Pixels] = []
    for picture in pictures:
        row += [gap, picture] if row else [picture]
    return np.concatenate(row, axis=1)


def enlarge(picture: Pixels, side: int = SHOWN_SIDE) -> Pixels:
    """A small picture enlarged by a whole factor, pixels staying squares, to at most `side` px."""
    factor = max(side // max(picture.shape[:2]), 1)
    return np.asarray(picture.repeat(factor, axis=0).repeat(factor, axis=1))


def close_ups(rgb: Pixels, cleaned: Pixels, mask: Bools, most: int = 2) -> list[Pixels]:
    """Windows of the frame, the mask drawn in, and the cleaned frame, side by side and enlarged.

    Taken where most highlights are, one window after another, each without the highlights of those before.
    """
    labels, number = label(mask, connectivity=8)
    if number == 0:
        return []
    side = min(CLOSE, *mask.shape)
    found = []
    # A highlight counts with one pixel, the first in raster order.
    first = np.zeros(number, np.int64)
    flat = labels.reshape(-1)
    marked = np.flatnonzero(flat)
    first[flat[marked[::-1]] - 1] = marked[::-1]
    density = np.zeros(mask.shape, np.float32)
    density.reshape(-1)[first] = 1
    for _ in range(most):
        totals = cv2.boxFilter(density, -1, (side, side), normalize=False, borderType=cv2.BORDER_CONSTANT)
        if totals.max() < 0.5:
            break
        row, column = np.unravel_index(int(totals.argmax()), totals.shape)
        top, left = (
            int(np.clip(place - side // 2, 0, size - side))
            for place, size in zip((row, column), mask.shape, strict=True)
        )
        window = np.s_[top : top + side, left : left + side]
        density[window] = 0
        row_of_three = side_by_side(
            [enlarge(picture[window], 5 * side) for picture in (rgb, overlay(rgb, mask), cleaned)]
        )
        found.append(row_of_three)
    return found


def draw_scores(counts: Mapping[str, Counts]) -> Figure:
    """F1 of each frame and the mean, a row a method."""
    figure = Figure(figsize=(6.5, 0.9 + 0.42 * len(counts)), layout="constrained")
    axes = figure.add_subplot()
    for row, values in enumerate(counts.values()):
        f1 = scores(values)["f1"]
        axes.plot(f1, [row] * len(f1), "o", color="#0f766e", alpha=0.35, markersize=5)
        axes.plot([f1.mean()] * 2, [row - 0.32, row + 0.32], color="#c2410c", linewidth=2)
    axes.set_yticks(range(len(counts)), list(counts))
    axes.set_ylim(len(counts) - 0.5, -0.5)
    axes.set_xlim(0, 1.02)
    axes.set_xlabel("F1 of a frame")
    axes.grid(alpha=0.3, axis="x")
    return figure


def draw_shares(fps: float, shares: Sequence[float]) -> Figure:
    """The marked share of each frame of a video, over time."""
    figure = Figure(figsize=(6.5, 2.4), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(np.arange(len(shares)) / fps, 100 * np.asarray(shares), color="#0f766e", linewidth=1)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("s")
    axes.set_ylabel("% of the pixels")
    axes.grid(alpha=0.3)
    return figure


def score_rows(summaries: Mapping[str, dict[str, dict[str, float]]]) -> list[dict[str, object]]:
    """Rows of a table: two a method, its mean over frames and that of all pixels together."""
    titles = dict(zip(NAMES, ("accuracy", "precision", "recall", "F1", "Jaccard"), strict=True))
    return [
        {"method": method, "taken over": taken, **{titles[name]: summary[kind][name] for name in NAMES}}
        for method, summary in summaries.items()
        for kind, taken in (("macro", "frames"), ("micro", "pixels"))
    ]

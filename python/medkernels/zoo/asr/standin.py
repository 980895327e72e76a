"""Stand-in data: pictures of "thyroid tissue" whose classes differ in the shape and size of follicles."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

CLASSES = ("round", "elongated", "mixed")
SIDE = 48
COVERED = 0.42  # share of the picture inside follicles, in all classes
ROUND = 5.2  # semi-axis of class "round", px; "elongated" has the same area
ASPECT = 2.25
LARGE, SMALL = (9.5, 8.5), 3.2  # semi-axes of class "mixed", px
RIM = 1.3  # thickness of the follicle wall, px
GAP = 1.0  # least distance of follicles where there is room, px
NOISE = 0.03
TISSUE, LUMEN, WALL = (0.90, 0.62, 0.74), (0.95, 0.88, 0.92), (0.70, 0.45, 0.68)
MEAN_COLOR = (0.87, 0.66, 0.77)  # every picture is shifted to this mean
TRIALS = 400


def _follicles(kind: int, rng: np.random.Generator) -> list[tuple[float, float, float]]:
    """Semi-axes and angle of follicles, in the order in which they are laid; more than are needed."""
    if kind == 0:
        return [(ROUND, ROUND, 0.0)] * 20
    if kind == 1:
        long, short = ROUND * math.sqrt(ASPECT), ROUND / math.sqrt(ASPECT)
        return [(long, short, float(rng.uniform(0, math.pi))) for _ in range(20)]
    return [(large, large, 0.0) for large in LARGE] + [(SMALL, SMALL, 0.0)] * 40


def tissue_picture(kind: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """One picture [3,48,48] of class number ``kind``, in [0,1]."""
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float64)
    inside, lumen = np.zeros((SIDE, SIDE), bool), np.zeros((SIDE, SIDE), bool)
    for w, h, angle in _follicles(kind, rng):
        if inside.mean() >= COVERED:
            break
        best = None
        for _ in range(TRIALS):
            cx, cy = rng.uniform(0, SIDE - 1, 2)
            dx, dy = x - cx, y - cy
            u = math.cos(angle) * dx + math.sin(angle) * dy
            v = math.cos(angle) * dy - math.sin(angle) * dx
            room = (u / (w + GAP)) ** 2 + (v / (h + GAP)) ** 2 <= 1
            clash = int((room & inside).sum())
            if best is None or clash < best[0]:
                best = (clash, u, v)
            if clash == 0:
                break
        assert best is not None
        _, u, v = best
        inside |= (u / w) ** 2 + (v / h) ** 2 <= 1
        lumen |= (u / (w - RIM)) ** 2 + (v / (h - RIM)) ** 2 <= 1
    picture = np.where(lumen[..., None], LUMEN, np.where(inside[..., None], WALL, TISSUE))
    picture = picture + rng.normal(0, NOISE, picture.shape)
    picture += np.array(MEAN_COLOR) - picture.mean(axis=(0, 1))
    return np.ascontiguousarray(picture.clip(0, 1).transpose(2, 0, 1), dtype=np.float32)


def stand_in(count: int = 180, seed: int = 0) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Pictures [count,3,48,48] float32 in [0,1] and class numbers [count], the classes in turn.

    Parameters
    ----------
    count : number of pictures; each stands for a case.
    seed : of all that is random.
    """
    labels = np.arange(count) % len(CLASSES)
    pictures = [tissue_picture(int(kind), np.random.default_rng([seed, i])) for i, kind in enumerate(labels)]
    return np.stack(pictures), labels

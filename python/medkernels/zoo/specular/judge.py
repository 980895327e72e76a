"""The detector and its baselines on annotated frames."""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np

from medkernels.zoo.specular.baselines import (
    PALE,
    STABLE,
    STABLE_SMALL,
    THRESHOLD,
    best_level,
    counts_by_level,
    pale_mask,
    stable_mask,
)
from medkernels.zoo.specular.data import Frames
from medkernels.zoo.specular.metrics import Counts, count, scores, summarise
from medkernels.zoo.specular.model import Detector

OURS = "specular"


class Judged(NamedTuple):
    """What `judge` found.

    Attributes
    ----------
    names : tuple of str
        The frames that could be read.
    counts : dict of arrays [N,4]
        By method, this system's first.
    level : int
        The global threshold with the greatest mean F1 on these very frames.
    seconds : float
        Of the detector alone.
    """

    names: tuple[str, ...]
    counts: dict[str, Counts]
    level: int
    seconds: float

    @property
    def summaries(self) -> dict[str, dict[str, dict[str, float]]]:
        """Scores by method; see `summarise`."""
        return {name: summarise(counts) for name, counts in self.counts.items()}

    def f1(self, method: str = OURS) -> float:
        """Mean F1 over the frames."""
        return float(scores(self.counts[method])["f1"].mean())


def judge(frames: Frames, detector: Detector, *, progress: bool = False) -> Judged:
    """Compare masks with the truth, for the detector and each baseline.

    The baseline with one threshold is given the best threshold there is for these frames.

    Raises
    ------
    ValueError
        If no frame with a mask can be read.
    """
    names, seconds = [], 0.0
    found: dict[str, list[Counts]] = {name: [] for name in (OURS, PALE, STABLE, STABLE_SMALL)}
    levels = []
    for sample in frames.read("comparing masks", progress=progress):
        if sample.truth is None:
            continue
        names.append(sample.name)
        started = time.perf_counter()
        mask = detector(sample.rgb)
        seconds += time.perf_counter() - started
        found[OURS].append(count(mask, sample.truth))
        found[PALE].append(count(pale_mask(sample.rgb), sample.truth))
        found[STABLE].append(count(stable_mask(sample.rgb), sample.truth))
        found[STABLE_SMALL].append(count(stable_mask(sample.rgb, detector), sample.truth))
        levels.append(counts_by_level(sample.rgb, sample.truth))
    if not names:
        raise frames.nothing("frames with masks")
    level = best_level(levels)
    counts = {name: np.stack(values) for name, values in found.items()}
    return Judged(tuple(names), counts | {THRESHOLD: np.stack(levels)[:, level]}, level, seconds)

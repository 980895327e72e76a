"""Settings of the detector, chosen on annotated frames by trying all combinations."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from medkernels.regions import area_open, mmser, saturation_mask
from medkernels.regions.mmser import LARGEST_SHARE
from medkernels.regions.specular_mask import PATCH_SHARE
from medkernels.zoo.specular.baselines import intensity
from medkernels.zoo.specular.data import Frames, Sample
from medkernels.zoo.specular.inpainting import Bools, Pixels
from medkernels.zoo.specular.metrics import Counts, from_totals, scores
from medkernels.zoo.specular.model import Detector
from medkernels.zoo.specular.threads import in_order

#: What is tried for each setting; the defaults come first, so that they win where others do no better.
GRID: dict[str, tuple[float, ...]] = {
    "delta": (25, 20, 15, 10, 30),
    "min_area": (3, 6),
    "max_share": (LARGEST_SHARE, LARGEST_SHARE / 2, 2 * LARGEST_SHARE),
    "patch_share": (PATCH_SHARE, 0.0, 2 * PATCH_SHARE, 4 * PATCH_SHARE),
}


def candidates(start: Detector, grid: Mapping[str, Sequence[float]]) -> list[Detector]:
    """All combinations of the grid's settings; what is not in the grid is as in `start`.

    Raises
    ------
    ValueError
        If the grid has a setting that the detector has not, no value for one, or a value out of range.
    """
    known = tuple(GRID)
    for name, values in grid.items():
        if name not in known:
            raise ValueError(f"grid: want settings out of {', '.join(known)}, got {name!r}")
        if isinstance(values, (str, bytes)) or not isinstance(values, Sequence) or len(values) == 0:
            raise ValueError(f"grid: want a list of values for {name}, got {values!r}")
    fixed: dict[str, Any] = {name: getattr(start, name) for name in known}
    return [
        Detector(**(fixed | dict(zip(grid, values, strict=True))))
        for values in itertools.product(*grid.values())
    ]


def count_all(rgb: Pixels, truth: Bools, detectors: Sequence[Detector]) -> Counts:
    """Counts [K,4] of the masks of K detectors on one frame.

    The two parts of a mask are computed once for all detectors that share them.
    """
    pixels, grey, pale = truth.size, intensity(rgb), saturation_mask(rgb)
    bright: dict[tuple[int, int, int], Bools] = {}
    patches: dict[int, Bools] = {}
    totals = []
    for detector in detectors:
        region = detector.delta, detector.min_area, detector.max_area(pixels)
        if region not in bright:
            delta, least, limit = region
            bright[region] = mmser(grey, delta=delta, min_area=least, max_area=limit)[0]
        limit = detector.max_patch(pixels)
        if limit not in patches:
            patches[limit] = area_open(pale, 1, max_area=limit) if limit else np.zeros_like(truth)
        mask = bright[region] | patches[limit]
        totals.append((np.count_nonzero(mask & truth), np.count_nonzero(mask)))
    hits, marked = np.array(totals).T
    return from_totals(hits, marked, np.count_nonzero(truth), pixels)


def search(frames: Frames, detectors: Sequence[Detector], *, progress: bool = False) -> Counts:
    """Counts [N,K,4] of K detectors on the N frames that can be read.

    Raises
    ------
    ValueError
        If no frame can be read.
    """

    def step(sample: Sample) -> Counts | None:
        return None if sample.truth is None else count_all(sample.rgb, sample.truth, detectors)

    counted = in_order(step, frames.read("trying settings", progress=progress))
    found = [counts for counts in counted if counts is not None]
    if not found:
        raise frames.nothing("frames with masks")
    return np.stack(found)


def best(counts: Counts) -> int:
    """The detector with the greatest mean F1 over frames, of counts [N,K,4]; the first of equal ones."""
    return int(np.argmax(scores(counts)["f1"].mean(axis=0)))


def split(names: Sequence[str], held_out: float, seed: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Numbers of the frames to choose settings on, and of those to judge them on.

    Frames of one sub-folder stay together, as they may be of one video; without sub-folders every frame is on
    its own. If there is only one frame or folder, or `held_out` is 0, both are all frames.
    """
    groups = [str(PurePosixPath(name).parent) for name in names]
    if len(set(groups)) == 1:
        groups = list(names)
    kinds = sorted(set(groups))
    if held_out == 0 or len(kinds) < 2:
        return np.arange(len(names)), np.arange(len(names))
    order = np.random.default_rng(seed).permutation(len(kinds))
    wanted = min(max(round(held_out * len(kinds)), 1), len(kinds) - 1)
    chosen = {kinds[number] for number in order[:wanted]}
    inside = np.array([group in chosen for group in groups])
    return np.flatnonzero(~inside), np.flatnonzero(inside)

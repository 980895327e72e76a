"""The acceptance check on the stand-in: masks against their baselines, trees, and matches of warped frames.

Run it with ``python -m medkernels.zoo.specular.acceptance``; it prints one row a seed.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from skimage import morphology

from medkernels.regions import max_tree
from medkernels.zoo.specular.baselines import PALE, STABLE, STABLE_SMALL, THRESHOLD, intensity
from medkernels.zoo.specular.data import open_frames
from medkernels.zoo.specular.inpainting import inpaint
from medkernels.zoo.specular.judge import judge
from medkernels.zoo.specular.matching import FEATURES, MatchSettings, match_frames
from medkernels.zoo.specular.model import Detector
from medkernels.zoo.specular.pairs import pair_metrics, synthetic_pair
from medkernels.zoo.specular.standin import Frame, stand_in

FRAMES = 10
PAIRS = 5
SEEDS = 3


def compare(frames: Sequence[Frame], detector: Detector | None = None) -> dict[str, float]:
    """Mean F1 over frames of the detector, with its settings as they come, and of its baselines."""
    judged = judge(open_frames(list(frames)), Detector() if detector is None else detector)
    summary = next(iter(judged.summaries.values()))
    return {
        "precision": summary["macro"]["precision"],
        "recall": summary["macro"]["recall"],
        "f1": judged.f1(),
        "micro_f1": summary["micro"]["f1"],
        "pale_f1": judged.f1(PALE),
        "threshold_f1": judged.f1(THRESHOLD),
        "mser_f1": judged.f1(STABLE),
        "mser_our_areas_f1": judged.f1(STABLE_SMALL),
    }


def tree_differences(image: npt.NDArray[np.uint8]) -> int:
    """Pixels of a picture [H,W] whose parent or area in the max-tree is not scikit-image's."""
    ours = max_tree(image, connectivity=8)
    peer: Any = morphology.max_tree  # published without types
    parent, order = peer(image, connectivity=2)
    flat = parent.ravel()
    area = np.ones(len(flat), np.int64)
    for pixel in order[:0:-1]:  # children before parents
        area[flat[pixel]] += area[pixel]
    same = (ours.parent == parent) & (ours.area == area.reshape(image.shape))
    return int(np.count_nonzero(~same))


def match_pairs(
    seed: int, *, pairs: int = PAIRS, features: Sequence[str] = FEATURES
) -> dict[str, dict[str, float]]:
    """Means over cleaned pairs of frames with a known warp between them, by kind of feature.

    Returns
    -------
    dict of dict
        See `pair_metrics`; ``precision`` is that of all inliers together.
    """
    detector = Detector()
    views = [synthetic_pair(np.random.default_rng([seed, number])) for number in range(pairs)]
    found = {}
    for kind in features:
        settings = MatchSettings(features=kind)
        rows = []
        for view in views:
            cleaned = [inpaint(rgb, detector(rgb)) for rgb in (view.first, view.second)]
            rows.append(pair_metrics(match_frames(*cleaned, settings=settings), view.homography))
        found[kind] = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
        found[kind]["precision"] = found[kind]["correct_inliers"] / max(found[kind]["inliers"], 1e-9)
    return found


def main() -> None:
    """Run all checks and print what they give."""
    started = time.perf_counter()
    for seed in range(SEEDS):
        begun = time.perf_counter()
        frames = stand_in(FRAMES, seed)
        found: dict[str, float] = {"seed": seed, **compare(frames)}
        found["tree_differences"] = sum(tree_differences(intensity(frame.rgb)) for frame in frames)
        for kind, values in match_pairs(seed).items():
            found |= {f"{kind}_{name}": values[name] for name in ("correct", "inliers", "precision")}
        found["seconds"] = time.perf_counter() - begun
        print("  ".join(f"{name} {value:.4g}" for name, value in found.items()), flush=True)
    print(f"total seconds {time.perf_counter() - started:.4g}")


if __name__ == "__main__":
    main()

"""The demonstration: photographs, generated frames with known highlights, and a video of known motion."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from skimage import data

from medkernels.zoo.engine import Report
from medkernels.zoo.specular.apply import clean_recording
from medkernels.zoo.specular.baselines import THRESHOLD
from medkernels.zoo.specular.data import Sample, open_frames
from medkernels.zoo.specular.inpainting import METHODS, Pixels, inpaint
from medkernels.zoo.specular.judge import judge
from medkernels.zoo.specular.match_pictures import draw_matches
from medkernels.zoo.specular.matching import match_frames
from medkernels.zoo.specular.pairs import (
    ANISOTROPY,
    NEAR,
    between,
    camera_motion,
    pair_metrics,
    synthetic_pair,
)
from medkernels.zoo.specular.pictures import enlarge, overlay, side_by_side
from medkernels.zoo.specular.report import Example, add_examples, add_methods
from medkernels.zoo.specular.sequence import SequenceMatcher
from medkernels.zoo.specular.standin import draw_count, draw_speculars, draw_tissue, expose, stand_in
from medkernels.zoo.specular.video import make_moving_video
from medkernels.zoo.specular.video_files import FPS, read_frames

if TYPE_CHECKING:
    from medkernels.zoo.specular.system import Specular

FRAMES = 10
EXAMPLES = 2
SEED = 100  # frames that no setting was looked at with
VIDEO_FRAMES = 51
VIDEO_APARTS = (1, 25)
PAIRS = 3
KINDS = {
    "affine": "affine-covariant",
    "circles": "the same without affine adaptation",
    "sift": "SIFT",
    "orb": "ORB",
}
COLUMNS = {
    "features a frame": "features",
    "pairs": "pairs",
    "right pairs": "correct",
    "inliers": "inliers",
    "right inliers": "correct_inliers",
}
CLOSE_SIDE = 420  # px to which a window of a photograph is enlarged


class Window(NamedTuple):
    """A part of a photograph, and what it shows."""

    rows: tuple[int, int]
    columns: tuple[int, int]
    text: str


# What scikit-image brings along: nothing is downloaded.
PHOTOGRAPHS: dict[str, tuple[Window, ...]] = {
    "coffee": (
        Window((215, 325), (175, 285), "Glints of a few pixels on the glazed handle are found."),
        Window((80, 280), (70, 270), "So are the long, narrow ones on saucer and cup."),
        Window(
            (10, 140),
            (240, 420),
            "White china, brighter than most glints, is left alone but for some specks.",
        ),
    ),
    "astronaut": (
        Window(
            (330, 512),
            (270, 500),
            "Reflections in the visor are found and the white of the helmet is "
            "left alone; white letters, as small and as bright as glints, are taken for them.",
        ),
    ),
}


def run_demo(system: Specular, out_dir: Path) -> Path:
    """Run everything, and write ``report.html``, a video and the saved system into ``out_dir``."""
    frames = stand_in(FRAMES, SEED)
    judged = judge(open_frames(frames), system.detector)
    report = Report(
        "Specular highlights found, filled in, and frames matched",
        "specular on photographs, on generated frames with known highlights, and on a video of known motion",
    )
    report.section(
        "Result",
        "A highlight is a small bright region that stands out from what is around it. White tissue is as "
        "bright, but large. So regions are judged by their size and by how they grow as the level falls.",
    )
    report.metrics(
        {
            "F1 on generated frames": judged.f1(),
            "F1 of the best threshold": judged.f1(THRESHOLD),
            "frames/s, detection, one thread": len(judged.names) / judged.seconds,
        }
    )
    _add_photographs(report, system)
    report.section(
        "Generated frames",
        f"{FRAMES} frames of reddish tissue with patches of white tissue; a third of the highlights lie on "
        "these. Highlights are brighter than what is below them, yet white tissue is as bright as highlights "
        "elsewhere.",
    )
    add_methods(report, judged)
    examples = []
    for number, frame in enumerate(frames[:EXAMPLES]):
        sample = Sample(f"frame {number}", frame.rgb, frame.truth)
        examples.append(Example(sample, *system.clean(frame.rgb)))
    add_examples(report, examples, "Some of these frames")
    _add_fillings(report, system)
    _add_pairs(report, system)
    _add_video(report, system, out_dir)
    system.save_pretrained(out_dir / "model")
    return report.save(out_dir / "report.html")


def _add_photographs(report: Report, system: Specular) -> None:
    report.section(
        "Photographs",
        "Two of scikit-image's: as they are, with the mask in green, filled in. The method knows size and "
        "brightness and not what things are, so small white things count as highlights. Endoscopy has few.",
    )
    for name, windows in PHOTOGRAPHS.items():
        rgb: Pixels = getattr(data, name)()
        mask, cleaned = system.clean(rgb)
        three = [rgb, overlay(rgb, mask), cleaned]
        report.figure(side_by_side(three), f"{name}: {mask.mean():.1%} of the pixels are marked")
        for window in windows:
            place = np.s_[slice(*window.rows), slice(*window.columns)]
            report.figure(side_by_side([enlarge(part[place], CLOSE_SIDE) for part in three]), window.text)


def _add_fillings(report: Report, system: Specular) -> None:
    """Both ways of filling in, against frames without highlights."""
    errors: dict[str, list[float]] = {"not filled in": [], **{method: [] for method in METHODS}}
    for number in range(FRAMES):
        rng = np.random.default_rng([SEED, number])
        tissue, white = draw_tissue(rng)
        rgb, alpha = draw_speculars(rng, tissue, white, draw_count(rng, white.shape))
        seen, clean = (expose(np.random.default_rng([SEED, number]), part) for part in (rgb, tissue))
        mask, around = system.detector(seen), alpha > 0.05
        for method in errors:
            filled = (
                seen
                if method not in METHODS
                else inpaint(seen, mask, method=method, grow=system.cleaning.grow)
            )
            errors[method].append(float(np.abs(filled[around].astype(float) - clean[around]).mean()))
    rows = [{"filling": method, "grey levels off": float(np.mean(value))} for method, value in errors.items()]
    report.section("Filling in", "What lies below the highlights of these frames is known too.")
    report.table(rows, "Mean difference from the tissue below the highlights and their rims, of 255 levels.")


def _add_pairs(report: Report, system: Specular) -> None:
    """Generated pairs of frames with a known warp, matched by each kind of feature."""
    views = [synthetic_pair(np.random.default_rng([SEED, number])) for number in range(PAIRS)]
    cleaned = [[system.clean(rgb)[1] for rgb in (view.first, view.second)] for view in views]
    rows: list[dict[str, object]] = []
    for kind, title in KINDS.items():
        settings = replace(system.matching, features=kind)
        found = [match_frames(*pair, settings=settings) for pair in cleaned]
        if kind == "affine":
            picture = draw_matches(cleaned[0][0], cleaned[0][1], found[0], None)
        values = [pair_metrics(one, view.homography) for one, view in zip(found, views, strict=True)]
        means = {name: float(np.mean([value[name] for value in values])) for name in values[0]}
        rows.append({"features": title, **{name: means[key] for name, key in COLUMNS.items()}})
    report.section(
        "Pairs of generated frames",
        f"{PAIRS} pieces of tissue, each seen from two sides (lengths change by up to {ANISOTROPY} times) "
        "with other highlights in each view, which are filled in first. The warp between the views is known.",
    )
    report.table(rows, f"Means over the pairs of frames. Right: within {NEAR:g} px of the true warp.")
    report.figure(
        picture,
        "The first two frames, with some of the affine-covariant features that agree. A fundamental matrix "
        "binds a point to a line only, so a few wrong pairs agree too.",
    )


def _add_video(report: Report, system: Specular, out_dir: Path) -> None:
    """A photograph seen by a moving camera: cleaned as a video, and its frames matched."""
    photograph: Any = data.coffee  # published without types
    picture: Pixels = photograph()
    motion = camera_motion(VIDEO_FRAMES, (picture.shape[0], picture.shape[1]))
    path, folder = out_dir / "video.mp4", out_dir / "video"
    make_moving_video(picture, path, motion=motion)
    done = clean_recording(path, system.cleaning, SequenceMatcher(0, system.matching), folder)
    views, cleaned = (list(read_frames(name)) for name in (path, folder / "cleaned" / "video.mp4"))
    rows: list[dict[str, object]] = []
    for apart in VIDEO_APARTS:
        starts = range(0, VIDEO_FRAMES - apart, VIDEO_FRAMES // 2)
        found = [match_frames(cleaned[i], cleaned[i + apart], settings=system.matching) for i in starts]
        values = [
            pair_metrics(one, between(motion, i, i + apart)) for i, one in zip(starts, found, strict=True)
        ]
        means = {name: float(np.mean([value[name] for value in values])) for name in values[0]}
        rows.append({"frames apart": apart, **{name: means[key] for name, key in COLUMNS.items()}})
        rows[-1]["of the inliers right"] = means["correct_inliers"] / max(means["inliers"], 1)
    seconds = VIDEO_FRAMES / FPS
    report.section(
        "A video of known motion",
        f"The photograph of the cup, seen for {seconds:.0f} seconds by a camera that pans, nears, rolls and "
        "tilts. Beside this page lie [the video](video.mp4) and [what it becomes](video/cleaned/video.mp4).",
    )
    report.metrics(
        {
            "frames": VIDEO_FRAMES,
            "of the pixels marked": f"{done['metrics']['share']:.1%}",
            "frames/s, detection, one thread": done["metrics"]["frames_per_second"]["detection"],
            "frames/s, reading to writing": done["metrics"]["frames_per_second"]["with_files"],
        }
    )
    report.table(rows, f"Right: within {NEAR:g} px of the true motion.")
    ends = starts[0], starts[0] + apart
    report.figure(side_by_side([views[ends[0]], cleaned[ends[0]]]), "The first frame, and filled in.")
    report.figure(
        draw_matches(cleaned[ends[0]], cleaned[ends[1]], found[0], None),
        f"Frames {ends[0]} and {ends[1]}, with some of the features that agree.",
    )

"""Reports of cleaned frames and of chosen settings, and the sections that the demonstration shares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from medkernels.zoo.engine import Report
from medkernels.zoo.specular.data import Sample
from medkernels.zoo.specular.inpainting import Bools, Pixels
from medkernels.zoo.specular.judge import OURS, Judged
from medkernels.zoo.specular.pictures import (
    close_ups,
    draw_scores,
    draw_shares,
    enlarge,
    overlay,
    score_rows,
    side_by_side,
)
from medkernels.zoo.specular.sequence import SequenceMatcher
from medkernels.zoo.specular.tables import Row

LISTED = 50  # most skipped files named
BEST = 8  # combinations of settings that a table lists
COLORS = "Green: marked. Where the truth is known, blue: wrongly marked, yellow: missed."


class Example(NamedTuple):
    """A frame, what was marked, and the cleaned frame."""

    sample: Sample
    mask: Bools
    cleaned: Pixels


def write_predictions(
    examples: Sequence[Example],
    metrics: Mapping[str, Any],
    settings: Mapping[str, Any],
    sequence: SequenceMatcher,
    skipped: Mapping[str, str],
    path: Path,
    shares: tuple[float, Sequence[float]] | None = None,
) -> Path:
    """Write the report of frames that were cleaned, and of the matches between them.

    `shares` are the frames per second of a video, and the marked share of each of its frames.
    """
    report = Report("Specular highlights marked and filled in", f"specular: {metrics['frames']} frames")
    speed = metrics["frames_per_second"]
    report.section("Result").metrics(
        {
            "frames": metrics["frames"],
            "highlights": metrics["highlights"],
            "of the pixels": f"{metrics['share']:.2%}",
            "frames/s, detection, one thread": speed["detection"],
            "frames/s, with inpainting, one thread": speed["detection_and_inpainting"],
            "frames/s, reading to writing": speed["with_files"],
        }
    )
    if "macro" in metrics:
        summary = {kind: metrics[kind] for kind in ("macro", "micro")}
        report.table(score_rows({OURS: summary}), f"Over the {metrics['annotated']} frames that have a mask.")
    if shares is not None:
        report.figure(draw_shares(*shares), "How much of each frame is marked.")
    add_examples(report, examples)
    add_matches(report, sequence)
    report.section("Settings").table([{"setting": name, "value": value} for name, value in settings.items()])
    add_skipped(report, skipped)
    return report.save(path)


def write_fit(
    judged: Judged,
    tried: Sequence[Row],
    metrics: Mapping[str, Any],
    examples: Sequence[Example],
    skipped: Mapping[str, str],
    path: Path,
) -> Path:
    """Write the report of settings that were chosen on annotated frames."""
    report = Report(
        "Settings for specular highlights, chosen on annotated frames",
        f"specular: chosen on {metrics['chosen_on']} frames, judged on {metrics['judged_on']}",
    )
    on = "frames that had no part in the choice" if metrics["held_out"] else "the frames they were chosen on"
    report.section("Result", f"All {len(tried)} combinations were tried; the chosen one judged on {on}.")
    report.metrics({"F1": judged.f1(), "F1 before": metrics["f1_before"], **metrics["settings"]})
    add_methods(report, judged)
    report.section("What was tried")
    report.table(list(tried[:BEST]), "The best combinations, with their means over the frames of the choice.")
    add_examples(report, examples)
    add_skipped(report, skipped)
    return report.save(path)


def add_methods(report: Report, judged: Judged) -> None:
    """A table and a chart of this system and its baselines."""
    report.table(
        score_rows(judged.summaries),
        f"Means over {len(judged.names)} frames, and scores of all their pixels together. The best "
        f"threshold of intensity for these very frames is {judged.level}; MSER is the standard detector "
        "of bright stable regions, with its usual limits of area and with ours.",
    )
    report.figure(draw_scores(judged.counts), "A dot a frame, a bar at the mean.")


def add_examples(report: Report, examples: Sequence[Example], title: str = "Frames") -> None:
    """Frames beside their masks and what they become, and close-ups of the first."""
    if not examples:
        return
    report.section(title, f"Each frame as it is, with its mask, and filled in. {COLORS}")
    for sample, mask, cleaned in examples:
        parts = [sample.rgb, overlay(sample.rgb, mask, sample.truth), cleaned]
        report.figure(side_by_side([enlarge(part) for part in parts]), sample.name.replace("_", r"\_"))
    first = max(examples, key=lambda example: int(example.mask.sum()))
    name = first.sample.name.replace("_", r"\_")
    for window in close_ups(first.sample.rgb, first.cleaned, first.mask):
        report.figure(window, f"Close-up of {name}.")


def add_matches(report: Report, sequence: SequenceMatcher) -> None:
    """The pairs of frames that were matched, if any were."""
    if not sequence.rows:
        return
    report.section("Matches", f"Frames {sequence.apart} apart, without their highlights.")
    for picture, text in sequence.pictures:
        report.figure(picture, text.replace("_", r"\_"))
    report.table(sequence.rows[:LISTED], "Features, pairs that pass the ratio test, and those that agree.")
    if len(sequence.rows) > LISTED:
        report.text(f"and {len(sequence.rows) - LISTED} more.")


def add_skipped(report: Report, skipped: Mapping[str, str]) -> None:
    """The files that could not be used."""
    if skipped:
        report.section("Skipped files")
        rows = list(skipped.items())
        report.table([{"file": name, "reason": reason} for name, reason in rows[:LISTED]])
        if len(rows) > LISTED:
            report.text(f"and {len(rows) - LISTED} more.")

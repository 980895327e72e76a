"""The reports of a training and of predictions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medkernels.zoo.engine import Fitted, Report
from medkernels.zoo.engine.logs import Row
from medkernels.zoo.totalct_sam.metrics import mean_over_scans
from medkernels.zoo.totalct_sam.pictures import draw_directions, draw_montage, draw_training
from medkernels.zoo.totalct_sam.volume import Labels, Volume

if TYPE_CHECKING:
    from medkernels.zoo.totalct_sam.apply import Judged

PAGE = "report.html"
LISTED = 50  # most skipped files named
SHOWN = 10  # most scans drawn
TOLD = "The patient's right is at the left of axial and coronal slices; sagittal ones face right."


class PredictionReport:
    """A page that shows labelled CTs, filled while they come.

    Parameters
    ----------
    classes : sequence of str
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = classes
        self.report = Report("Structures of CTs", "totalct_sam: a label for every voxel")
        self.count = 0

    def add(self, volume: Volume, labels: Labels, rows: Sequence[dict[str, Any]], seconds: float) -> None:
        """Show one CT; after the first ten only their tables and files are written."""
        self.count += 1
        if self.count > SHOWN:
            return
        self.report.section(volume.name)
        self.report.metrics({"structures": len(rows), "s": seconds})
        add_pictures(self.report, volume, labels, self.classes)
        if rows:
            self.report.table(rows, "Voxels and millilitres on the CT's own grid.")
        else:
            self.report.text("No structure was found.")

    def save(self, out_dir: Path) -> str:
        """Write the page; return the name of its file."""
        if self.count > SHOWN:
            self.report.text(f"and {self.count - SHOWN} more CTs, whose files stand beside this page.")
        self.report.save(out_dir / PAGE)
        return PAGE


def add_pictures(report: Report, volume: Volume, labels: Labels, classes: Sequence[str]) -> None:
    """Labels in three directions, and slices from foot to head."""
    report.figure(draw_directions(volume, labels, classes), TOLD)
    report.figure(draw_montage(volume, labels), "Axial slices, from the lowest labelled one to the highest.")


def write_report(
    judged: Sequence[Judged], classes: Sequence[str], history: Sequence[Row], done: Fitted
) -> None:
    """Write the report of `TotalCTSAMSystem.fit`."""
    report = Report("Structures of CTs", "totalct_sam: a label for every voxel")
    report.section("Result", f"{len(judged)} whole CTs ({done.metrics['judged_on']}), without prompts.")
    if done.metrics["judged_on"] == "train":
        report.text("There were too few CTs to hold any out: these are the ones that were trained on.")
    report.metrics({name.replace("_", " "): value for name, value in done.metrics["held_out"].items()})
    means = mean_over_scans([answer.scores for answer in judged])
    if means:
        rows = [{"structure": name, **values} for name, values in means.items()]
        report.table(rows, "Means over the CTs that hold a structure or were said to hold it.")
    for answer in judged[:SHOWN]:
        report.section(answer.volume.name)
        add_pictures(report, answer.volume, answer.labels, classes)
    report.section("Training")
    best = done.metrics["best_epoch"]
    report.figure(
        draw_training(history), f"The weights of epoch {best} are kept, the one with the lowest loss."
    )
    if done.skipped:
        report.section("Skipped CTs")
        report.table([{"CT": name, "reason": reason} for name, reason in done.skipped[:LISTED]])
        if len(done.skipped) > LISTED:
            report.text(f"and {len(done.skipped) - LISTED} more.")
    report.save(done.report)

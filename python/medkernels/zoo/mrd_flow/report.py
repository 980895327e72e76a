"""The report of a training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from medkernels.zoo.engine import Fitted, Report
from medkernels.zoo.engine.logs import Row
from medkernels.zoo.mrd_flow.pictures import draw_events, draw_mrd, draw_training
from medkernels.zoo.mrd_flow.sample import Sample

if TYPE_CHECKING:
    from medkernels.zoo.mrd_flow.system import MRDFlow

LISTED = 50  # most samples and skipped files named
SHOWN = 3  # samples drawn


def write_report(
    system: MRDFlow,
    judged: Sequence[Sample],
    rows: Sequence[dict[str, Any]],
    history: Sequence[Row],
    done: Fitted,
) -> None:
    """Write the report of `MRDFlow.fit`."""
    report = Report("Blasts in flow cytometry", f"mrd_flow, {system.model}: a logit for every event")
    add_result(report, rows, f"{done.metrics['judged_on']} samples, which training did not see")
    if done.metrics["judged_on"] == "train":
        report.text("There were too few samples to hold any out: these are the ones that were trained on.")
    add_samples(report, system, judged, rows)
    report.section("Training")
    best = done.metrics["best_epoch"]
    report.figure(
        draw_training(history),
        f"The weights of epoch {best} are kept, the one with "
        + ("the highest F1 in validation." if "valid_f1" in history[0] else "the lowest training loss."),
    )
    if done.skipped:
        report.section("Skipped files")
        report.table([{"file": name, "reason": reason} for name, reason in done.skipped[:LISTED]])
        if len(done.skipped) > LISTED:
            report.text(f"and {len(done.skipped) - LISTED} more.")
    report.save(done.report)


def add_result(report: Report, rows: Sequence[dict[str, Any]], what: str) -> None:
    """Means over samples, and MRD against the experts'."""
    from medkernels.zoo.mrd_flow.metrics import summarised

    report.section("Result", f"{len(rows)} {what}; all events of each in one pass.")
    report.metrics({name.replace("_", " "): value for name, value in summarised(rows).items()})
    report.figure(draw_mrd(rows), "MRD, the share of blasts among the events, of each sample.")


def add_samples(
    report: Report, system: MRDFlow, judged: Sequence[Sample], rows: Sequence[dict[str, Any]]
) -> None:
    """A line for each sample, and pictures of the worst, the median and the best one."""
    report.section("Samples")
    order = sorted(range(len(rows)), key=lambda place: float(rows[place]["f1"]))
    report.table([rows[place] for place in sorted(order[:LISTED])])
    if len(rows) > LISTED:
        report.text(f"The {LISTED} samples with the lowest F1; all {len(rows)} stand in `mrd.csv`.")
    report.section(
        "Events",
        "Grey: density of all events, on a logarithmic scale. Over it the blasts: **green** found as by the "
        "experts, **blue** missed, **orange** found where the experts marked none.",
    )
    chosen = dict.fromkeys((order[0], order[len(order) // 2], order[-1]))
    for place in list(chosen)[:SHOWN]:
        row = rows[place]
        report.figure(
            draw_events(system.answer(judged[place]), system.reading.markers),
            f"{row['sample']}: F1 {row['f1']:.3f}, MRD {row['mrd']:.2%}, by experts {row['expert_mrd']:.2%}.",
        )

"""The report of a training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from medkernels.zoo.drivpocket.metrics import Found
from medkernels.zoo.drivpocket.structure import Structure
from medkernels.zoo.engine import Fitted, Report
from medkernels.zoo.engine.logs import Row

if TYPE_CHECKING:
    from medkernels.zoo.drivpocket.system import DRIVPocketSystem

LISTED = 50  # most ligands and skipped files named
COLORS = {"train": "#2a6f97", "valid": "#e07a1f"}
TERMS = {"loss": "loss", "dice": "Dice loss of voxels", "point": "cross-entropy of atoms"}
RATES = {
    "dca_top_n": "DCA, top n",
    "dca_top_n_plus_2": "DCA, top n + 2",
    "dcc_any": "DCC, any",
    "dvo": "DVO",
}


def write_report(
    system: DRIVPocketSystem,
    judged: Sequence[tuple[Structure, Sequence[Found]]],
    history: Sequence[Row],
    done: Fitted,
) -> None:
    """Write the report of `DRIVPocketSystem.fit`."""
    report = Report("Pockets of proteins", "drivpocket: voxels and rotation-invariant atoms, fused")
    count = sum(len(found) for _, found in judged)
    where = done.metrics["judged_on"]
    report.section(
        "Result",
        f"{count} ligands of {len(judged)} structures "
        + ("that training did not see." if where != "train" else "that were trained on: no others were left.")
        + " A pocket is right if its centre is less than 4 A from the nearest atom of the ligand (DCA), or "
        "from its middle (DCC), among the first n or n + 2 pockets of a structure with n ligands. DVO is the "
        "overlap of the volumes where DCC is right, and 0 elsewhere.",
    )
    if judged:
        rates = done.metrics["held_out"]
        report.metrics({name: rates[key] for key, name in RATES.items()})
        report.section("Ligands", "The rank of the first right pocket; empty where none is right.")
        rows = [_row(structure, each) for structure, found in judged for each in found]
        report.table(rows[:LISTED])
        if len(rows) > LISTED:
            report.text(f"and {len(rows) - LISTED} more.")
    else:
        report.text("None of them has a ligand to judge by.")
    report.section("Training")
    best = done.metrics["best_epoch"]
    kind = "validation" if "valid_loss" in history[0] else "training"
    report.figure(
        draw_training(history), f"The weights of epoch {best}, of the lowest {kind} loss, are kept."
    )
    cube = system.cube
    report.text(
        f"Cubes of {cube.side:g} A with {cube.edge} points along an edge, and the {cube.points} atoms "
        "nearest to the middle of each."
    )
    if done.skipped:
        report.section("Skipped files")
        report.table([{"file": name, "reason": reason} for name, reason in done.skipped[:LISTED]])
        if len(done.skipped) > LISTED:
            report.text(f"and {len(done.skipped) - LISTED} more.")
    report.save(done.report)


def draw_training(history: Sequence[Row]) -> Figure:
    """The loss and its terms by epoch."""
    terms = {term: name for term, name in TERMS.items() if f"train_{term}" in history[0]}
    figure = Figure(figsize=(3.6 * len(terms), 2.8), layout="constrained")
    cells = figure.subplots(1, len(terms), squeeze=False)[0]
    epochs = [row["epoch"] for row in history]
    for axes, (term, name) in zip(cells, terms.items(), strict=True):
        for part, color in COLORS.items():
            if f"{part}_{term}" in history[0]:
                axes.plot(epochs, [row[f"{part}_{term}"] for row in history], color=color, label=part)
        axes.set_xlabel("epoch")
        axes.set_ylabel(name)
        axes.grid(alpha=0.3)
    cells[-1].legend(fontsize=8)
    return figure


def _row(structure: Structure, found: Found) -> dict[str, object]:
    return {
        "structure": structure.name,
        "ligand": f"{found.ligand.name} {found.ligand.chain} {found.ligand.number}",
        "rank by DCA": found.dca_rank,
        "DCA of the best, A": found.dca,
        "rank by DCC": found.dcc_rank,
        "DCC of the best, A": found.dcc,
        "overlap": found.overlap,
    }

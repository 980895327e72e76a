"""The report of predictions, and the sections that the demonstration shares with it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medkernels.zoo.drivpocket.metrics import NEAR, Found, dca
from medkernels.zoo.drivpocket.pictures import SHOWN, draw_structure
from medkernels.zoo.drivpocket.pocket import Pocket
from medkernels.zoo.drivpocket.structure import Ligand, Structure
from medkernels.zoo.drivpocket.view import view
from medkernels.zoo.engine import Report

DRAWN = 6  # structures that a report shows; the tables of all stand in files
LISTED = 50  # most structures and skipped files named
RESIDUES = 10  # of a pocket, named in a table


def write_predictions(
    path: Path,
    shown: Sequence[tuple[Structure, Sequence[Pocket]]],
    rows: Sequence[dict[str, Any]],
    skipped: Sequence[Sequence[str]],
) -> Path:
    """Write the report of `DRIVPocketSystem.predict`.

    Parameters
    ----------
    shown : the first structures with their pockets.
    rows : of all structures, as `overview` makes them.
    skipped : names of files and reasons.
    """
    report = Report("Pockets of proteins", "drivpocket: where a ligand may bind, the likeliest first")
    if len(rows) > 1:
        report.section("Structures")
        report.table(list(rows[:LISTED]))
        if len(rows) > LISTED:
            report.text(f"and {len(rows) - LISTED} more.")
    for structure, pockets in shown:
        report.section(structure.name)
        add_structure(report, structure, pockets)
    if skipped:
        report.section("Skipped files")
        report.table([{"file": name, "reason": reason} for name, reason in skipped[:LISTED]])
        if len(skipped) > LISTED:
            report.text(f"and {len(skipped) - LISTED} more.")
    return report.save(path)


def overview(structure: Structure, pockets: Sequence[Pocket]) -> dict[str, Any]:
    """A structure and its first pocket as a line of a table."""
    row: dict[str, Any] = {
        "structure": structure.name,
        "atoms": len(structure),
        "ligands": len(structure.ligands),
        "pockets": len(pockets),
    }
    if pockets:
        row |= {
            "first pocket, Å³": round(pockets[0].volume),
            "mean probability": round(pockets[0].probability, 2),
        }
    return row


def add_structure(report: Report, structure: Structure, pockets: Sequence[Pocket]) -> None:
    """A table of the pockets of a structure, a view that can be turned, and pictures."""
    residues = f" in {len(structure.residues)} residues" if structure.residues else ""
    known = ", ".join(label(ligand) for ligand in structure.ligands)
    report.text(
        f"{len(structure)} atoms{residues}. "
        + (f"Bound in the file, unseen by the network: {known}." if known else "The file shows no ligand.")
    )
    if not pockets:
        report.text("No pocket was found.")
        return
    report.table([pocket_row(structure, pocket) for pocket in pockets])
    report.interactive(
        view(structure, pockets),
        "Drag to turn, scroll to come nearer; a click on a name hides or shows it. Backbone in grey, ligands "
        "in black with their oxygens red and nitrogens blue, pockets in colour with the residues that line "
        "them.",
        alt=f"{structure.name} with its pockets, as a figure that can be turned",
    )
    drawn = min(SHOWN, len(pockets))
    report.figure(
        draw_structure(structure, pockets),
        f"The same without scripts: the first {drawn} pockets, from two sides."
        if drawn > 1
        else "From two sides.",
    )


def pocket_row(structure: Structure, pocket: Pocket) -> dict[str, Any]:
    """A pocket as a line of a table; `holds` names the ligands that it meets by DCA."""
    names = [f"{one.name} {one.chain}{one.number}{one.insertion}" for one in pocket.residues]
    more = f" and {len(names) - RESIDUES} more" if len(names) > RESIDUES else ""
    met = [label(ligand) for ligand in structure.ligands if dca(pocket.centre, ligand) < NEAR]
    row: dict[str, Any] = {
        "rank": pocket.rank,
        "mean probability": round(pocket.probability, 2),
        "volume, Å³": round(pocket.volume),
        "centre, Å": ", ".join(f"{value:.1f}" for value in pocket.centre),
        "lining": ", ".join(names[:RESIDUES]) + more,
    }
    return row | ({"holds": ", ".join(met)} if structure.ligands else {})


def found_row(structure: Structure, found: Found) -> dict[str, Any]:
    """A ligand as a line of a table: which pocket met it, and how well."""
    return {
        "structure": structure.name,
        "ligand": label(found.ligand),
        "rank, DCA": found.dca_rank,
        "DCA, Å": found.dca,
        "rank, DCC": found.dcc_rank,
        "DCC, Å": found.dcc,
        "overlap": found.overlap,
    }


def label(ligand: Ligand) -> str:
    """A ligand's name and place."""
    return f"{ligand.name} {ligand.chain}{ligand.number}"

"""The demonstration: real proteins, a network trained on four of them, and the pockets of the fifth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medkernels.zoo.drivpocket.candidates import propose
from medkernels.zoo.drivpocket.examples import example
from medkernels.zoo.drivpocket.fit_report import draw_training
from medkernels.zoo.drivpocket.metrics import find, success_rates
from medkernels.zoo.drivpocket.real import compare, examples, train_small
from medkernels.zoo.drivpocket.report import add_structure, found_row
from medkernels.zoo.engine import Report

HELD_OUT = "1fbl"
WAYS = {
    "geometry": "the candidate, as its alpha spheres fill it",
    "voxels": "voxels alone",
    "fused": "voxels fused with atoms",
}


def run_demo(out_dir: Path, **options: Any) -> Path:
    """Train on four proteins, find the pockets of the fifth, and write all files and ``report.html``.

    Parameters
    ----------
    options : of `FitOptions`, other than those of `medkernels.zoo.drivpocket.real`.
    """
    structures = examples()
    held_out = next(structure for structure in structures if structure.name == HELD_OUT)
    others = [structure for structure in structures if structure is not held_out]
    system, result = train_small(others, out_dir / "run", **options)
    system.save_pretrained(out_dir / "model")
    written = system.predict(example(HELD_OUT), out_dir / "pockets")
    pockets, judged, compared = compare(system, held_out)

    report = Report(
        f"Where a ligand binds: {HELD_OUT}",
        "drivpocket on a crystal structure of collagenase (PDB entry 1FBL), with a network that was trained "
        "on four other proteins",
    )
    report.section(
        "Pockets",
        "Candidates come from geometry. The network fills each of them: voxels, fused with the atoms that it "
        "takes for binding ones. Four proteins are no training set for choosing among sites, so the pockets "
        "keep the order of their candidates.",
    )
    add_structure(report, held_out, pockets)
    report.section(
        "Against the ligand",
        "Neither the candidates nor the network saw the inhibitor. A pocket is right if its middle is less "
        "than 4 Å from the nearest atom of the ligand (DCA), or from the ligand's middle (DCC). One protein "
        "tells little: with each of the five left out in turn, a network trained on the other four is no "
        "better than geometry (`python -m medkernels.zoo.drivpocket.real`; the card has the numbers).",
    )
    report.table([found_row(held_out, found) for found in judged], "Rank of the first pocket that is right.")
    report.table(
        [
            {
                "ligand": row["ligand"],
                "pocket": way,
                "DCC, Å": row[f"DCC, {key}"],
                "overlap": row[f"overlap, {key}"],
            }
            for row in compared
            for key, way in WAYS.items()
        ],
        "From the candidate to the pocket: distance from the ligand's middle, and overlap with the ligand's "
        "volume on a lattice of 2 Å.",
    )
    report.section(
        "Candidates of all five proteins",
        "Where the true ligands rank by geometry alone, which knows nothing of them.",
    )
    every = [(structure, find(structure.ligands, propose(structure).centres)) for structure in structures]
    rates = success_rates([found for _, found in every])
    report.metrics(
        {
            "DCA, top n": rates["dca_top_n"],
            "DCA, top n + 2": rates["dca_top_n_plus_2"],
            "DCA, any": rates["dca_any"],
        }
    )
    columns = ("structure", "ligand", "rank, DCA", "DCA, Å")
    rows = [found_row(structure, one) for structure, found in every for one in found]
    report.table(
        [{name: row[name] for name in columns} for row in rows],
        "Rank of the first candidate within 4 Å of an atom; empty where there is none. The rules by which "
        "candidates are made were chosen on these very proteins.",
    )
    report.section(
        "Training",
        f"{len(others)} proteins with {sum(len(one.ligands) for one in others)} ligands, turned at random in "
        f"each of {len(result.history)} epochs: {result.seconds:.0f} s.",
    )
    report.figure(draw_training(result.history))
    report.section(
        "Files",
        "In `pockets/`; `model/` holds the trained system, `medkernels zoo predict drivpocket --model model "
        "--data x.pdb` applies it.",
    )
    report.text("\n".join(f"- `{file}`: {_purpose(file)}" for file in written["files"]))
    return report.save(out_dir / "report.html")


def _purpose(file: str) -> str:
    return {
        ".csv": "the ranked pockets as a table, columns named as P2Rank names them",
        ".pdb": "points that fill the pockets, a residue a pocket",
        ".ply": "the same as a coloured point cloud, for Open3D and MeshLab",
        ".pml": "shows protein and pockets in PyMOL",
        ".cxc": "shows them in ChimeraX",
        ".html": "the report of the prediction",
    }[Path(file).suffix]

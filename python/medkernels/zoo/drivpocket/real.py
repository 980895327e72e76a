"""A small network on the real proteins of the package: trained on some, judged on one that it did not see.

``python -m medkernels.zoo.drivpocket.real`` leaves out each of the five proteins in turn, and prints how near
candidates, voxels alone, and voxels fused with atoms come to each ligand. A handful of proteins is enough to
learn what a filled hollow looks like, not to tell good sites from bad ones, so pockets keep the order of
their candidates.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medkernels.zoo.drivpocket.acceptance import PRIOR, one_thread
from medkernels.zoo.drivpocket.apply import judge, segment
from medkernels.zoo.drivpocket.candidates import propose
from medkernels.zoo.drivpocket.entries import entries_of
from medkernels.zoo.drivpocket.examples import NAMES, example
from medkernels.zoo.drivpocket.geometric import geometric_pockets
from medkernels.zoo.drivpocket.metrics import Found, dcc, find, ligand_volume, overlap
from medkernels.zoo.drivpocket.pocket import Pocket
from medkernels.zoo.drivpocket.reading import read_structure
from medkernels.zoo.drivpocket.structure import Structure
from medkernels.zoo.drivpocket.system import DRIVPocketSystem
from medkernels.zoo.drivpocket.training import Sites, train_network
from medkernels.zoo.engine import FitOptions, FitResult

SYSTEM: dict[str, Any] = {
    "width": 8,
    "side": 24.0,
    "resolution": 1.5,
    "points": 200,
    "prior": PRIOR,
    "ranking": "candidate",
}
TRAINING: dict[str, Any] = {
    "max_epochs": 100,
    "batch_size": 4,
    "lr": 3e-3,
    "weight_decay": 1e-3,
    "checkpoint_every_epochs": 100,
    "tensorboard": False,
    "resume": False,
}


def examples(names: Sequence[str] = NAMES) -> list[Structure]:
    """The proteins of the package, read from their files."""
    return [read_structure(example(name)) for name in names]


def train_small(
    structures: Sequence[Structure], run_dir: Path, **options: Any
) -> tuple[DRIVPocketSystem, FitResult]:
    """A system whose network is trained on the sites of some structures that hold a ligand, turned at random.

    Parameters
    ----------
    options : of `FitOptions`, other than `TRAINING`.
    """
    system = DRIVPocketSystem(**SYSTEM)
    sites = Sites(entries_of(structures, decoys=0), system.cube, turn=True)
    settings = FitOptions(**(TRAINING | options))
    with one_thread():
        return system, train_network(system.module, sites, None, run_dir, settings, optimizer="adamw")


def compare(
    system: DRIVPocketSystem, structure: Structure
) -> tuple[list[Pocket], list[Found], list[dict[str, Any]]]:
    """The pockets of a structure, what they are worth, and a line a ligand that tells them from candidates.

    A line holds the rank of the first candidate that is right by DCA and, for the candidate as geometry fills
    it, for what the voxels alone make of it, and for these fused with atoms: the distance from the pocket's
    middle to the ligand's, and the overlap with the ligand's volume.
    """
    candidates = propose(structure)
    with one_thread():
        fused, alone = (
            segment(
                system.module, structure, candidates, cube=system.cube, ranking=system.ranking, fused=both
            )
            for both in (True, False)
        )
    plain = geometric_pockets(structure, candidates, most=None)
    ways = {"geometry": plain, "voxels": alone, "fused": fused}
    rows = []
    for found in find(structure.ligands, candidates.centres):
        row: dict[str, Any] = {
            "protein": structure.name,
            "ligand": found.ligand.name,
            "candidate": found.dca_rank,
        }
        for name, pockets in ways.items():
            middle, shared = _meeting(found, pockets)
            row |= {f"DCC, {name}": middle, f"overlap, {name}": shared}
        rows.append(row)
    return fused, judge(structure, fused), rows


def _meeting(found: Found, pockets: Sequence[Pocket]) -> tuple[float | None, float | None]:
    """DCC and overlap of a ligand with what came of its candidate; None where nothing did."""
    for pocket in pockets:
        if pocket.candidate == found.dca_rank:
            true = ligand_volume(found.ligand)
            return dcc(pocket.centre, found.ligand), overlap(pocket.points, true)
    return None, None


def main(arguments: Sequence[str] | None = None) -> None:
    """Leave out each protein in turn."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--names", nargs="+", default=list(NAMES), help="proteins left out, each in turn")
    parser.add_argument("--epochs", type=int, default=TRAINING["max_epochs"])
    chosen = parser.parse_args(arguments)
    structures = examples()
    rows: list[dict[str, Any]] = []
    started = time.process_time()
    for name in chosen.names:
        others = [structure for structure in structures if structure.name != name]
        with tempfile.TemporaryDirectory() as work:
            options = {"max_epochs": chosen.epochs, "progress": False}
            system, _ = train_small(others, Path(work), **options)
        held_out = next(structure for structure in structures if structure.name == name)
        rows += compare(system, held_out)[2]
    columns = list(rows[0])
    print("  ".join(columns))
    for row in rows:
        print("  ".join(_shown(row[column]).rjust(len(column)) for column in columns))
    # Means over the ligands of which every way made a pocket.
    whole = [row for row in rows if None not in row.values()]
    means = {name: float(np.mean([row[name] for row in whole])) if whole else None for name in columns[3:]}
    line = [_shown(means[name]).rjust(len(name)) for name in columns[3:]]
    print("  ".join([f"mean of {len(whole)}".ljust(len("  ".join(columns[:3]))), *line]))
    print(f"{time.process_time() - started:.0f} s of processor time")


def _shown(value: Any) -> str:
    return "-" if value is None else f"{value:.2f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()

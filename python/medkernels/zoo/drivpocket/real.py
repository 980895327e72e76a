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
    "max_epochs": 80,
    "batch_size": 4,
    "lr": 4e-3,
    "weight_decay": 1e-3,
    "schedule": "cosine",
    "checkpoint_every_epochs": 80,
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
    rows = []
    for found in find(structure.ligands, candidates.centres):
        row: dict[str, Any] = {
            "protein": structure.name,
            "ligand": found.ligand.name,
            "candidate": found.dca_rank,
        }
        if found.dca_rank is not None:
            rows.append(row | _distances(found, plain, alone, fused))
        else:
            rows.append(row)
    return fused, judge(structure, fused), rows


def _distances(
    found: Found, plain: Sequence[Pocket], alone: Sequence[Pocket], fused: Sequence[Pocket]
) -> dict[str, float]:
    true = ligand_volume(found.ligand)
    row: dict[str, float] = {}
    for name, pockets in (("geometry", plain), ("voxels", alone), ("fused", fused)):
        for pocket in pockets:
            if pocket.candidate == found.dca_rank:
                row[f"DCC, {name}"] = dcc(pocket.centre, found.ligand)
                row[f"overlap, {name}"] = overlap(pocket.points, true)
    return row


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
    columns = [*rows[0], *dict.fromkeys(key for row in rows for key in row if key not in rows[0])]
    print("  ".join(columns))
    for row in rows:
        print("  ".join(_shown(row.get(column)).rjust(len(column)) for column in columns))
    numbers = columns[3:]
    means = {column: np.mean([row[column] for row in rows if column in row]) for column in numbers}
    print("mean".ljust(len("  ".join(columns[:3]))), *(_shown(means[one]).rjust(len(one)) for one in numbers))
    print(f"{time.process_time() - started:.0f} s of processor time")


def _shown(value: Any) -> str:
    return "-" if value is None else f"{value:.2f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()

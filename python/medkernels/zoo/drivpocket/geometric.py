"""Pockets from geometry alone, where no network is trained yet: candidates, filled by their alpha spheres.

``python -m medkernels.zoo.drivpocket.geometric x.pdb --out pockets`` writes the files and the report that
`DRIVPocketSystem.predict` writes with a network.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medkernels import points
from medkernels.zoo.drivpocket.candidates import Candidates, burial, propose
from medkernels.zoo.drivpocket.data import Skipped, listed, stream
from medkernels.zoo.drivpocket.pocket import Pocket, lining_atoms
from medkernels.zoo.drivpocket.reading import Reading
from medkernels.zoo.drivpocket.report import DRAWN, overview, write_predictions
from medkernels.zoo.drivpocket.structure import Floats, Structure
from medkernels.zoo.drivpocket.writing import write_pockets

SPACING = 0.5  # of the lattice that fills a pocket, Angstrom
NEAREST = 8  # atoms that a lattice point is compared with: no more overlap at one place
MOST = 12


def geometric_pockets(
    structure: Structure,
    candidates: Candidates | None = None,
    *,
    most: int | None = MOST,
    spacing: float = SPACING,
) -> list[Pocket]:
    """Candidates as pockets, in their order.

    A pocket is filled by the lattice points inside its alpha spheres and outside all atoms. Its probability
    is the mean burial of its spheres, which is none in earnest; its score is the candidate's.

    Parameters
    ----------
    structure : Structure
    candidates : Candidates, optional
        Our own proposals if None.
    most : int, optional
        Candidates taken, from the best on; all if None.
    spacing : float
        Of the lattice, Angstrom.

    Raises
    ------
    ValueError
        If the spacing is not positive and finite.
    """
    if not 0 < spacing < float("inf"):
        raise ValueError(f"spacing must be positive and finite, got {spacing}")
    sites = propose(structure) if candidates is None else candidates
    pockets = []
    for place, centre in enumerate(sites.centres[:most]):
        inside = _filled(structure, sites.points[place], sites.radii[place], spacing)
        atoms = lining_atoms(structure, inside)
        pockets.append(
            Pocket(
                rank=place + 1,
                score=float(sites.scores[place]),
                probability=float(burial(structure, sites.points[place].astype(np.float64)).mean()),
                centre=inside.mean(axis=0) if len(inside) else centre,
                points=inside,
                volume=len(inside) * spacing**3,
                atoms=atoms,
                residues=structure.lining(atoms),
                candidate=place + 1,
            )
        )
    return pockets


def _filled(structure: Structure, centres: Floats, radii: Floats, spacing: float) -> Floats:
    """Lattice points inside spheres and outside atoms."""
    low = np.floor((centres - radii[:, None]).min(axis=0) / spacing)
    high = np.ceil((centres + radii[:, None]).max(axis=0) / spacing)
    axes = [np.arange(first, last + 1) * spacing for first, last in zip(low, high, strict=True)]
    lattice = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3).astype(np.float32)
    within = np.zeros(len(lattice), np.bool_)
    for centre, radius in zip(centres, radii, strict=True):
        within |= ((lattice - centre) ** 2).sum(axis=1) < radius**2
    lattice = np.ascontiguousarray(lattice[within])
    near, squared = points.knn(structure.coords, lattice, k=min(NEAREST, len(structure)))
    return np.asarray(lattice[(squared >= structure.radii[near] ** 2).all(axis=1)])


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the pockets of a file or folder."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("data", type=Path, help="a PDB or mmCIF file, or a folder of them")
    parser.add_argument("--out", type=Path, default=Path("pockets"), help="folder for the results")
    chosen = parser.parse_args(arguments)
    skipped: Skipped = []
    rows: list[dict[str, Any]] = []
    shown: list[tuple[Structure, list[Pocket]]] = []
    for structure, _ in stream(chosen.data, Reading(), skipped):
        pockets = geometric_pockets(structure)
        write_pockets(chosen.out, structure, pockets)
        rows.append(overview(structure, pockets))
        shown += [(structure, pockets)] if len(shown) < DRAWN else []
    if not rows:
        raise SystemExit(f"data: no structure can be used ({listed(skipped)})")
    print(write_predictions(chosen.out / "report.html", shown, rows, skipped))


if __name__ == "__main__":
    main()

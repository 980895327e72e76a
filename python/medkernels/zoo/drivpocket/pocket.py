"""A pocket as the system gives it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medkernels import points
from medkernels.zoo.drivpocket.structure import Floats, Ints, Residue, Structure

LINING = 4.0  # atoms this near to a point of the pocket line it, Angstrom


@dataclass(frozen=True)
class Pocket:
    """One site where a ligand may bind.

    Attributes
    ----------
    rank : int
        From 1, the best.
    score : float
        What it is ranked by; higher is better.
    probability : float
        Of being a binding site, in [0, 1].
    centre : float32 [3]
        Angstrom.
    points : float32 [m,3]
        Lattice points inside, Angstrom.
    volume : float
        Angstrom^3.
    atoms : int64
        Places of the atoms that line it, ascending.
    residues : tuple of Residue
        Theirs.
    candidate : int
        The rank of the candidate that it came from.
    """

    rank: int
    score: float
    probability: float
    centre: Floats
    points: Floats
    volume: float
    atoms: Ints
    residues: tuple[Residue, ...]
    candidate: int = 0

    @property
    def spacing(self) -> float:
        """Of the lattice, Angstrom; 0 without points."""
        return float((self.volume / len(self.points)) ** (1 / 3)) if len(self.points) else 0.0


def lining_atoms(structure: Structure, places: Floats, distance: float = LINING) -> Ints:
    """Atoms of the structure that are at most `distance` from one of the places [m,3], ascending."""
    if not len(places):
        return np.empty(0, np.int64)
    _, squared = points.knn(np.ascontiguousarray(places, np.float32), structure.coords, k=1)
    return np.flatnonzero(squared[:, 0] <= distance**2)

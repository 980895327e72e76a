"""Types of atoms in residues that no table knows, from elements and distances."""

from __future__ import annotations

from collections.abc import Sequence

import gemmi
import numpy as np
import numpy.typing as npt

from medkernels import points
from medkernels.zoo.drivpocket import atoms

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

SLACK = 0.45  # a bond is at most this much longer than both covalent radii, Angstrom (Cordero et al. 2008)
LONGEST = 2.6  # of all bonds between the elements of life, Angstrom
MOST_BONDS = 16  # neighbours looked at: more than any atom has within `LONGEST`
FLAT = 0.1  # farthest that an atom of an aromatic ring lies from its plane, Angstrom
DOUBLE_CO = 1.30  # a C-O bond below is one of a carbonyl or carboxylate, above of a hydroxyl, Angstrom
TRIPLE_CN = 1.20  # a C-N bond below is one of a nitrile, Angstrom
RING_SIZES = (5, 6)


def bonds(coords: Floats, elements: Sequence[str]) -> list[list[int]]:
    """For each atom the atoms it is bonded to, by distance; metals are bonded to none."""
    if not len(coords):
        return []
    covalent = np.array([gemmi.Element(name).covalent_r for name in elements], np.float32)
    metal = np.array([gemmi.Element(name).is_metal for name in elements])
    near, squared = points.knn(coords, k=MOST_BONDS, include_self=False)
    reach = np.minimum(covalent[:, None] + covalent[near] + SLACK, LONGEST)
    bonded = (near >= 0) & (squared <= reach**2) & ~metal[:, None] & ~metal[near]
    return [near[atom, bonded[atom]].tolist() for atom in range(len(coords))]


def perceive(atom: int, coords: Floats, elements: Sequence[str], table: Sequence[Sequence[int]]) -> int:
    """The channel of one atom.

    Parameters
    ----------
    coords : float32 [N,3]
    elements : of the N atoms, without hydrogens.
    table : as `bonds` returns it.
    """
    element = elements[atom]
    if element not in ("C", "N", "O"):
        return atoms.BY_ELEMENT.get(element, atoms.METAL)
    partners = [elements[other] for other in table[atom]]
    if element == "C":
        mixed = any(other != "C" for other in partners)
        if is_aromatic(atom, coords, elements, table):
            return atoms.AROMATIC if mixed else atoms.AROMATIC_HYDROPHOBE
        return atoms.CARBON if mixed else atoms.HYDROPHOBE
    shortest = min(
        (float(np.linalg.norm(coords[atom] - coords[other])) for other in table[atom]), default=np.inf
    )
    if element == "O":
        if len(partners) > 1 or (partners and (partners != ["C"] or shortest < DOUBLE_CO)):
            return atoms.OXYGEN  # an ether, a phosphate, sulfate or nitro group, a carbonyl
        return atoms.OXYGEN_DONOR
    if len(partners) > 2 or (len(partners) == 1 and shortest < TRIPLE_CN):
        return atoms.NITROGEN
    if len(partners) == 2 and is_aromatic(atom, coords, elements, table):
        return atoms.NITROGEN  # as in pyridine; those as in pyrrole look the same without hydrogens
    return atoms.NITROGEN_DONOR


def is_aromatic(atom: int, coords: Floats, elements: Sequence[str], table: Sequence[Sequence[int]]) -> bool:
    """Whether an atom is part of a flat ring of five or six atoms of C, N, O and S."""
    for ring in _rings(atom, table):
        places = coords[ring] - coords[ring].mean(axis=0)
        normal = np.linalg.svd(places)[2][2]
        if np.abs(places @ normal).max() < FLAT and all(elements[one] in "CNOS" for one in ring):
            return True
    return False


def _rings(atom: int, table: Sequence[Sequence[int]]) -> list[list[int]]:
    """Closed walks of five or six different atoms through an atom."""
    found, open_walks = [], [[atom]]
    while open_walks:
        walk = open_walks.pop()
        for other in table[walk[-1]]:
            if other == atom and len(walk) in RING_SIZES:
                found.append(walk)
            elif other not in walk and len(walk) < max(RING_SIZES):
                open_walks.append([*walk, other])
    return found

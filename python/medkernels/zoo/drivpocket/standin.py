"""Stand-in proteins: balls of atoms with three cavities, of which chemistry and shape together name one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from medkernels.zoo.drivpocket import atoms
from medkernels.zoo.drivpocket.sites import moved, random_rotation
from medkernels.zoo.drivpocket.structure import Floats, Ligand, Structure

SPACING, NOISE = 2.6, 0.45  # Angstrom, of the lattice of atoms
BALL = 11.5  # Angstrom
RADII = (3.6, 4.6)  # of cavities
DEPTHS = (8.0, 9.5)  # of their middles, from the middle of the ball
LINING = 2.6  # atoms nearer than this to the wall line a cavity
INSET = 0.4  # points of a cavity keep off its wall: 3 A from them is `LINING` from the wall
PURITY = 0.8  # share of the lining's atoms that have the cavity's kind
PATCH = 5.0  # Angstrom, radius of the patch on the convex surface
APART = np.deg2rad(75)  # least angle between cavities and patch
TILT = np.deg2rad(12)  # of the true cavity from +z, where proteins are not turned
POLAR = (atoms.NITROGEN, atoms.NITROGEN_DONOR, atoms.OXYGEN, atoms.OXYGEN_DONOR)
GREASY = (atoms.HYDROPHOBE, atoms.AROMATIC_HYDROPHOBE)
RADIUS_OF = {atoms.OXYGEN: "O", atoms.OXYGEN_DONOR: "O", atoms.NITROGEN: "N", atoms.NITROGEN_DONOR: "N"}
LIGAND_ATOMS = 12


def stand_in(count: int, seed: int = 0, *, turned: bool = False) -> list[Structure]:
    """Proteins of about 320 atoms: one true cavity, lined by polar atoms, and two that hydrophobic ones line.

    A patch of polar atoms on the convex surface makes chemistry alone useless, the decoys shape alone. The
    true cavity lies near +z as seen from the middle of the ball, the origin.

    Parameters
    ----------
    count : int
    seed : int
        Of all that is random; a protein depends on it and on its own number alone.
    turned : bool
        Turn each at random about the origin.

    Returns
    -------
    list of Structure
        `cavity` holds points of the true cavity, and a ligand lies in it.
    """
    return [_protein(np.random.default_rng([seed, number]), number, turned) for number in range(count)]


def _protein(rng: np.random.Generator, number: int, turned: bool) -> Structure:
    directions = _directions(rng)
    radii, depths = rng.uniform(*RADII, 3), rng.uniform(*DEPTHS, 3)
    middles = directions[:3] * depths[:, None]
    edge = np.arange(-np.ceil(BALL / SPACING), np.ceil(BALL / SPACING) + 1) * SPACING
    lattice = np.stack(np.meshgrid(edge, edge, edge), axis=-1).reshape(-1, 3)
    lattice = lattice + rng.uniform(-SPACING / 2, SPACING / 2, 3) + NOISE * rng.standard_normal(lattice.shape)
    walls = np.linalg.norm(lattice[:, None] - middles, axis=2) - radii  # [n,3]: distances from the walls
    keep = (np.linalg.norm(lattice, axis=1) < BALL) & (walls > 0).all(axis=1)
    coords, walls = lattice[keep], walls[keep]
    channels = rng.choice([*POLAR, *GREASY, atoms.CARBON], len(coords))
    patch = np.linalg.norm(coords - BALL * directions[3], axis=1) < PATCH
    for lining, kinds in (
        (walls[:, 0] < LINING, POLAR),
        (walls[:, 1] < LINING, GREASY),
        (walls[:, 2] < LINING, GREASY),
        (patch & (walls > LINING).all(axis=1), POLAR),
    ):
        chosen = lining & (rng.random(len(coords)) < PURITY)
        channels[chosen] = rng.choice(kinds, int(chosen.sum()))
    inner = float(radii[0]) - INSET
    structure = Structure(
        f"stand-in {number:03d}",
        coords.astype(np.float32),
        channels.astype(np.int64),
        np.array([atoms.radius(RADIUS_OF.get(int(kind), "C")) for kind in channels], np.float32),
        ligands=(Ligand("LIG", "A", 1, _filled(middles[0], inner / 2, LIGAND_ATOMS)),),
        cavity=np.concatenate([_filled(middles[0], inner * part, 100) for part in (1.0, 0.67, 0.33)]),
    )
    return moved(structure, random_rotation(rng), np.zeros(3, np.float32)) if turned else structure


def _directions(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Where the true cavity, two decoys and the patch lie: unit vectors [4,3], well apart."""
    tilt, turn = TILT * np.sqrt(rng.random()), rng.uniform(0, 2 * np.pi)
    found = [np.array([np.sin(tilt) * np.cos(turn), np.sin(tilt) * np.sin(turn), np.cos(tilt)])]
    while len(found) < 4:
        other = rng.standard_normal(3)
        other /= np.linalg.norm(other)
        if all(other @ one < np.cos(APART) for one in found):
            found.append(other)
    return np.array(found)


def _filled(middle: npt.NDArray[np.float64], radius: float, count: int) -> Floats:
    """Points spread evenly over a sphere, along a spiral."""
    z = 1 - (2 * np.arange(count) + 1) / count
    turn = np.pi * (1 + np.sqrt(5)) * np.arange(count)
    ring = np.sqrt(1 - z * z)
    ball = np.stack([ring * np.cos(turn), ring * np.sin(turn), z], axis=1)
    return (middle + radius * ball).astype(np.float32)

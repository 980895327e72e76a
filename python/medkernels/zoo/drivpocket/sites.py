"""Sites: the cube around a candidate centre as the network reads it, with labels where a ligand is known."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.ndimage import binary_dilation

from medkernels.points import grid_atoms, knn
from medkernels.zoo.drivpocket.atoms import CHANNELS
from medkernels.zoo.drivpocket.fusion import Grid
from medkernels.zoo.drivpocket.model import POINT_SCALE
from medkernels.zoo.drivpocket.structure import Floats, Ints, Structure

SIDE = 32.0  # Angstrom
RESOLUTION = 0.5
POINTS = 400  # atoms nearest to the centre
REACH = 1.5 * 2.2  # Angstrom: the density of the largest atoms ends here
LIGAND_REACH = 4.0  # atoms nearer than this to an atom of a ligand touch it
LIGAND_RADIUS = 1.7  # Angstrom, of a ligand's atoms in the voxel labels
CAVITY_REACH, CAVITY_RADIUS = 3.0, 1.0  # as published, of the points of a cavity


@dataclass(frozen=True)
class Site:
    """A cube of a structure.

    Attributes
    ----------
    structure : Structure
    grid : Grid
    atoms : int64 [P]
        Places of the atoms nearest to the centre, nearest first; a structure with fewer gives some twice.
    present : bool [P]
        False for those that come again.
    voxel_labels : bool [R,R,R] or None
        Where the ligand is.
    atom_labels : bool [P] or None
        Which atoms touch it.
    """

    structure: Structure
    grid: Grid
    atoms: Ints
    present: npt.NDArray[np.bool_]
    voxel_labels: npt.NDArray[np.bool_] | None = None
    atom_labels: npt.NDArray[np.bool_] | None = None

    @property
    def points(self) -> Floats:
        """The atoms [P,3] as the point stream reads them: ``(xyz - centre) / 16.25``."""
        return (self.structure.coords[self.atoms] - self.grid.centre) / np.float32(POINT_SCALE)

    @property
    def types(self) -> Ints:
        """Their channels [P]."""
        return self.structure.channels[self.atoms]

    def voxels(self) -> Floats:
        """The structure's atoms in the grid [14,R,R,R]."""
        structure, grid = self.structure, self.grid
        near = (np.abs(structure.coords - grid.centre) < grid.side / 2 + REACH).all(axis=1)
        drawn: Floats = grid_atoms(
            structure.coords[near],
            structure.channels[near],
            structure.radii[near],
            center=grid.centre,
            side=grid.side,
            resolution=grid.resolution,
            n_channels=len(CHANNELS),
        )
        return drawn


def make_site(
    structure: Structure,
    centre: npt.ArrayLike,
    *,
    side: float = SIDE,
    resolution: float = RESOLUTION,
    points: int = POINTS,
) -> Site:
    """The cube around a centre.

    Parameters
    ----------
    structure : Structure
    centre : [3]
        Angstrom.
    side, resolution : float
        Edge of the cube and spacing of its lattice, Angstrom.
    points : int
        How many atoms the point stream reads.

    Raises
    ------
    ValueError
        If the centre is not three finite numbers.
    """
    middle = np.asarray(centre, np.float32)
    if middle.shape != (3,) or not np.isfinite(middle).all():
        raise ValueError(f"centre: want three finite numbers, got {centre!r}")
    count = min(points, len(structure))
    nearest = knn(structure.coords, middle[None], k=count)[0][0]
    # A network reads equally many atoms of each site in a batch.
    atoms = np.resize(nearest, points)
    return Site(structure, Grid(middle, side, resolution), atoms, np.arange(points) < count)


def label_site(site: Site, ligand: Floats, *, reach: float, radius: float) -> Site:
    """The site with labels: voxels within `radius` of a point of the ligand, dilated by one voxel, and atoms.

    Parameters
    ----------
    site : Site
    ligand : [M,3]
        Atoms of all ligands, or points of the cavity; may be empty.
    reach : float
        Atoms nearer than this to one of them are labelled, Angstrom.
    radius : float
        Of the points, Angstrom.
    """
    grid = site.grid
    if not len(ligand):
        return replace(
            site,
            voxel_labels=np.zeros((grid.points,) * 3, np.bool_),
            atom_labels=np.zeros(len(site.atoms), np.bool_),
        )
    ligand = np.ascontiguousarray(ligand, np.float32)
    drawn = grid_atoms(
        ligand,
        np.zeros(len(ligand), np.int64),
        radius,
        center=grid.centre,
        side=grid.side,
        resolution=grid.resolution,
        n_channels=1,
        density="binary",
    )[0]
    inside = binary_dilation(drawn > 0, np.ones((3, 3, 3), np.bool_))
    squared = knn(ligand, site.structure.coords[site.atoms], k=1)[1][:, 0]
    return replace(site, voxel_labels=inside, atom_labels=squared < reach**2)


def label_known(site: Site) -> Site:
    """The site with the labels of what its structure knows: points of a cavity, or else the ligands."""
    structure = site.structure
    if structure.cavity is not None:
        return label_site(site, structure.cavity, reach=CAVITY_REACH, radius=CAVITY_RADIUS)
    atoms = [ligand.coords for ligand in structure.ligands]
    everything = np.concatenate(atoms) if atoms else np.zeros((0, 3), np.float32)
    return label_site(site, everything, reach=LIGAND_REACH, radius=LIGAND_RADIUS)


def moved(structure: Structure, rotation: Floats, about: Floats) -> Structure:
    """The structure and all that is known of it, turned about a point.

    Parameters
    ----------
    rotation : [3,3]
    about : [3]
    """

    def turn(places: Floats) -> Floats:
        return ((places - about) @ rotation.T + about).astype(np.float32)

    return replace(
        structure,
        coords=turn(structure.coords),
        ligands=tuple(replace(ligand, coords=turn(ligand.coords)) for ligand in structure.ligands),
        cavity=None if structure.cavity is None else turn(structure.cavity),
    )


def random_rotation(rng: np.random.Generator) -> Floats:
    """A rotation, all equally likely: that of a random unit quaternion."""
    w, x, y, z = (q := rng.standard_normal(4)) / np.linalg.norm(q)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ],
        np.float32,
    )

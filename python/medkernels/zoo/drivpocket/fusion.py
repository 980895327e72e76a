"""Semantic fusion (SFM): predicted atoms added to predicted voxels, and the mask that remains.

The geometry is that of the released code: what is drawn around an atom is cut by a sphere around the pocket's
centre.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from skimage.morphology import closing

from medkernels.regions import label

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

SURE = 0.9  # probability of the voxels whose middle is the pocket's centre
INSIDE = 0.85  # probability above which a voxel counts in full
DROPPED = 0.1  # densities below this are 0
OUTER = (3.0, 4.0)  # multiple of the Gaussian radius, and radius in Angstrom
INNER = (1.0, 3.0)
SHELL, SUPPORT = 0.3, 1.5  # weights of the shell alone, and of the shell times the probability
THRESHOLD = 0.5
FULL = 26  # neighbours of a voxel in a component


@dataclass(frozen=True)
class Grid:
    """A cube of lattice points.

    Attributes
    ----------
    centre : float32 [3]
        Angstrom.
    side, resolution : float
        Edge and spacing, Angstrom.
    """

    centre: Floats
    side: float
    resolution: float

    @property
    def points(self) -> int:
        """R, points along an edge."""
        return math.floor(self.side / self.resolution + 0.5) + 1

    @property
    def origin(self) -> npt.NDArray[np.float64]:
        """Place of the first point."""
        return np.asarray(self.centre, np.float64) - self.side / 2

    def places(self, indices: npt.NDArray[np.int64]) -> Floats:
        """Coordinates of lattice points [m,3] -> [m,3]."""
        return (self.origin + self.resolution * indices).astype(np.float32)


def fuse(
    probabilities: Floats, grid: Grid, atoms: Floats, *, threshold: float = THRESHOLD
) -> tuple[Floats, Mask]:
    """Fuse what both streams found: ``1[P_v > 0.85] + 0.3 E + 1.5 E P_v``, E a shell around the atoms.

    Around each atom a density is drawn twice, with radius 4 A (and a Gaussian up to three radii) and with
    3 A; values below 0.1 are dropped, and so are voxels farther from the pocket's centre than the atom. Each
    is summed over the atoms and cut at 1; E is their difference. The centre is the mean of the voxels with
    ``P_v >= 0.9``, or, where there are none, with 0.9 of the highest value.

    Parameters
    ----------
    probabilities : [R,R,R]
        P_v, of the voxel stream.
    grid : Grid
    atoms : [n,3]
        Those that the point stream takes for binding ones, Angstrom. Without any the score is P_v.
    threshold : float
        Voxels with a score of at least this are in the mask.

    Returns
    -------
    score : float32 [R,R,R]
        May exceed 1.
    mask : bool [R,R,R]
        Closed, its largest component; empty where no score reaches the threshold.

    Raises
    ------
    ValueError
        If a shape does not fit.
    """
    if probabilities.shape != (grid.points,) * 3:
        raise ValueError(f"probabilities: want shape {[grid.points] * 3}, got {list(probabilities.shape)}")
    if atoms.ndim != 2 or atoms.shape[1] != 3:
        raise ValueError(f"atoms: want shape [n, 3], got {list(atoms.shape)}")
    score = np.asarray(probabilities, np.float32)
    if len(atoms):
        steps = (np.asarray(atoms, np.float64) - grid.origin) / grid.resolution
        centre = sure_centre(probabilities)
        shell = _blobs(steps, centre, grid, *OUTER) - _blobs(steps, centre, grid, *INNER)
        fused = (probabilities > INSIDE) + SHELL * shell + SUPPORT * shell * probabilities
        score = fused.astype(np.float32)
    return score, pocket_mask(score, threshold=threshold)


def sure_centre(probabilities: Floats) -> npt.NDArray[np.float64]:
    """Mean place of the surest voxels, in steps of the grid."""
    least = min(SURE, SURE * float(probabilities.max()))
    return np.asarray(np.argwhere(probabilities >= least).mean(axis=0), np.float64)


def density(distances: npt.NDArray[np.float64], multiple: float, radius: float) -> npt.NDArray[np.float64]:
    """The density of an atom at some distances, as `medkernels.points.grid_atoms` draws it.

    Parameters
    ----------
    distances, radius : Angstrom.
    multiple : of the radius, up to which the density is Gaussian.
    """
    u = distances / radius
    end = (1 + 2 * multiple**2) / (2 * multiple)
    tail = 4 * multiple**2 * math.exp(-2 * multiple**2) * np.square(np.maximum(end - u, 0))
    return np.where(u <= multiple, np.exp(-2 * u * u), tail)


def pocket_mask(score: Floats, *, threshold: float = THRESHOLD) -> Mask:
    """The largest component of what reaches the threshold, after a closing by the six nearest voxels.

    Components touch by faces, edges or corners; of equally large ones the first remains.
    """
    mask = np.asarray(closing(score >= threshold), np.bool_)
    labels, count, measures = label(mask, connectivity=FULL, return_measures=True)
    if count == 0:
        return mask
    return np.asarray(labels == 1 + int(measures.area.argmax()), np.bool_)


def _blobs(
    steps: npt.NDArray[np.float64],
    centre: npt.NDArray[np.float64],
    grid: Grid,
    multiple: float,
    radius: float,
) -> npt.NDArray[np.float64]:
    """Densities of atoms on the near side of each, summed and cut at 1, [R,R,R]."""
    count = grid.points
    reach = math.ceil(radius * math.sqrt(-math.log(DROPPED) / 2) / grid.resolution) + 1
    edge = np.arange(-reach, reach + 1)
    offsets = np.stack(np.meshgrid(edge, edge, edge, indexing="ij"), axis=-1).reshape(-1, 3)
    near = np.rint(steps).astype(np.int64)
    total = np.zeros(count**3)
    for place, atom in zip(near, steps, strict=True):  # each draws some thousand voxels
        voxels = place + offsets
        voxels = voxels[((voxels >= 0) & (voxels < count)).all(axis=1)]
        values = density(np.linalg.norm(voxels - atom, axis=1) * grid.resolution, multiple, radius)
        facing = np.linalg.norm(voxels - centre, axis=1) <= np.linalg.norm(atom - centre)
        kept = (values >= DROPPED) & facing
        total[np.ravel_multi_index(tuple(voxels[kept].T), (count,) * 3)] += values[kept]
    return np.minimum(total, 1).reshape(count, count, count)

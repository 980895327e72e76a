"""Candidate sites of a protein, from its geometry alone, ranked.

Where ligands bind a protein is hollow. An alpha sphere touches four atoms and holds none: those of middle
size stand in hollows, smaller ones between packed atoms, larger ones outside. Spheres that look out on
solvent on most sides are dropped, the others are put together to pockets, and pockets are ranked by the
volume of their spheres, so that wide hollows come first.

V. Le Guilloux, P. Schmidtke and P. Tuffery, "Fpocket: an open source platform for ligand pocket detection"
(2009), which proposes the candidates of the published pipeline: the spheres and their least and greatest
radius. M. Hendlich, F. Rippmann and G. Barnickel, "LIGSITE" (1997): burial, as the share of directions in
which there is protein. Which spheres are buried, how they are put together and ranked is ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial import Delaunay, QhullError

from medkernels import points
from medkernels.zoo.drivpocket.structure import Floats, Structure

Doubles = npt.NDArray[np.float64]

SMALLEST, LARGEST = 3.2, 6.0  # radii of alpha spheres, Angstrom
BURIED = 0.6  # least share of directions with protein
DIRECTIONS = 64
REACH = 10.0  # how far one looks for protein, Angstrom
WITHIN_REACH = 384  # nearest atoms looked at: more than fit within `REACH`, about 0.06 an Angstrom^3
APART = 7.0  # mean distance of spheres at which two groups stay two pockets, Angstrom
LEAST_SPHERES = 10
BLOCK = 256  # spheres whose burial is computed together
FLAT = 1e-6  # tetrahedra of a smaller determinant have no usable sphere, Angstrom^3


@dataclass(frozen=True)
class Candidates:
    """Candidate sites, the best first.

    Attributes
    ----------
    centres : float32 [K,3]
        The mean of each one's points.
    scores : float32 [K]
        Volume of its spheres, each counted in full, Angstrom^3.
    points : list of K float32 [m,3]
        Centres of its alpha spheres.
    radii : list of K float32 [m]
        Their radii, Angstrom.
    """

    centres: Floats
    scores: Floats
    points: list[Floats]
    radii: list[Floats]

    def __len__(self) -> int:
        return len(self.scores)


def propose(
    structure: Structure,
    *,
    smallest: float = SMALLEST,
    largest: float = LARGEST,
    buried: float = BURIED,
    apart: float = APART,
    least_spheres: int = LEAST_SPHERES,
    most: int | None = None,
) -> Candidates:
    """Propose and rank the sites of a structure where a ligand may bind.

    Parameters
    ----------
    structure : Structure
    smallest, largest : float
        Radii of the alpha spheres that are used, Angstrom.
    buried : float
        Least share of directions in which a sphere sees protein, in [0, 1].
    apart : float
        Mean distance between the spheres of two groups from which they are two pockets, Angstrom.
    least_spheres : int
        Groups of fewer are no candidates.
    most : int, optional
        How many to return at most.

    Returns
    -------
    Candidates
        None where a structure has no hollows.

    Raises
    ------
    ValueError
        If an option is out of range.

    Notes
    -----
    Time is O(N log N) for the tetrahedra of N atoms and O(n^2) to group n buried spheres, some N / 3; memory
    4 n^2 bytes. Rotated structures have the same spheres; their burial changes by the directions' grid.
    """
    if not 0 < smallest < largest < float("inf"):
        raise ValueError(f"smallest and largest must be 0 < smallest < largest, got {smallest} and {largest}")
    if not 0 <= buried <= 1:
        raise ValueError(f"buried must lie in [0, 1], got {buried}")
    if not 0 < apart < float("inf"):
        raise ValueError(f"apart must be positive and finite, got {apart}")
    for name, value in (("least_spheres", least_spheres), ("most", most)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise ValueError(f"{name} must be an integer of at least 1, got {value!r}")
    centres, radii = alpha_spheres(structure.coords, smallest, largest)
    inside = burial(structure, centres) >= buried
    centres, radii = centres[inside], radii[inside]
    groups = [group for group in _grouped(centres, apart) if len(group) >= least_spheres]
    volumes = [float((radii[group] ** 3).sum() * (4 / 3 * np.pi)) for group in groups]
    order = sorted(range(len(groups)), key=lambda place: -volumes[place])[:most]
    return Candidates(
        centres=np.array([centres[groups[place]].mean(axis=0) for place in order], np.float32).reshape(-1, 3),
        scores=np.array([volumes[place] for place in order], np.float32),
        points=[centres[groups[place]].astype(np.float32) for place in order],
        radii=[radii[groups[place]].astype(np.float32) for place in order],
    )


def alpha_spheres(coords: Floats, smallest: float, largest: float) -> tuple[Doubles, Doubles]:
    """Spheres that touch four atoms and hold none, of radii in a range: centres [n,3] and radii [n].

    There are none where all atoms lie in one plane.
    """
    places = coords.astype(np.float64)
    if len(places) < 5:  # too few for the tetrahedra of Qhull
        return np.empty((0, 3)), np.empty(0)
    try:
        corners = places[Delaunay(places).simplices]
    except QhullError:
        return np.empty((0, 3)), np.empty(0)
    # |x - p_0|^2 = |x - p_i|^2 for i = 1, 2, 3 is linear in the step from p_0 to the centre.
    edges = corners[:, 1:] - corners[:, :1]
    usable = np.abs(np.linalg.det(edges)) > FLAT
    edges, first = edges[usable], corners[usable, 0]
    steps = np.linalg.solve(edges, 0.5 * (edges**2).sum(axis=2)[:, :, None])[:, :, 0]
    radii = np.linalg.norm(steps, axis=1)
    chosen = (radii >= smallest) & (radii <= largest)
    return (first + steps)[chosen], radii[chosen]


def burial(structure: Structure, places: Doubles) -> Doubles:
    """Share of directions in which a line from each place [n,3] meets an atom within 10 Angstrom."""
    if not len(places):
        return np.empty(0)
    near, squared = points.knn(structure.coords, places.astype(np.float32), k=WITHIN_REACH)
    directions = _directions()
    shares = np.empty(len(places))
    for start in range(0, len(places), BLOCK):
        part = slice(start, start + BLOCK)
        atoms, distances = np.maximum(near[part], 0), np.sqrt(squared[part])
        radii = structure.radii[atoms]
        # A line meets a ball if its angle to the centre is below asin(radius / distance).
        sine = np.minimum(radii / np.maximum(distances, radii), 1)
        least = np.where(distances <= REACH, np.sqrt(1 - sine**2), np.inf).astype(np.float32)
        least[distances < radii] = -np.inf  # every line from inside an atom
        toward = structure.coords[atoms] - places[part, None].astype(np.float32)
        toward /= np.maximum(distances, 1e-6)[:, :, None].astype(np.float32)
        cosines = toward @ directions.T
        shares[part] = (cosines >= least[:, :, None]).any(axis=1).mean(axis=1)
    return shares


def _directions() -> Floats:
    """Evenly spread unit vectors: a Fibonacci lattice."""
    step = np.arange(DIRECTIONS) + 0.5
    height = 1 - 2 * step / DIRECTIONS
    angle = np.pi * (1 + np.sqrt(5)) * step
    across = np.sqrt(1 - height**2)
    return np.stack([across * np.cos(angle), across * np.sin(angle), height], axis=1).astype(np.float32)


def _grouped(centres: Doubles, apart: float) -> list[npt.NDArray[np.int64]]:
    """Places of each group, by average linkage."""
    if len(centres) < 2:
        return [np.arange(len(centres))] if len(centres) else []
    labels = fcluster(linkage(centres, "average"), apart, "distance")
    return [np.flatnonzero(labels == label) for label in range(1, int(labels.max()) + 1)]

"""How near predicted pockets are to bound ligands: DCC, DCA and DVO, and how often the first ones are right.

R. Krivak and D. Hoksza, "P2Rank" (2018), for DCA among the first n or n + 2 pockets of a protein with n
ligands; R. Aggarwal et al., "DeepPocket" (2022), for DVO.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medkernels import points
from medkernels.zoo.drivpocket.structure import Floats, Ligand

NEAR = 4.0  # a pocket is right below this distance, Angstrom
MORE = (0, 2)  # pockets looked at beyond the number of ligands
LATTICE = 2.0  # spacing of the lattice on which volumes are compared, Angstrom
LIGAND_REACH = 2.0  # lattice points this near to an atom belong to the true volume, Angstrom


@dataclass(frozen=True)
class Found:
    """How the pockets of a protein meet one of its ligands.

    Attributes
    ----------
    ligand : Ligand
    dca, dcc : float
        Of the best pocket, Angstrom; infinite without pockets.
    dca_rank, dcc_rank : int or None
        Rank of the first pocket that is right, from 1; None if none is.
    overlap : float
        Intersection over union of the volumes of the ligand and the first pocket right by DCC; 0 if none is.
    """

    ligand: Ligand
    dca: float
    dcc: float
    dca_rank: int | None
    dcc_rank: int | None
    overlap: float


def dca(centre: Floats, ligand: Ligand) -> float:
    """Distance from a pocket's centre [3] to the nearest atom of a ligand, Angstrom."""
    return float(np.linalg.norm(ligand.coords - centre, axis=1).min())


def dcc(centre: Floats, ligand: Ligand) -> float:
    """Distance from a pocket's centre [3] to the mean of a ligand's atoms, Angstrom."""
    return float(np.linalg.norm(ligand.coords.mean(axis=0) - centre))


def lattice_cells(places: Floats, spacing: float = LATTICE) -> set[tuple[int, ...]]:
    """Cells of a lattice through the origin that hold at least one of the places [m,3]."""
    cells = np.unique(np.floor(np.asarray(places, np.float64) / spacing).astype(np.int64), axis=0)
    return {tuple(cell) for cell in cells.tolist()}


def overlap(one: Floats, other: Floats, spacing: float = LATTICE) -> float:
    """Intersection over union of two sets of points [m,3], compared by the cells of a lattice they fill.

    0 if both are empty.
    """
    first, second = lattice_cells(one, spacing), lattice_cells(other, spacing)
    union = first | second
    return len(first & second) / len(union) if union else 0.0


def ligand_volume(ligand: Ligand, spacing: float = LATTICE / 4) -> Floats:
    """Points of a fine lattice within 2 Angstrom of a ligand's atoms: its volume where no cavity is known."""
    low = np.floor((ligand.coords.min(axis=0) - LIGAND_REACH) / spacing)
    high = np.ceil((ligand.coords.max(axis=0) + LIGAND_REACH) / spacing)
    axes = [np.arange(first, last + 1) * spacing for first, last in zip(low, high, strict=True)]
    lattice = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3).astype(np.float32)
    _, squared = points.knn(ligand.coords, lattice, k=1)
    return np.asarray(lattice[squared[:, 0] <= LIGAND_REACH**2])


def find(
    ligands: Sequence[Ligand],
    centres: Floats,
    volumes: Sequence[Floats] | None = None,
    *,
    near: float = NEAR,
    spacing: float = LATTICE,
    truth: Floats | None = None,
) -> list[Found]:
    """Look for each ligand among ranked pockets.

    Parameters
    ----------
    ligands : sequence of Ligand
    centres : float32 [K,3]
        Of the pockets, the best first.
    volumes : K arrays [m,3], optional
        Points of the pockets; without them no overlap is measured, and it is 0.
    near : float
        Distance below which a pocket is right, Angstrom.
    spacing : float
        Of the lattice on which volumes are compared, Angstrom.
    truth : [C,3], optional
        Points of the known cavity; the ligand's own volume if None.
    """
    found = []
    for ligand in ligands:
        by_atom = np.array([dca(centre, ligand) for centre in centres])
        by_centre = np.array([dcc(centre, ligand) for centre in centres])
        rank = _first(by_centre, near)
        shared = 0.0
        if rank is not None and volumes is not None:
            true = ligand_volume(ligand, spacing / 4) if truth is None else truth
            shared = overlap(volumes[rank - 1], true, spacing)
        found.append(
            Found(
                ligand=ligand,
                dca=float(by_atom.min(initial=np.inf)),
                dcc=float(by_centre.min(initial=np.inf)),
                dca_rank=_first(by_atom, near),
                dcc_rank=rank,
                overlap=shared,
            )
        )
    return found


def success_rates(proteins: Sequence[Sequence[Found]]) -> dict[str, float]:
    """Shares over all ligands of all proteins.

    Returns
    -------
    dict
        ``dca_top_n``, ``dca_top_n_plus_2`` and the same of ``dcc``: ligands with a right pocket among the
        first n (n + 2) of their protein, which has n ligands; ``dca_any``, ``dcc_any``: among all pockets;
        ``dvo``: the mean overlap, 0 for ligands without a pocket right by DCC.

    Raises
    ------
    ValueError
        If there is no ligand.
    """
    every = [(len(ligands), found) for ligands in proteins for found in ligands]
    if not every:
        raise ValueError("proteins: there is no ligand to judge by")
    rates = {}
    for name in ("dca", "dcc"):
        ranks = [(count, getattr(found, f"{name}_rank")) for count, found in every]
        for more in MORE:
            hits = [rank is not None and rank <= count + more for count, rank in ranks]
            rates[f"{name}_top_n" + (f"_plus_{more}" if more else "")] = float(np.mean(hits))
        rates[f"{name}_any"] = float(np.mean([rank is not None for _, rank in ranks]))
    rates["dvo"] = float(np.mean([found.overlap for _, found in every]))
    return rates


def _first(distances: np.ndarray[tuple[int, ...], np.dtype[np.float64]], near: float) -> int | None:
    right = np.flatnonzero(distances < near)
    return int(right[0]) + 1 if len(right) else None

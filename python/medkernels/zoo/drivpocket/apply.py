"""A trained network applied to whole structures: candidates segmented, put together and ranked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from medkernels.zoo.drivpocket.candidates import Candidates, propose
from medkernels.zoo.drivpocket.fusion import Mask, fuse, pocket_mask
from medkernels.zoo.drivpocket.metrics import Found, find
from medkernels.zoo.drivpocket.model import DRIVPocket
from medkernels.zoo.drivpocket.pocket import Pocket, lining_atoms
from medkernels.zoo.drivpocket.sites import Site
from medkernels.zoo.drivpocket.structure import Floats, Structure
from medkernels.zoo.drivpocket.training import Cube, tensors

BINDING = 0.5  # probability above which an atom counts as a binding one
SAME = 4.0  # pockets whose centres are nearer than this are one, Angstrom
MOST = 12  # candidates looked at
RANKINGS = ("volume", "candidate")


@dataclass(frozen=True)
class Answer:
    """What the network says of one site.

    Attributes
    ----------
    probabilities : float32 [R,R,R]
        P_v of each voxel.
    atoms : float32 [P] or None
        P_pc of the site's atoms; None without a point stream.
    binding : float32 [n,3]
        Places of the atoms taken for binding ones.
    mask : bool [R,R,R]
        The pocket, fused from both.
    """

    probabilities: Floats
    atoms: Floats | None
    binding: Floats
    mask: Mask


def infer(network: DRIVPocket, site: Site, *, fused: bool = True) -> Answer:
    """Judge one site.

    Parameters
    ----------
    network : with a voxel stream.
    site : Site
    fused : bool
        If False the mask comes from the voxels alone.

    Raises
    ------
    ValueError
        If the network has no voxel stream.
    """
    if network.voxels is None:
        raise ValueError("network: a point stream alone finds atoms, not pockets")
    device = next(network.parameters()).device
    streams = "both" if network.points is not None else "voxel"
    batch = {name: value[None].to(device) for name, value in tensors(site, streams).items()}
    network.eval()
    with torch.inference_mode():
        voxels, points = network(batch["voxels"], batch.get("points"), batch.get("types"))
        probabilities: Floats = voxels[0].float().sigmoid().cpu().numpy()
        atoms: Floats | None = None if points is None else points[0].float().sigmoid().cpu().numpy()
    chosen = np.zeros(0, np.int64) if atoms is None else np.flatnonzero((atoms > BINDING) & site.present)
    binding = site.structure.coords[site.atoms[chosen]]
    mask = fuse(probabilities, site.grid, binding)[1] if fused else pocket_mask(probabilities)
    return Answer(probabilities, atoms, binding, mask)


def segment(
    network: DRIVPocket,
    structure: Structure,
    candidates: Candidates | None = None,
    *,
    cube: Cube | None = None,
    most: int | None = MOST,
    fused: bool = True,
    ranking: str = "volume",
) -> list[Pocket]:
    """The pockets of a structure, ranked.

    The network segments the cube around each candidate. A pocket whose centre lies within 4 A of a better one
    is left out, and so are candidates in which nothing is found.

    Parameters
    ----------
    network : DRIVPocket
    structure : Structure
    candidates : Candidates, optional
        Our own proposals if None.
    cube : Cube, optional
        What the network was trained on; as published if None.
    most : int, optional
        Candidates looked at, from the best on; all if None.
    fused : bool
        If False voxels alone decide.
    ranking : {"volume", "candidate"}
        Pockets are ranked by their expected volume, the sum of the voxels' probabilities in the mask, or by
        the score of their candidates, as published, where candidates are ranked before they are segmented.

    Raises
    ------
    ValueError
        If the ranking is another one.
    """
    if ranking not in RANKINGS:
        raise ValueError(f"ranking must be one of {', '.join(RANKINGS)}, got {ranking!r}")
    cube = cube or Cube()
    sites = propose(structure) if candidates is None else candidates
    found = []
    for number, centre in enumerate(sites.centres[:most], 1):
        site = cube.site(structure, centre)
        answer = infer(network, site, fused=fused)
        if answer.mask.any():
            pocket = _pocket(site, answer, number)
            if ranking == "candidate":
                pocket = replace(pocket, score=float(sites.scores[number - 1]))
            found.append(pocket)
    return ranked(found)


def ranked(pockets: Sequence[Pocket], *, same: float = SAME) -> list[Pocket]:
    """Pockets by falling score, each of those nearer to each other than `same` Angstrom once."""
    kept: list[Pocket] = []
    for pocket in sorted(pockets, key=lambda one: -one.score):
        if all(np.linalg.norm(pocket.centre - other.centre) >= same for other in kept):
            kept.append(replace(pocket, rank=len(kept) + 1))
    return kept


def _pocket(site: Site, answer: Answer, candidate: int) -> Pocket:
    inside: npt.NDArray[np.int64] = np.argwhere(answer.mask)
    places = site.grid.places(inside)
    cell = site.grid.resolution**3
    atoms = lining_atoms(site.structure, places)
    return Pocket(
        rank=candidate,
        score=float(answer.probabilities[answer.mask].sum() * cell),
        probability=float(answer.probabilities[answer.mask].mean()),
        centre=places.mean(axis=0),
        points=places,
        volume=float(len(inside) * cell),
        atoms=atoms,
        residues=site.structure.lining(atoms),
        candidate=candidate,
    )


def judge(structure: Structure, pockets: Sequence[Pocket]) -> list[Found]:
    """How ranked pockets meet each ligand of a structure."""
    centres = np.array([pocket.centre for pocket in pockets], np.float32).reshape(-1, 3)
    volumes = [pocket.points for pocket in pockets]
    return find(structure.ligands, centres, volumes, truth=structure.cavity)

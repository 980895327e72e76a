"""Where a network is trained: candidate sites that hold a ligand, and others that hold none."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medkernels.zoo.drivpocket.candidates import propose
from medkernels.zoo.drivpocket.metrics import NEAR
from medkernels.zoo.drivpocket.structure import Floats, Structure

Entries = list[tuple[Structure, Floats]]

TEST, VALID = 0.2, 0.1  # shares of the structures


def centres_of(structure: Structure, decoys: int) -> list[Floats]:
    """Centres of the sites that are trained on.

    Of each ligand the candidate nearest to it, if one has its centre within 4 A of an atom, else the middle
    of the ligand; the same of a cavity where no ligand is known. Then the best candidates farther than that
    from everything known.

    Parameters
    ----------
    structure : Structure
    decoys : int
        How many of the latter.
    """
    candidates = propose(structure).centres
    known = [ligand.coords for ligand in structure.ligands]
    if not known and structure.cavity is not None:
        known = [structure.cavity]
    # Distance of each candidate from each ligand.
    gaps = np.array(
        [[np.linalg.norm(places - centre, axis=1).min() for places in known] for centre in candidates]
    ).reshape(len(candidates), len(known))
    found = []
    for number, places in enumerate(known):
        nearest = int(gaps[:, number].argmin()) if len(candidates) else 0
        hit = len(candidates) > 0 and gaps[nearest, number] < NEAR
        found.append(candidates[nearest] if hit else places.mean(axis=0).astype(np.float32))
    far = np.flatnonzero((gaps >= NEAR).all(axis=1))[:decoys]
    return [*found, *(candidates[place] for place in far)]


def entries_of(structures: Sequence[Structure], decoys: int) -> Entries:
    """All sites of some structures."""
    return [(structure, centre) for structure in structures for centre in centres_of(structure, decoys)]


def split(structures: Sequence[tuple[Structure, str | None]], seed: int) -> dict[str, list[Structure]]:
    """Structures as "train", "valid" and "test": by the part they name, else at random.

    Where nothing is named for validation a tenth of the training structures is taken.
    """
    rng = np.random.default_rng([seed, len(structures)])
    parts: dict[str, list[Structure]] = {name: [] for name in ("train", "valid", "test")}
    free: list[Structure] = []
    for structure, part in structures:
        parts.get(part or "", free).append(structure)
    free = [free[place] for place in rng.permutation(len(free))]
    cuts = np.cumsum([round(TEST * len(free)), round(VALID * len(free))])
    for name, group in zip(("test", "valid", "train"), np.split(np.arange(len(free)), cuts), strict=True):
        parts[name] += [free[place] for place in group]
    if not parts["valid"] and len(parts["train"]) > 1:
        mixed = [parts["train"][place] for place in rng.permutation(len(parts["train"]))]
        count = max(1, round(len(mixed) * VALID))
        parts["valid"], parts["train"] = mixed[:count], mixed[count:]
    return {name: sorted(group, key=lambda one: one.name) for name, group in parts.items()}

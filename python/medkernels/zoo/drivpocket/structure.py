"""A protein as the networks and the search for pockets read it, with the ligands found beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from medkernels.zoo.drivpocket.atoms import CHANNELS

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Residue:
    """Where a residue stands in its file.

    Attributes
    ----------
    chain : str
        As authors name it; may be empty.
    number : int
        In the authors' numbering.
    insertion : str
        Insertion code, or empty.
    name : str
        Up to five letters, such as "ALA".
    """

    chain: str
    number: int
    insertion: str
    name: str

    def __str__(self) -> str:
        return f"{self.chain}_{self.number}{self.insertion}"


@dataclass(frozen=True)
class Ligand:
    """A molecule that is bound to the protein.

    Attributes
    ----------
    name : str
        Of its residue; several joined by "-" where it has more than one.
    chain : str
    number : int
        Of its first residue.
    coords : float32 [M,3]
        Of its atoms but hydrogens, Angstrom.
    elements : tuple of str
        Symbols of the M atoms; empty where nobody needs them.
    """

    name: str
    chain: str
    number: int
    coords: Floats
    elements: tuple[str, ...] = ()

    @property
    def center(self) -> Floats:
        """The mean of its atoms."""
        return np.asarray(self.coords.mean(axis=0), np.float32)


@dataclass(frozen=True)
class Structure:
    """The atoms of a receptor, without hydrogens, water and what is bound to it.

    Attributes
    ----------
    name : str
    coords : float32 [N,3]
        Angstrom.
    channels : int64 [N]
        Places in `medkernels.zoo.drivpocket.atoms.CHANNELS`.
    radii : float32 [N]
        Angstrom.
    ligands : tuple of Ligand
        What is bound.
    cavity : float32 [C,3] or None
        Points of the known cavity, for data that come with them.
    atom_names : tuple of str
        Of the N atoms, such as "CA"; empty for generated structures, as the next three.
    elements : tuple of str
        Of the N atoms.
    residue_of : int64 [N] or None
        Place of each atom's residue in `residues`.
    residues : tuple of Residue
    source : Path or None
        The file it was read from.
    """

    name: str
    coords: Floats
    channels: Ints
    radii: Floats
    ligands: tuple[Ligand, ...] = ()
    cavity: Floats | None = None
    atom_names: tuple[str, ...] = ()
    elements: tuple[str, ...] = ()
    residue_of: Ints | None = None
    residues: tuple[Residue, ...] = ()
    source: Path | None = None

    def __post_init__(self) -> None:
        """Check the arrays."""
        count = len(self.coords)
        for name, array, dtype, shape in (
            ("coords", self.coords, np.float32, (count, 3)),
            ("channels", self.channels, np.int64, (count,)),
            ("radii", self.radii, np.float32, (count,)),
        ):
            if not isinstance(array, np.ndarray) or array.dtype != dtype:
                raise TypeError(f"{name} of structure {self.name}: want an array of {np.dtype(dtype)}")
            if array.shape != shape:
                raise ValueError(
                    f"{name} of structure {self.name}: want shape {list(shape)}, got {list(array.shape)}"
                )
        if count == 0:
            raise ValueError(f"structure {self.name} has no atoms")
        if not np.isfinite(self.coords).all():
            raise ValueError(f"coords of structure {self.name}: not all are finite")
        if self.channels.min() < 0 or self.channels.max() >= len(CHANNELS):
            raise ValueError(f"channels of structure {self.name}: want 0 to {len(CHANNELS) - 1}")
        if not (self.radii > 0).all():
            raise ValueError(f"radii of structure {self.name}: want positive ones")

    def __len__(self) -> int:
        return len(self.coords)

    def lining(self, atoms: Ints) -> tuple[Residue, ...]:
        """The residues of some atoms, each once, in the order of the file; none where it names none."""
        if self.residue_of is None:
            return ()
        return tuple(self.residues[place] for place in np.unique(self.residue_of[atoms]))

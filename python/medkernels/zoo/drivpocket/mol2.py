"""MOL2 files of scPDB: a protein, its ligand and the points of its cavity, a folder a site.

Layout::

    2p15_1/protein.mol2     the receptor
    2p15_1/ligand.mol2      what is bound (may be missing)
    2p15_1/cavity6.mol2     points of the cavity within 6 Angstrom of the ligand (cavityALL.mol2 if missing)
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import gemmi
import numpy as np

from medkernels.zoo.drivpocket import atoms
from medkernels.zoo.drivpocket.perception import bonds, perceive
from medkernels.zoo.drivpocket.structure import Floats, Ligand, Residue, Structure

PROTEIN, LIGAND = "protein.mol2", "ligand.mol2"
CAVITIES = ("cavity6.mol2", "cavityALL.mol2")
WATER = ("HOH", "WAT", "DOD")
COLUMNS = 6  # of a line of an atom that are always there: id, name, x, y, z and type


@dataclass(frozen=True)
class Table:
    """The atoms of a MOL2 file.

    Attributes
    ----------
    names, elements : tuple of str
    coords : float32 [n,3]
    residues : tuple of Residue
        Of each atom; without a number where the file gives none.
    """

    names: tuple[str, ...]
    elements: tuple[str, ...]
    coords: Floats
    residues: tuple[Residue, ...]


def read_mol2(path: Path) -> Table:
    """The atoms of the first molecule of a MOL2 file.

    Raises
    ------
    ValueError
        If it is none, or damaged.
    """
    names, elements, places, keys, chains = [], [], [], [], {}
    section, molecules = "", 0
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith("@<TRIPOS>"):
            section = line[len("@<TRIPOS>") :].strip()
            molecules += section == "MOLECULE"
            continue
        columns = line.split()
        if molecules != 1 or not columns:
            continue
        if section == "ATOM":
            if len(columns) < COLUMNS:
                raise ValueError(
                    f"{path.name}: a line of an atom has {len(columns)} columns: {line.strip()!r}"
                )
            try:
                places.append([float(value) for value in columns[2:5]])
            except ValueError as error:
                raise ValueError(f"{path.name}: no coordinates in {line.strip()!r}") from error
            names.append(columns[1])
            elements.append(gemmi.Element(columns[5].partition(".")[0]).name)
            keys.append((columns[6], columns[7]) if len(columns) > COLUMNS + 1 else ("", ""))
        elif section == "SUBSTRUCTURE" and len(columns) > 5:
            chains[columns[0]] = columns[5].replace("*", "")
    if not places:
        raise ValueError(f"{path.name} holds no atoms: is it a MOL2 file?")
    coords = np.array(places, np.float32)
    if not np.isfinite(coords).all():
        raise ValueError(f"{path.name}: some coordinates are not finite")
    residues = tuple(_residue(chains.get(number, ""), name) for number, name in keys)
    return Table(tuple(names), tuple(elements), coords, residues)


def read_site(folder: Path, *, name: str | None = None) -> Structure:
    """One site of scPDB.

    Parameters
    ----------
    folder : Path
        Holds the files named above.
    name : str, optional
        The structure's name; the folder's if None.

    Returns
    -------
    Structure
        With the points of its cavity, if the folder has them.

    Raises
    ------
    FileNotFoundError
        If the protein is missing.
    ValueError
        If a file is damaged, or holds no protein.
    """
    if not (folder / PROTEIN).is_file():
        raise FileNotFoundError(f"there is no file {folder / PROTEIN}")
    table = read_mol2(folder / PROTEIN)
    heavy = [
        place
        for place, element in enumerate(table.elements)
        if element not in ("H", "D", "X")
        and table.residues[place].name not in WATER
        and not gemmi.Element(element).is_metal
    ]
    if not any(gemmi.find_tabulated_residue(table.residues[place].name).is_amino_acid() for place in heavy):
        raise ValueError("no protein: none of its residues is an amino acid")
    coords = table.coords[heavy]
    elements = tuple(table.elements[place] for place in heavy)
    residues = tuple(dict.fromkeys(table.residues[place] for place in heavy))
    place_of = {residue: place for place, residue in enumerate(residues)}
    channels = [atoms.known_channel(table.residues[place].name, table.names[place]) for place in heavy]
    neighbours = bonds(coords, elements) if None in channels else []
    cavity = next((folder / file for file in CAVITIES if (folder / file).is_file()), None)
    return Structure(
        name=name or folder.name,
        coords=coords,
        channels=np.array(
            [
                perceive(place, coords, elements, neighbours) if channel is None else channel
                for place, channel in enumerate(channels)
            ],
            np.int64,
        ),
        radii=np.array([atoms.radius(element) for element in elements], np.float32),
        ligands=_ligands(folder / LIGAND),
        cavity=None if cavity is None else read_mol2(cavity).coords,
        atom_names=tuple(table.names[place] for place in heavy),
        elements=elements,
        residue_of=np.array([place_of[table.residues[place]] for place in heavy], np.int64),
        residues=residues,
        source=folder / PROTEIN,
    )


def _ligands(file: Path) -> tuple[Ligand, ...]:
    if not file.is_file():
        return ()
    table = read_mol2(file)
    heavy = [place for place, element in enumerate(table.elements) if element not in ("H", "D", "X")]
    if not heavy:
        return ()
    first = table.residues[heavy[0]]
    elements = tuple(table.elements[place] for place in heavy)
    return (Ligand(first.name, first.chain, first.number, table.coords[heavy], elements),)


def _residue(chain: str, label: str) -> Residue:
    """A residue from its label, such as "ALA12"."""
    parts = re.fullmatch(r"(.{3,5}?)(-?\d+)([A-Za-z]?)", label)
    if parts is None:
        return Residue(chain, 0, "", label[:5])
    return Residue(chain, int(parts[2]), parts[3], parts[1])

"""Atoms by type: the 14 channels of a receptor, their radii, and the types of the atoms of known residues.

The types are those of smina and gnina, as libmolgrid puts them together for receptors: a carbon is a
hydrophobe unless it is bonded to another element than carbon and hydrogen; a nitrogen or oxygen is told by
whether it gives hydrogen bonds. Elements and radii: J. Sunseri and D. R. Koes, "libmolgrid" (2020).
Side chains are as charged at pH 7: both oxygens of carboxylates accept. Histidine has its hydrogen at ND1,
as Open Babel, by which the published pipeline types, takes it, unless the file shows its hydrogens.
"""

from __future__ import annotations

CHANNELS: tuple[str, ...] = (
    "aliphatic carbon, hydrophobe",
    "aliphatic carbon",
    "aromatic carbon, hydrophobe",
    "aromatic carbon",
    "halogen",
    "nitrogen or acceptor",
    "nitrogen donor",
    "oxygen acceptor",
    "oxygen donor",
    "sulfur",
    "phosphorus",
    "calcium",
    "zinc",
    "other metal or boron",
)
HYDROPHOBE, CARBON, AROMATIC_HYDROPHOBE, AROMATIC, HALOGEN = range(5)
NITROGEN, NITROGEN_DONOR, OXYGEN, OXYGEN_DONOR = range(5, 9)
SULFUR, PHOSPHORUS, CALCIUM, ZINC, METAL = range(9, 14)
#: Channels of atoms that hydrophobic ligands like.
HYDROPHOBIC = (HYDROPHOBE, AROMATIC_HYDROPHOBE, HALOGEN, SULFUR)

#: Angstrom; of every element that is not named, metals, `METAL_RADIUS`.
RADII: dict[str, float] = {
    "C": 1.9,
    "N": 1.8,
    "O": 1.7,
    "S": 2.0,
    "Se": 2.0,
    "P": 2.1,
    "F": 1.5,
    "Cl": 1.8,
    "Br": 2.0,
    "I": 2.2,
    "B": 1.92,
}
METAL_RADIUS = 1.2

#: The channel of elements that have one only; of others that are not C, N or O, `METAL`.
BY_ELEMENT: dict[str, int] = {
    "F": HALOGEN,
    "Cl": HALOGEN,
    "Br": HALOGEN,
    "I": HALOGEN,
    "S": SULFUR,
    "Se": SULFUR,
    "P": PHOSPHORUS,
    "Ca": CALCIUM,
    "Zn": ZINC,
}

_BACKBONE = {"N": NITROGEN_DONOR, "CA": CARBON, "C": CARBON, "O": OXYGEN, "OXT": OXYGEN}
_LETTERS = {
    "h": HYDROPHOBE,
    "c": CARBON,
    "H": AROMATIC_HYDROPHOBE,
    "C": AROMATIC,
    "n": NITROGEN,
    "N": NITROGEN_DONOR,
    "o": OXYGEN,
    "O": OXYGEN_DONOR,
    "s": SULFUR,
    "p": PHOSPHORUS,
}
_SIDE_CHAINS = {
    "ALA": "CB:h",
    "ARG": "CB:h CG:h CD:c NE:N CZ:c NH1:N NH2:N",
    "ASN": "CB:h CG:c OD1:o ND2:N",
    "ASP": "CB:h CG:c OD1:o OD2:o",
    "CYS": "CB:c SG:s",
    "GLN": "CB:h CG:h CD:c OE1:o NE2:N",
    "GLU": "CB:h CG:h CD:c OE1:o OE2:o",
    "GLY": "",
    "HIS": "CB:h CG:C ND1:N CD2:C CE1:C NE2:n",
    "ILE": "CB:h CG1:h CG2:h CD1:h",
    "LEU": "CB:h CG:h CD1:h CD2:h",
    "LYS": "CB:h CG:h CD:h CE:c NZ:N",
    "MET": "CB:h CG:c SD:s CE:c",
    "MSE": "CB:h CG:c SE:s CE:c",
    "PHE": "CB:h CG:H CD1:H CD2:H CE1:H CE2:H CZ:H",
    "PRO": "N:n CB:h CG:h CD:c",
    "SEC": "CB:c SE:s",
    "SER": "CB:c OG:O",
    "THR": "CB:c OG1:O CG2:h",
    "TRP": "CB:h CG:H CD1:C CD2:H NE1:N CE2:C CE3:H CZ2:H CZ3:H CH2:H",
    "TYR": "CB:h CG:H CD1:H CD2:H CE1:H CE2:H CZ:C OH:O",
    "VAL": "CB:h CG1:h CG2:h",
}
#: Letters of ND1 and NE2.
_HISTIDINES = {
    "HID": ("N", "n"),
    "HSD": ("N", "n"),
    "HIE": ("n", "N"),
    "HSE": ("n", "N"),
    "HIP": ("N", "N"),
    "HSP": ("N", "N"),
}
_SAME_AS = {"CYX": "CYS", "CYM": "CYS", "LYN": "LYS"}
_PROTONATED = {"ASH": ("ASP", "OD2"), "GLH": ("GLU", "OE2")}

_SUGAR = "P:p OP1:o OP2:o OP3:o O1P:o O2P:o O5':o C5':c C4':c O4':o C3':c O3':o C1':c"
_BASES = {
    "A": "N9:n C8:C N7:n C5:C C6:C N6:N N1:n C2:C N3:n C4:C",
    "G": "N9:n C8:C N7:n C5:C C6:C O6:o N1:N C2:C N2:N N3:n C4:C",
    "C": "N1:n C2:C O2:o N3:n C4:C N4:N C5:H C6:C",
    "U": "N1:n C2:C O2:o N3:N C4:C O4:o C5:H C6:C",
    "T": "N1:n C2:C O2:o N3:N C4:C O4:o C5:H C7:h C6:C",
    "I": "N9:n C8:C N7:n C5:C C6:C O6:o N1:N C2:C N3:n C4:C",
}


def _parsed(text: str) -> dict[str, int]:
    return {name: _LETTERS[letter] for name, letter in (part.split(":") for part in text.split())}


def _tables() -> dict[str, dict[str, int]]:
    tables = {name: _BACKBONE | _parsed(text) for name, text in _SIDE_CHAINS.items()}
    for name, (delta, epsilon) in _HISTIDINES.items():
        tables[name] = tables["HIS"] | {"ND1": _LETTERS[delta], "NE2": _LETTERS[epsilon]}
    tables |= {name: tables[same] for name, same in _SAME_AS.items()}
    tables |= {name: tables[acid] | {atom: OXYGEN_DONOR} for name, (acid, atom) in _PROTONATED.items()}
    for name, text in _BASES.items():
        base = _parsed(f"{_SUGAR} {text}")
        tables[name] = base | _parsed("C2':c O2':O")
        tables[f"D{name}"] = base | _parsed("C2':h")
    return tables


_TABLES = _tables()


def known_channel(residue: str, atom: str) -> int | None:
    """The channel of an atom of an amino acid or a nucleotide, or None where no table knows it."""
    return _TABLES.get(residue, {}).get(atom)


def backbone_channel(atom: str) -> int | None:
    """The channel of an atom of the backbone of an amino acid that no table knows."""
    return _BACKBONE.get(atom)


def radius(element: str) -> float:
    """The radius of an element in the grids, Angstrom."""
    return RADII.get(element, METAL_RADIUS)

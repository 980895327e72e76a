"""PDB and mmCIF files, plain or compressed by gzip, as structures.

The receptor is what is polymer in the first model: amino acids and nucleotides, modified ones too. Water and
what is no polymer are taken out, as in the published pipeline. Of alternate locations each residue has the
one with the highest occupancy.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import gemmi
import numpy as np

from medkernels import points
from medkernels.zoo.drivpocket import atoms
from medkernels.zoo.drivpocket.perception import bonds, perceive
from medkernels.zoo.drivpocket.structure import Floats, Ligand, Residue, Structure

ENDINGS = (".pdb", ".ent", ".cif", ".mmcif", ".pdb.gz", ".ent.gz", ".cif.gz", ".mmcif.gz")
LEAST_ATOMS = 6  # of a ligand
CONTACT = 4.0  # a ligand has an atom this near to the receptor, Angstrom, as in P2Rank
GZIP = b"\x1f\x8b"  # how such files begin
MMCIF = re.compile(r"\s*(#.*\s+)*data_", re.IGNORECASE)  # the same, after comments
JOINED = 1.9  # residues nearer than this are one molecule, Angstrom: a bond between C, N, O, P and S
OVERLAP = 3  # residues with so many atoms that near are alternatives: bonded ones have one bond or two
#: What P2Rank leaves out (its `ignore_het_groups`), beside the buffers that gemmi tabulates after PISA.
IGNORED = frozenset(
    {"HOH", "DOD", "WAT", "NAG", "MAN", "UNK", "GLC", "ABA", "MPD", "GOL", "SO4", "PO4"}
    # Sugars of glycoproteins, cryoprotectants, buffers and unknown atoms, by the same reasoning.
    | {"BMA", "FUC", "NDG", "EDO", "PEG", "PGE", "PG4", "1PE", "P6G", "DMS", "ACT", "FMT", "CIT", "TRS"}
    | {"EPE", "MES", "BME", "UNX", "UNL"}
)


@dataclass(frozen=True)
class Reading:
    """What is taken from a file.

    Attributes
    ----------
    metals : bool
        Keep metal ions as part of the receptor.
    least_atoms : int
        A ligand has so many atoms beside hydrogens.
    ignored : frozenset of str
        Names of residues that are never ligands, besides buffers.
    """

    metals: bool = False
    least_atoms: int = LEAST_ATOMS
    ignored: frozenset[str] = IGNORED


def has_ending(path: Path, endings: Iterable[str] = ENDINGS) -> bool:
    """Whether a file's name ends as structures do."""
    return path.name.lower().endswith(tuple(endings))


def stem(path: Path) -> str:
    """A file's name without the endings of structures."""
    name = path.name
    for ending in sorted(ENDINGS, key=len, reverse=True):
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return path.stem


def read_structure(path: str | Path, reading: Reading | None = None, *, name: str | None = None) -> Structure:
    """Read one structure with its ligands.

    Parameters
    ----------
    path : path
        A PDB or mmCIF file, or one of them compressed by gzip.
    reading : Reading, optional
        What is taken from it.
    name : str, optional
        The structure's name; the file's name without its ending if None.

    Returns
    -------
    Structure

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no structure, is damaged, or holds no protein.
    """
    file, wanted = Path(path), reading or Reading()
    if not file.is_file():
        raise FileNotFoundError(f"there is no file {file}")
    model = _first_model(file)
    receptor: list[tuple[Residue, gemmi.Residue]] = []
    others: list[tuple[Residue, gemmi.Residue]] = []
    proteins = 0
    for chain in model:
        for group in _by_place(chain):
            residue = max(group, key=lambda one: max((atom.occ for atom in one), default=0.0))
            info = gemmi.find_tabulated_residue(residue.name)
            if info.is_water():
                continue
            code = residue.seqid.icode.strip()
            place = Residue(chain.name, residue.seqid.num or 0, code, residue.name)
            metal = len(residue) == 1 and residue[0].element.is_metal
            if residue.entity_type == gemmi.EntityType.Polymer or (wanted.metals and metal):
                receptor.append((place, residue))
                proteins += info.is_amino_acid() or _has_backbone(residue)
            else:
                others.append((place, residue))
    if not proteins:
        raise ValueError("no protein: none of its residues is an amino acid of a chain")
    return _assemble(file, name or stem(file), receptor, others, wanted)


def _first_model(file: Path) -> gemmi.Model:
    content = file.read_bytes()
    try:
        if content.startswith(GZIP):
            content = gzip.decompress(content)
        read = _parsed(content.decode("utf-8", errors="replace"))
    except (RuntimeError, ValueError, OSError, IndexError, EOFError, zlib.error) as error:
        raise ValueError(f"not a readable PDB or mmCIF file ({_first_line(error)})") from error
    if not len(read) or not any(len(residue) for chain in read[0] for residue in chain):
        raise ValueError("no atoms: is it a PDB or mmCIF file?")
    read.merge_chain_parts()  # ligands stand after all chains, under the names of theirs
    read.setup_entities()
    return read[0]


def _parsed(text: str) -> gemmi.Structure:
    """A structure from mmCIF if the text begins as such files do, else from PDB."""
    if MMCIF.match(text) is None:
        return gemmi.read_pdb_string(text)
    return gemmi.make_structure_from_block(gemmi.cif.read_string(text)[0])


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _by_place(chain: gemmi.Chain) -> list[list[gemmi.Residue]]:
    """Residues of one place together: there are several where a site holds different amino acids."""
    groups: dict[tuple[str, str], list[gemmi.Residue]] = {}
    for residue in chain:
        groups.setdefault((str(residue.seqid), residue.subchain), []).append(residue)
    return list(groups.values())


def _has_backbone(residue: gemmi.Residue) -> bool:
    return {"N", "CA", "C"} <= {atom.name for atom in residue}


def _heavy(residue: gemmi.Residue) -> list[gemmi.Atom]:
    """The atoms of one conformation, without hydrogens."""
    chosen = [atom for atom in residue if not atom.is_hydrogen() and atom.element.name != "X"]
    labels = [atom.altloc for atom in chosen if atom.has_altloc()]
    if not labels:
        return chosen
    share: dict[str, float] = dict.fromkeys(labels, 0.0)
    for atom in chosen:
        if atom.has_altloc():
            share[atom.altloc] += atom.occ
    order = sorted(share, key=lambda label: -share[label])  # the first of equally likely ones
    best: dict[str, gemmi.Atom] = {}
    for atom in sorted(chosen, key=lambda atom: order.index(atom.altloc) if atom.has_altloc() else -1):
        best.setdefault(atom.name, atom)
    return [atom for atom in chosen if best[atom.name] is atom]


def _assemble(
    file: Path,
    name: str,
    receptor: Sequence[tuple[Residue, gemmi.Residue]],
    others: Sequence[tuple[Residue, gemmi.Residue]],
    wanted: Reading,
) -> Structure:
    kept = [(place, _heavy(residue), _tautomer(residue)) for place, residue in receptor]
    kept = [(place, chosen, kind) for place, chosen, kind in kept if chosen]
    each = [atom for _, chosen, _ in kept for atom in chosen]
    coords = _coords(each)
    if not np.isfinite(coords).all():
        raise ValueError("some coordinates are not finite")
    elements = tuple(atom.element.name for atom in each)
    residue_of = np.repeat(np.arange(len(kept)), [len(chosen) for _, chosen, _ in kept]).astype(np.int64)
    channels = [
        atoms.known_channel(kept[place][2], atom.name) for place, atom in zip(residue_of, each, strict=True)
    ]
    unknown = [place for place, channel in enumerate(channels) if channel is None]
    table = bonds(coords, elements) if unknown else []
    for place in unknown:
        known = None
        if _is_amino(kept[residue_of[place]][1]):
            known = atoms.backbone_channel(each[place].name)
        channels[place] = perceive(place, coords, elements, table) if known is None else known
    return Structure(
        name=name,
        coords=coords,
        channels=np.array(channels, np.int64),
        radii=np.array([atoms.radius(element) for element in elements], np.float32),
        ligands=_ligands(coords, others, wanted),
        atom_names=tuple(atom.name for atom in each),
        elements=elements,
        residue_of=residue_of,
        residues=tuple(place for place, _, _ in kept),
        source=file,
    )


def _tautomer(residue: gemmi.Residue) -> str:
    """The name by which a residue's atoms are typed: hydrogens in the file tell those of histidine."""
    if residue.name == "HIS":
        names = {atom.name for atom in residue}
        shown = ("HD1" in names, "HE2" in names)
        return {(True, True): "HIP", (False, True): "HIE"}.get(shown, "HIS")
    return residue.name


def _is_amino(chosen: Sequence[gemmi.Atom]) -> bool:
    return {"N", "CA", "C"} <= {atom.name for atom in chosen}


def _coords(chosen: Sequence[gemmi.Atom]) -> Floats:
    return np.array([atom.pos.tolist() for atom in chosen], np.float32).reshape(-1, 3)


def _ligands(
    coords: Floats, others: Sequence[tuple[Residue, gemmi.Residue]], wanted: Reading
) -> tuple[Ligand, ...]:
    """Molecules of residues that are no polymer, neither ignored nor far from the receptor."""
    parts = [(place, _heavy(residue)) for place, residue in others if not _ignored(residue.name, wanted)]
    parts = [(place, chosen) for place, chosen in parts if chosen and not chosen[0].element.is_metal]
    # Of those that cannot be there at once the likeliest stays, or the first in the file.
    likely = sorted(
        range(len(parts)), key=lambda place: -float(np.mean([atom.occ for atom in parts[place][1]]))
    )
    alone: list[int] = []
    for place in likely:
        if not any(_overlap(parts[place][1], parts[other][1]) for other in alone):
            alone.append(place)
    parts = [parts[place] for place in sorted(alone)]
    found = []
    for molecule in _joined([_coords(chosen) for _, chosen in parts]):
        places = [parts[part][0] for part in molecule]
        chosen = [atom for part in molecule for atom in parts[part][1]]
        ligand = Ligand(
            name="-".join(place.name for place in places),
            chain=places[0].chain,
            number=places[0].number,
            coords=_coords(chosen),
            elements=tuple(atom.element.name for atom in chosen),
        )
        if len(chosen) >= wanted.least_atoms and np.isfinite(ligand.coords).all():
            _, squared = points.knn(coords, ligand.coords, k=1)
            if squared.min() <= CONTACT**2:
                found.append(ligand)
    return tuple(found)


def _ignored(name: str, wanted: Reading) -> bool:
    return name in wanted.ignored or gemmi.find_tabulated_residue(name).kind == gemmi.ResidueKind.BUF


def _overlap(one: Sequence[gemmi.Atom], other: Sequence[gemmi.Atom]) -> bool:
    _, squared = points.knn(_coords(one), _coords(other), k=1)
    return int((squared <= JOINED**2).sum()) >= OVERLAP


def _joined(parts: Sequence[Floats]) -> list[list[int]]:
    """Residues that are bonded to each other, as molecules; both in the order of the file."""
    if not parts:
        return []
    molecule = list(range(len(parts)))
    owner = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    everything = np.concatenate(parts)
    near, squared = points.knn(everything, k=8, include_self=False)
    for atom, slot in zip(*np.nonzero((near >= 0) & (squared <= JOINED**2)), strict=True):
        one, other = molecule[owner[atom]], molecule[owner[near[atom, slot]]]
        if one != other:
            molecule = [min(one, other) if label in (one, other) else label for label in molecule]
    return [
        [part for part, label in enumerate(molecule) if label == first] for first in sorted(set(molecule))
    ]

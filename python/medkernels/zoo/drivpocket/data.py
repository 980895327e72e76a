"""Folders of structures: PDB and mmCIF files, lists of P2Rank, and the folders of scPDB.

Layout::

    data/a.pdb              a structure a file: .pdb, .ent, .cif, .mmcif (also .gz), with its ligands
    data/2p15_1/            a site of scPDB: protein.mol2, and ligand.mol2 and cavity6.mol2 where known
    data/coach420.ds        lists of P2Rank: files, and names of the ligands that count
    data/train/b.pdb        train/, valid/ and test/ are used as that, others are split at random

`data` may also be one of these files. A folder with lists holds what they name, and nothing else.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.progress import track

from medkernels.zoo.drivpocket.mol2 import PROTEIN, read_site
from medkernels.zoo.drivpocket.reading import Reading, has_ending, read_structure, stem
from medkernels.zoo.drivpocket.structure import Structure
from medkernels.zoo.engine.logs import console

Data = str | Path | Structure | Sequence[Structure]
Skipped = list[tuple[str, str]]

PARTS = ("train", "valid", "test")
LIST = ".ds"
#: What the system itself writes beside structures.
WRITTEN = ("_pockets.pdb", "_receptor.pdb")
FILE_COLUMNS = ("protein", "prediction")  # of a list, by falling preference
ANY_LIGAND = ("*", "<UNDEFINED>", "")


@dataclass(frozen=True)
class Entry:
    """A structure that has not been read yet.

    Attributes
    ----------
    name : str
    path : Path
        Its file, or the folder of a site.
    part : str or None
        "train", "valid" or "test", where the data say so.
    ligands : frozenset of str or None
        Names of the ligands that count; all if None.
    """

    name: str
    path: Path
    part: str | None = None
    ligands: frozenset[str] | None = None


def list_entries(path: str | Path) -> list[Entry]:
    """The structures of a folder, or of one file.

    Raises
    ------
    FileNotFoundError
        If there is no such folder or file.
    ValueError
        If it holds no structure, or a list cannot be read.
    """
    root = Path(path)
    if not root.exists():
        raise FileNotFoundError(f"data: there is no folder or file {root}")
    files = [root] if root.is_file() else sorted(file for file in root.rglob("*") if file.is_file())
    files = [file for file in files if not _hidden(file, root)]
    lists = [file for file in files if file.suffix.lower() == LIST]
    if lists:
        # Two lists may name the same structure.
        entries = list(dict.fromkeys(entry for file in lists for entry in read_list(file)))
    else:
        entries = [
            Entry(_name(file, root), file.parent if file.name == PROTEIN else file, part_of(file, root))
            for file in files
            if file.name == PROTEIN or (has_ending(file) and not file.name.endswith(WRITTEN))
        ]
    if not entries:
        raise ValueError(
            f"data: {root} holds no structures; want .pdb, .ent, .cif or .mmcif files (also .gz), "
            f"folders with {PROTEIN}, or lists {LIST}"
        )
    # Two files of one name but another ending keep their endings.
    count = Counter(entry.name for entry in entries)
    return [
        replace(entry, name=str(Path(entry.name).with_name(entry.path.name)))
        if count[entry.name] > 1
        else entry
        for entry in entries
    ]


def read_list(file: Path) -> list[Entry]:
    """The structures that a data set list of P2Rank names.

    Lines are columns split by white space; "#" begins a comment. "HEADER:" names the columns, of which
    `protein` (the file) and `ligand_codes` (names split by commas) are read. "PARAM." lines are passed over.

    Raises
    ------
    ValueError
        If it names no column of files, or a line lacks one.
    """
    columns = ["protein"]
    entries = []
    for line in file.read_text(encoding="utf-8").splitlines():
        words = line.partition("#")[0].split()
        if not words or words[0].startswith("PARAM."):
            continue
        if words[0] == "HEADER:":
            columns = words[1:]
            continue
        row = dict(zip(columns, words, strict=False))
        given = next((row[name] for name in FILE_COLUMNS if name in row), None)
        if given is None:
            raise ValueError(f"data: {file}: no column {FILE_COLUMNS[0]!r} in {line.strip()!r}")
        codes = row.get("ligand_codes", "")
        codes = re.sub(
            r"\[[^]]*\]", "", codes
        )  # "GTP[group_id:A_1173]" names one copy; all copies count here
        names = None if codes in ANY_LIGAND else frozenset(codes.upper().split(","))
        entries.append(Entry(_safe_name(given), file.parent / given, ligands=names))
    return entries


def part_of(file: Path, root: Path) -> str | None:
    """The part of the data that a file belongs to by its folder, if any."""
    inside = file.relative_to(root).parts[:-1] if root.is_dir() else ()
    return next((part for part in PARTS if inside and inside[0].lower() == part), None)


def read_entry(entry: Entry, reading: Reading) -> Structure:
    """One structure, with the ligands that count.

    Raises
    ------
    ValueError
        If the file cannot be used; says why.
    OSError
        If it cannot be read.
    """
    if entry.path.is_dir():
        structure = read_site(entry.path, name=entry.name)
    else:
        structure = read_structure(entry.path, reading, name=entry.name)
    if entry.ligands is None:
        return structure
    kept = [ligand for ligand in structure.ligands if entry.ligands & set(ligand.name.split("-"))]
    return replace(structure, ligands=tuple(kept))


def stream(
    data: Data, reading: Reading, skipped: Skipped, *, labelled: bool = False, progress: bool = True
) -> Iterator[tuple[Structure, str | None]]:
    """Structures one by one, each with its part of the data; what cannot be used is put on the list.

    Parameters
    ----------
    data : a folder or file as above, or structures.
    reading : what is taken from files.
    skipped : gets the name of and the reason for what is left out.
    labelled : leave out structures without a ligand or a cavity.
    progress : show a bar if the error stream is a terminal.
    """
    for structure, part in _all(data, reading, skipped, progress):
        if labelled and not structure.ligands and structure.cavity is None:
            skipped.append((structure.name, "no ligand is bound to it"))
        else:
            yield structure, part


def listed(skipped: Sequence[tuple[str, str]], most: int = 3) -> str:
    """The first of what was left out, in one line."""
    if not skipped:
        return "there is none"
    more = f"; and {len(skipped) - most} more" if len(skipped) > most else ""
    return "; ".join(f"{name}: {reason}" for name, reason in skipped[:most]) + more


def _all(
    data: Data, reading: Reading, skipped: Skipped, progress: bool
) -> Iterator[tuple[Structure, str | None]]:
    if not isinstance(data, (str, Path)):
        yield from ((structure, None) for structure in _checked(data))
        return
    for entry in _tracked(list_entries(data), progress):
        try:
            structure = read_entry(entry, reading)
        except (ValueError, OSError) as error:
            skipped.append((entry.name, " ".join(str(error).split()) or type(error).__name__))
        else:
            yield structure, entry.part


def _checked(data: Structure | Sequence[Structure]) -> Iterable[Structure]:
    structures = [data] if isinstance(data, Structure) else list(data)
    for structure in structures:
        if not isinstance(structure, Structure):
            raise TypeError(
                f"data: want a folder, a file or structures, got a {type(structure).__name__} among them"
            )
    return structures


def _tracked(entries: Sequence[Entry], progress: bool) -> Iterable[Entry]:
    hidden = not (progress and console.is_interactive)
    return track(entries, "structures", console=console, disable=hidden, transient=True)


def _safe_name(given: str) -> str:
    """A path as a name below the folder of results, which it must not leave, without the ending."""
    parts = [part for part in Path(given).parts if part not in ("..", Path(given).anchor)]
    return Path(*parts).with_name(stem(Path(given))).as_posix()


def _hidden(file: Path, root: Path) -> bool:
    return any(part.startswith(".") for part in file.relative_to(root.parent).parts)


def _name(file: Path, root: Path) -> str:
    """The structure's path in the folder, without the ending."""
    if file.name == PROTEIN:
        inside = file.parent.relative_to(root if root.is_dir() else root.parent).as_posix()
        return inside if inside != "." else file.parent.resolve().name
    inside_folder = file.relative_to(root if root.is_dir() else root.parent)
    return inside_folder.with_name(stem(file)).as_posix()

"""Scripts that show a structure and its pockets in PyMOL and ChimeraX."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from medkernels.zoo.drivpocket.pocket import Pocket
from medkernels.zoo.drivpocket.structure import Residue, Structure
from medkernels.zoo.engine.files import write_text

#: Of pockets by rank, in turn: hues that people with colour-blindness can tell (Okabe and Ito 2008).
COLORS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a7a00", "#555555")


def write_pymol(path: Path, structure: Structure, pockets: Sequence[Pocket]) -> None:
    """Write a script for PyMOL: the structure as cartoon, pockets as surfaces, their linings as sticks."""
    receptor = _identifier(structure.name)
    lines = [f"# PyMOL, started in this folder: pymol {path.name}"]
    if structure.source is not None:
        # As Python, so that paths may hold blanks and commas.
        lines += [
            f"/cmd.load({_relative(structure.source, path.parent)!r}, {receptor!r})",
            f"hide everything, {receptor}",
            f"remove {receptor} and resn HOH+WAT+DOD",
            f"show cartoon, {receptor}",
            f"color grey80, {receptor}",
            f"show sticks, {receptor} and organic",
            f"util.cnc {receptor} and organic",
        ]
    lines += [f"/cmd.load({_points_of(path)!r}, 'points')", "hide everything, points"]
    for pocket in pockets:
        name = f"pocket{pocket.rank}"
        red, green, blue = (value / 255 for value in rgb(pocket.rank))
        lines += [
            f"set_color {name}_color, [{red:.3f}, {green:.3f}, {blue:.3f}]",
            f"create {name}, points and resi {pocket.rank}",
            f"alter {name}, vdw=1.2",
            f"show surface, {name}",
            f"color {name}_color, {name}",
        ]
        if structure.source is not None and pocket.residues:
            chosen = " or ".join(_pymol_residues(pocket.residues))
            lines += [
                f"select lining{pocket.rank}, {receptor} and ({chosen})",
                f"show sticks, lining{pocket.rank} and not name N+C+O",
            ]
    lines += ["delete points", "set transparency, 0.3", "deselect", "orient"]
    write_text(path, "\n".join(lines) + "\n")


def write_chimerax(path: Path, structure: Structure, pockets: Sequence[Pocket]) -> None:
    """Write a script for ChimeraX: the structure as cartoon, pockets as balls, their linings as sticks."""
    lines = [f"# ChimeraX, in this folder: open {path.name}"]
    points = "#1"
    if structure.source is not None:
        points = "#2"
        lines += [
            f"open {_quoted(_relative(structure.source, path.parent))} id #1",
            "hide #1 atoms",
            "show #1 cartoons",
            "color #1 lightgray",
            "show #1 & ligand atoms",
            "style #1 & ligand stick",
            "color #1 & ligand byhetero",
        ]
    lines += [
        f"open {_quoted(_points_of(path))} id {points}",
        f"style {points} sphere",
        f"size {points} atomRadius 0.6",
    ]
    for pocket in pockets:
        color = COLORS[(pocket.rank - 1) % len(COLORS)]
        lines += [f"color {points}:{pocket.rank} {color}", f"name pocket{pocket.rank} {points}:{pocket.rank}"]
        if structure.source is not None and pocket.residues:
            chosen = " | ".join(_chimerax_residues(pocket.residues))
            lines += [f"name lining{pocket.rank} {chosen}", f"show lining{pocket.rank} & sidechain atoms"]
    write_text(path, "\n".join([*lines, "view"]) + "\n")


def rgb(rank: int) -> tuple[int, int, int]:
    """The colour of a pocket, 0 to 255."""
    color = COLORS[(rank - 1) % len(COLORS)]
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


def _points_of(script: Path) -> str:
    return script.with_suffix(".pdb").name


def _relative(file: Path, folder: Path) -> str:
    """The path of a file as seen from a folder, with forward slashes; absolute on another drive."""
    try:
        return Path(os.path.relpath(file.resolve(), folder.resolve())).as_posix()
    except ValueError:
        return file.resolve().as_posix()


def _identifier(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_]", "_", PurePosixPath(name).name)


def _quoted(path: str) -> str:
    return '"' + path.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _by_chain(residues: Sequence[Residue]) -> dict[str, list[str]]:
    chains: dict[str, list[str]] = {}
    for residue in residues:
        chains.setdefault(residue.chain, []).append(f"{residue.number}{residue.insertion}")
    return chains


def _pymol_residues(residues: Sequence[Residue]) -> list[str]:
    # A minus sign would be a range.
    return [
        f'(chain "{chain}" and resi {"+".join(number.replace("-", chr(92) + "-") for number in numbers)})'
        for chain, numbers in _by_chain(residues).items()
    ]


def _chimerax_residues(residues: Sequence[Residue]) -> list[str]:
    return [
        f"#1{'/' + chain if chain else ''}:{','.join(numbers)}"
        for chain, numbers in _by_chain(residues).items()
    ]

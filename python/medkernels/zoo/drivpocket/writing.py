"""Ranked pockets as files: a table, points as PDB and PLY, and scripts that show them in PyMOL and ChimeraX.

For a structure ``1abc`` these are ``1abc_pockets.csv``, ``1abc_pockets.pdb``, ``1abc_pockets.ply``,
``1abc_pockets.pml`` and ``1abc_pockets.cxc``.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import gemmi
import numpy as np

from medkernels.zoo.drivpocket.pocket import Pocket
from medkernels.zoo.drivpocket.scripts import rgb, write_chimerax, write_pymol
from medkernels.zoo.drivpocket.structure import Floats, Structure
from medkernels.zoo.engine.files import replacing, write_text

#: The columns that P2Rank has too bear its names.
COLUMNS = (
    "name",
    "rank",
    "score",
    "probability",
    "center_x",
    "center_y",
    "center_z",
    "volume",
    "residue_ids",
)
SPACING = 1.0  # of the points that are written, Angstrom; those of the mask are nearer
CHAIN, RESIDUE, ATOM = "P", "STP", "C"  # of points in PDB files; the residue's name is that of Fpocket


def write_pockets(out_dir: Path, structure: Structure, pockets: Sequence[Pocket]) -> list[str]:
    """Write all files of one structure; return their names inside `out_dir`.

    Parameters
    ----------
    out_dir : Path
        Created if missing.
    structure : Structure
        Its name may contain folders, which are kept.
    pockets : sequence of Pocket
        The best first.

    Raises
    ------
    OSError
        If a file cannot be written.
    """
    inside = PurePosixPath(structure.name)
    bases = {ending: str(inside.with_name(f"{inside.name}_pockets{ending}")) for ending in ENDINGS}
    for ending, write in ENDINGS.items():
        write(out_dir / bases[ending], structure, pockets)
    return list(bases.values())


def write_table(path: Path, structure: Structure, pockets: Sequence[Pocket]) -> None:
    """Write a line a pocket."""
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(row(pocket) for pocket in pockets)


def row(pocket: Pocket) -> dict[str, Any]:
    """A pocket as a line of a table."""
    x, y, z = (f"{value:.3f}" for value in pocket.centre)
    return {
        "name": f"pocket{pocket.rank}",
        "rank": pocket.rank,
        "score": f"{pocket.score:.4f}",
        "probability": f"{pocket.probability:.4f}",
        "center_x": x,
        "center_y": y,
        "center_z": z,
        "volume": f"{pocket.volume:.1f}",
        "residue_ids": " ".join(map(str, pocket.residues)),
    }


def thinned(places: Floats, spacing: float = SPACING) -> Floats:
    """Points [m,3] of which one is kept in each cell of a lattice: the first."""
    if not len(places):
        return places
    _, first = np.unique(np.floor(places / spacing).astype(np.int64), axis=0, return_index=True)
    return np.asarray(places[np.sort(first)])


def write_points(path: Path, structure: Structure, pockets: Sequence[Pocket]) -> None:
    """Write points as atoms of a PDB file: a residue a pocket, with 100 times its probability as B-factor."""
    model = gemmi.Model(1)
    chain = gemmi.Chain(CHAIN)
    for pocket in pockets:
        residue = gemmi.Residue()
        residue.name, residue.seqid, residue.het_flag = RESIDUE, gemmi.SeqId(pocket.rank, " "), "H"
        for x, y, z in thinned(pocket.points).tolist():
            atom = gemmi.Atom()
            atom.name, atom.element = ATOM, gemmi.Element("C")
            atom.pos, atom.b_iso = gemmi.Position(x, y, z), 100 * pocket.probability
            residue.add_atom(atom)
        chain.add_residue(residue)
    model.add_chain(chain)
    made = gemmi.Structure()
    made.add_model(model)
    made.name = structure.name
    write_text(path, made.make_pdb_string(gemmi.PdbWriteOptions(minimal=True)))


def write_cloud(path: Path, structure: Structure, pockets: Sequence[Pocket]) -> None:
    """Write points as a coloured cloud, PLY in ASCII, which Open3D and MeshLab read; ranks are a property."""
    lines = []
    for pocket in pockets:
        color = " ".join(map(str, rgb(pocket.rank)))
        lines += [f"{x:.3f} {y:.3f} {z:.3f} {color} {pocket.rank}" for x, y, z in thinned(pocket.points)]
    header = ["ply", "format ascii 1.0", f"element vertex {len(lines)}"]
    header += [f"property float {axis}" for axis in "xyz"]
    header += [f"property uchar {name}" for name in ("red", "green", "blue")]
    write_text(path, "\n".join([*header, "property int rank", "end_header", *lines]) + "\n")


def to_open3d(pockets: Sequence[Pocket]) -> list[Any]:
    """The points of each pocket as a coloured ``open3d.geometry.PointCloud``.

    Raises
    ------
    ImportError
        If Open3D is not installed.
    """
    try:
        import open3d
    except ImportError as error:
        raise ImportError("Open3D is not installed: pip install 'medkernels[open3d]'") from error
    clouds = []
    for pocket in pockets:
        cloud = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(pocket.points.astype(np.float64)))
        cloud.paint_uniform_color([value / 255 for value in rgb(pocket.rank)])
        clouds.append(cloud)
    return clouds


ENDINGS = {
    ".csv": write_table,
    ".pdb": write_points,
    ".ply": write_cloud,
    ".pml": write_pymol,
    ".cxc": write_chimerax,
}

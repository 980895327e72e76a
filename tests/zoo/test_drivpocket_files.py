"""drivpocket: pockets as tables, points and scripts, the view that can be turned, and reports."""

from __future__ import annotations

import csv
import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import gemmi
import numpy as np
import pytest

from medkernels.zoo.drivpocket.examples import example
from medkernels.zoo.drivpocket.pictures import draw_structure
from medkernels.zoo.drivpocket.pocket import Pocket, lining_atoms
from medkernels.zoo.drivpocket.reading import read_structure
from medkernels.zoo.drivpocket.report import LISTED, overview, pocket_row, write_predictions
from medkernels.zoo.drivpocket.scripts import COLORS, rgb
from medkernels.zoo.drivpocket.structure import Residue, Structure
from medkernels.zoo.drivpocket.view import curve, surface, trace, view
from medkernels.zoo.drivpocket.writing import COLUMNS, thinned, to_open3d, write_pockets


def ball(middle, radius=4.0, spacing=0.5):
    edge = np.arange(-radius, radius + 0.01, spacing)
    lattice = np.stack(np.meshgrid(edge, edge, edge, indexing="ij"), -1).reshape(-1, 3)
    return (lattice[np.linalg.norm(lattice, axis=1) <= radius] + middle).astype(np.float32)


@pytest.fixture(scope="module")
def structure() -> Structure:
    return read_structure(example("1fbl"))


@pytest.fixture(scope="module")
def pockets(structure) -> list[Pocket]:
    """One around the ligand, one elsewhere."""
    made = []
    for rank, middle in enumerate((structure.ligands[0].center, structure.coords[1000]), 1):
        points = ball(middle)
        atoms = lining_atoms(structure, points)
        made.append(
            Pocket(
                rank=rank,
                score=300.5 / rank,
                probability=0.9 / rank,
                centre=points.mean(axis=0),
                points=points,
                volume=len(points) / 8,
                atoms=atoms,
                residues=structure.lining(atoms),
                candidate=rank,
            )
        )
    return made


@pytest.fixture
def folder(tmp_path, structure, pockets) -> Path:
    assert write_pockets(tmp_path, structure, pockets) == [
        f"1fbl_pockets{ending}" for ending in (".csv", ".pdb", ".ply", ".pml", ".cxc")
    ]
    return tmp_path


def test_the_table(folder, pockets):
    with (folder / "1fbl_pockets.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    for row, pocket in zip(rows, pockets, strict=True):
        assert row["name"] == f"pocket{pocket.rank}"
        assert int(row["rank"]) == pocket.rank
        assert float(row["score"]) == pytest.approx(pocket.score)
        assert float(row["probability"]) == pytest.approx(pocket.probability)
        assert float(row["volume"]) == pytest.approx(pocket.volume, abs=0.06)
        centre = [float(row[f"center_{axis}"]) for axis in "xyz"]
        assert np.allclose(centre, pocket.centre, atol=1e-3)
        assert row["residue_ids"].split() == [str(residue) for residue in pocket.residues]
    assert "A_218" in rows[0]["residue_ids"].split()  # a histidine that binds the catalytic zinc


def test_points_as_pdb(folder, pockets):
    read = gemmi.read_structure(str(folder / "1fbl_pockets.pdb"))
    chain = read[0]["P"]
    assert [(residue.name, residue.seqid.num) for residue in chain] == [("STP", 1), ("STP", 2)]
    for residue, pocket in zip(chain, pockets, strict=True):
        places = np.array([atom.pos.tolist() for atom in residue])
        assert np.allclose(places, thinned(pocket.points), atol=1e-3)
        assert residue.het_flag == "H"
        assert residue[0].b_iso == pytest.approx(100 * pocket.probability, abs=0.01)
    assert all(len(line) <= 80 for line in (folder / "1fbl_pockets.pdb").read_text().splitlines())


def test_points_as_ply(folder, pockets):
    text = (folder / "1fbl_pockets.ply").read_text().splitlines()
    end = text.index("end_header")
    assert text[:2] == ["ply", "format ascii 1.0"]
    rows = np.array([[float(value) for value in line.split()] for line in text[end + 1 :]])
    assert text[2] == f"element vertex {len(rows)}"
    assert [line.split()[-1] for line in text[3:end]] == ["x", "y", "z", "red", "green", "blue", "rank"]
    for pocket in pockets:
        own = rows[rows[:, 6] == pocket.rank]
        assert np.allclose(own[:, :3], thinned(pocket.points), atol=1e-3)
        assert {tuple(row) for row in own[:, 3:6]} == {rgb(pocket.rank)}


def test_thinned_points_cover_what_they_stand_for():
    points = ball([0.3, 0, 0])
    few = thinned(points)
    assert 200 < len(few) < len(points) / 5
    assert {tuple(point) for point in few.tolist()} <= {tuple(point) for point in points.tolist()}
    gaps = np.linalg.norm(points[:, None] - few, axis=2).min(axis=1)
    assert gaps.max() <= np.sqrt(3)
    assert len(thinned(points[:0])) == 0


def test_the_script_for_pymol(folder, structure, pockets):
    lines = (folder / "1fbl_pockets.pml").read_text().splitlines()
    loaded = [re.fullmatch(r"/cmd\.load\('(.+)', '(\w+)'\)", line) for line in lines]
    files = {found[2]: folder / found[1] for found in loaded if found}
    assert files["1fbl"].resolve() == structure.source.resolve()
    assert files["points"] == folder / "1fbl_pockets.pdb"
    for pocket in pockets:
        red, green, blue = (value / 255 for value in rgb(pocket.rank))
        assert f"set_color pocket{pocket.rank}_color, [{red:.3f}, {green:.3f}, {blue:.3f}]" in lines
        chosen = next(line for line in lines if line.startswith(f"select lining{pocket.rank},"))
        numbers = re.search(r'chain "A" and resi ([\d+]+)', chosen)[1].split("+")
        assert [int(number) for number in numbers] == [residue.number for residue in pocket.residues]


def test_the_script_for_chimerax(folder, structure, pockets):
    lines = (folder / "1fbl_pockets.cxc").read_text().splitlines()
    opened = [shlex.split(line)[1] for line in lines if line.startswith("open ")]
    assert (folder / opened[0]).resolve() == structure.source.resolve()
    assert opened[1] == "1fbl_pockets.pdb"
    for pocket in pockets:
        assert f"color #2:{pocket.rank} {COLORS[pocket.rank - 1]}" in lines
        numbers = ",".join(str(residue.number) for residue in pocket.residues)
        assert f"name lining{pocket.rank} #1/A:{numbers}" in lines


def test_odd_names_of_files_and_residues(tmp_path, structure, pockets):
    """Blanks, quotes and folders in names; negative numbers, insertion codes, a chain without a name."""
    source = tmp_path / "my data" / "it's, 1.pdb"
    source.parent.mkdir()
    source.write_text("END\n")
    residues = (Residue("", -3, "", "ALA"), Residue("B", 12, "A", "GLY"))
    odd = replace(structure, name="train/1 a,b", source=source)
    write_pockets(tmp_path / "out", odd, [replace(pockets[0], residues=residues)])
    base = tmp_path / "out" / "train"
    script = (base / "1 a,b_pockets.pml").read_text()
    calls = re.findall(r"^/cmd\.load\((.+)\)$", script, re.MULTILINE)
    paths = [eval(f"({call})") for call in calls]
    assert [(base / path).resolve() for path, _ in paths] == [source, base / "1 a,b_pockets.pdb"]
    assert paths[0][1] == "1_a_b"
    assert '(chain "" and resi \\-3) or (chain "B" and resi 12A)' in script
    other = (base / "1 a,b_pockets.cxc").read_text()
    assert 'open "../../my data/it\'s, 1.pdb" id #1' in other
    assert "#1:-3 | #1/B:12A" in other


def test_generated_structures_have_pockets_but_no_file_to_load(tmp_path, structure, pockets):
    bare = Structure("made", structure.coords, structure.channels, structure.radii)
    plain = [replace(pocket, residues=()) for pocket in pockets]
    write_pockets(tmp_path, bare, plain)
    assert (tmp_path / "made_pockets.pml").read_text().count("/cmd.load(") == 1
    assert "color #1:2 " in (tmp_path / "made_pockets.cxc").read_text()
    assert len(view(bare, plain).data) == 3
    assert trace(bare) == []


def test_without_pockets_the_files_are_empty_but_whole(tmp_path, structure):
    write_pockets(tmp_path, structure, [])
    assert (tmp_path / "1fbl_pockets.csv").read_text().strip() == ",".join(COLUMNS)
    assert "element vertex 0" in (tmp_path / "1fbl_pockets.ply").read_text()
    path = write_predictions(tmp_path / "r.html", [(structure, [])], [overview(structure, [])], [])
    assert "No pocket was found." in path.read_text()


def test_many_pockets_take_colours_in_turn():
    assert rgb(1) == rgb(1 + len(COLORS)) == (0xD5, 0x5E, 0x00)
    assert len({rgb(rank) for rank in range(1, len(COLORS) + 1)}) == len(COLORS)


def test_open3d(pockets):
    pytest.importorskip("open3d")
    clouds = to_open3d(pockets)
    assert np.allclose(np.asarray(clouds[0].points), pockets[0].points)
    assert np.allclose(np.asarray(clouds[1].colors), np.array(rgb(2)) / 255)


def test_open3d_is_asked_for_where_it_is_missing(monkeypatch, pockets):
    monkeypatch.setitem(__import__("sys").modules, "open3d", None)
    with pytest.raises(ImportError, match=r"medkernels\[open3d\]"):
        to_open3d(pockets)


def test_the_trace_follows_the_chains():
    two = read_structure(example("2W83"))
    runs = trace(two)
    assert sum(map(len, runs)) == sum(name == "CA" for name in two.atom_names)
    for run in runs:
        assert len({two.residues[place].chain for place in two.residue_of[run]}) == 1
        steps = np.linalg.norm(np.diff(two.coords[run], axis=0), axis=1)
        assert (steps <= 4.6).all()
    assert len({two.residues[two.residue_of[run[0]]].chain for run in runs}) == 5


def test_curves_pass_through_their_points():
    places = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
    drawn = curve(places)
    assert len(drawn) == 25
    assert np.allclose(drawn[::4], places, atol=1e-5)
    assert np.array_equal(curve(places[:2]), places[:2])


@pytest.mark.parametrize("spacing", [0.25, 0.5, 0.8, 1.5])
def test_surfaces_enclose_their_points(spacing):
    points = ball([5.0, -3.0, 2.0], spacing=spacing)
    corners, triangles = surface(points, spacing)
    distances = np.linalg.norm(corners - [5, -3, 2], axis=1)
    assert distances.min() > 3 - spacing / 2
    assert distances.max() < 5 + spacing / 2
    edges = np.sort(triangles[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    assert (np.unique(edges, axis=0, return_counts=True)[1] == 2).all()  # closed
    assert surface(points[:0], spacing) is None
    assert surface(points[:1], spacing) is not None


def test_the_view(structure, pockets):
    figure = view(structure, pockets, hidden_from=2)
    traces = json.loads(figure.to_json())["data"]
    kinds = [(one["type"], one["name"]) for one in traces]
    assert kinds.count(("mesh3d", "pocket 1")) == kinds.count(("mesh3d", "pocket 2")) == 1
    assert [one["visible"] for one in traces if one["type"] == "mesh3d"] == [True, "legendonly"]
    ligand = [one for one in traces if one["name"] == "ligand" and one["mode"] == "markers"]
    assert len(ligand[0]["x"]) == len(structure.ligands[0].coords)
    assert [one["showlegend"] for one in traces if one["name"] == "backbone"].count(True) == 1
    assert "nan" not in figure.to_json().lower()


def test_a_report_of_predictions(tmp_path, structure, pockets):
    rows = [overview(structure, pockets)] * (LISTED + 1)
    skipped = [["bad.pdb", "not a structure"]]
    text = write_predictions(tmp_path / "r.html", [(structure, pockets)], rows, skipped).read_text()
    assert text.count("Plotly.newPlot(") >= 1
    assert "HTA A900" in text
    assert "and 1 more." in text
    assert "bad.pdb" in text
    assert "data:image/png" in text
    row = pocket_row(structure, pockets[0])
    assert row["holds"] == "HTA A900"
    assert pocket_row(structure, pockets[1])["holds"] == ""
    assert row["lining"].count(",") == 9


def test_pictures_mark_the_first_pockets(structure, pockets):
    figure = draw_structure(structure, pockets, shown=1)
    assert [[text.get_text() for text in axes.texts] for axes in figure.axes] == [["1"], ["1"]]

"""drivpocket: structures from files, types of atoms, ligands, folders, lists and sites of scPDB."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path

import gemmi
import numpy as np
import pytest

from medkernels.zoo.drivpocket import atoms
from medkernels.zoo.drivpocket.atoms import CHANNELS, known_channel, radius
from medkernels.zoo.drivpocket.data import list_entries, read_entry, read_list, stream
from medkernels.zoo.drivpocket.examples import FOLDER, NAMES, example
from medkernels.zoo.drivpocket.mol2 import read_mol2, read_site
from medkernels.zoo.drivpocket.perception import bonds, perceive
from medkernels.zoo.drivpocket.reading import Reading, read_structure
from medkernels.zoo.drivpocket.structure import Structure


def line(name, residue, number, place, *, kind="ATOM", alt=" ", occ=1.0, chain="A", element=None):
    """A line of a PDB file for one atom."""
    x, y, z = place
    shown = name if len(name) == 4 else f" {name}"
    identity = f"{kind:<6}{1:>5} {shown:<4}{alt}{residue:>3} {chain}{number:>4}    "
    return f"{identity}{x:8.3f}{y:8.3f}{z:8.3f}{occ:6.2f}{20:6.2f}          {element or name[0]:>2}\n"


def peptide(names, start=1, y=0.0):
    """Backbones of residues in a row, far enough apart for no bonds but their own."""
    return "".join(
        line(name, residue, start + place, (3.8 * place + shift, y, 0.0))
        for place, residue in enumerate(names)
        for name, shift in (("N", 0.0), ("CA", 1.4), ("C", 2.5))
    )


def written(folder: Path, text: str, name: str = "a.pdb") -> Path:
    (folder / name).write_text(text)
    return folder / name


@pytest.mark.parametrize(
    ("residue", "atom", "channel"),
    [
        ("SER", "OG", "oxygen donor"),
        ("TYR", "OH", "oxygen donor"),
        ("ASP", "OD1", "oxygen acceptor"),
        ("ASP", "OD2", "oxygen acceptor"),
        ("GLY", "O", "oxygen acceptor"),
        ("LYS", "NZ", "nitrogen donor"),
        ("ARG", "NE", "nitrogen donor"),
        ("ALA", "N", "nitrogen donor"),
        ("PRO", "N", "nitrogen or acceptor"),
        ("HIS", "ND1", "nitrogen donor"),
        ("HIS", "NE2", "nitrogen or acceptor"),
        ("HIE", "ND1", "nitrogen or acceptor"),
        ("HIE", "NE2", "nitrogen donor"),
        ("HIP", "NE2", "nitrogen donor"),
        ("HIS", "CE1", "aromatic carbon"),
        ("PHE", "CZ", "aromatic carbon, hydrophobe"),
        ("TYR", "CZ", "aromatic carbon"),
        ("TRP", "CD1", "aromatic carbon"),
        ("TRP", "CH2", "aromatic carbon, hydrophobe"),
        ("LEU", "CD1", "aliphatic carbon, hydrophobe"),
        ("THR", "CG2", "aliphatic carbon, hydrophobe"),
        ("THR", "CB", "aliphatic carbon"),
        ("VAL", "CA", "aliphatic carbon"),
        ("MET", "CE", "aliphatic carbon"),
        ("MET", "SD", "sulfur"),
        ("MSE", "SE", "sulfur"),
        ("ASH", "OD2", "oxygen donor"),
        ("A", "N6", "nitrogen donor"),
        ("DG", "O6", "oxygen acceptor"),
        ("G", "O2'", "oxygen donor"),
        ("DT", "C7", "aliphatic carbon, hydrophobe"),
        ("U", "C5", "aromatic carbon, hydrophobe"),
        ("DC", "P", "phosphorus"),
    ],
)
def test_types_of_known_atoms(residue, atom, channel):
    assert CHANNELS[known_channel(residue, atom)] == channel


def test_every_atom_of_the_amino_acids_has_a_type_of_its_element():
    """Against the names and elements of the atoms of real structures."""
    of_element = {"C": range(4), "N": (5, 6), "O": (7, 8), "S": (9,)}
    seen = set()
    for name in NAMES:
        for chain in gemmi.read_structure(str(example(name)))[0]:
            for residue in chain:
                if gemmi.find_tabulated_residue(residue.name).is_amino_acid():
                    for atom in residue:
                        assert known_channel(residue.name, atom.name) in of_element[atom.element.name]
                        seen.add((residue.name, atom.name))
    assert len({residue for residue, _ in seen}) == 20
    assert len(CHANNELS) == len(set(CHANNELS)) == 14
    assert [radius(element) for element in ("C", "N", "O", "S", "Zn")] == [1.9, 1.8, 1.7, 2.0, 1.2]
    assert known_channel("SER", "XX") is known_channel("XYZ", "CA") is None


@pytest.mark.parametrize("name", NAMES)
def test_real_structures(name):
    """Counted from the lines of the file, without a reader."""
    lines = gzip.decompress(example(name).read_bytes()).decode().splitlines()
    first = next((place for place, text in enumerate(lines) if text.startswith("ENDMDL")), len(lines))
    heavy = [
        text for text in lines[:first] if text.startswith("ATOM") and text[76:78].strip() not in ("H", "D")
    ]
    places = {(text[21], text[22:27], text[12:16]) for text in heavy}
    structure = read_structure(example(name))
    assert structure.name == name
    assert len(structure) == len(places) > 1600
    lows = np.min([[float(text[start : start + 8]) for start in (30, 38, 46)] for text in heavy], axis=0)
    assert np.allclose(structure.coords.min(axis=0), lows, atol=0.6)  # another location may reach further
    assert len(structure.residues) == len({key[:2] for key in places})
    assert structure.residue_of.tolist() == sorted(structure.residue_of.tolist())
    assert structure.source == example(name)


def test_ligands_of_real_structures():
    """Ions, water, buffers (dioxane, glycerol) and the less likely of two alternatives are none."""
    found = {
        name: [(ligand.name, ligand.chain, ligand.number, len(ligand.coords)) for ligand in structure.ligands]
        for name in NAMES
        for structure in [read_structure(example(name))]
    }
    assert found == {
        "1a82a": [("DNN", "", 801, 13), ("ATP", "", 802, 31)],
        "1aaxa": [("BPM", "A", 323, 23), ("BOG", "A", 1283, 20), ("892", "", 301, 36)],
        "1fbl": [("HTA", "A", 900, 27)],
        "1t7qa": [("COA", "", 1202, 48), ("152", "", 1201, 11)],
        "2W83": [("GTP", chain, 1173, 32) for chain in "ABE"],
    }


def test_what_counts_as_a_ligand_can_be_chosen():
    large = read_structure(example("1t7qa"), Reading(least_atoms=12))
    assert [ligand.name for ligand in large.ligands] == ["COA"]
    other = read_structure(example("1t7qa"), Reading(ignored=frozenset({"COA"})))
    assert [ligand.name for ligand in other.ligands] == ["152"]


def test_metals_are_kept_where_asked_for():
    without, with_metals = (read_structure(example("1fbl"), Reading(metals=kept)) for kept in (False, True))
    assert len(with_metals) == len(without) + 6
    assert sorted(with_metals.channels[-6:].tolist()) == [atoms.CALCIUM] * 4 + [atoms.ZINC] * 2
    assert np.allclose(with_metals.radii[-6:], 1.2)


def test_mmcif_and_pdb_give_the_same(tmp_path):
    given = gemmi.read_structure(str(example("1fbl")))
    given.setup_entities()
    given.assign_label_seq_id()
    given.make_mmcif_document().write_file(str(tmp_path / "b.cif"))
    commented = b"# a comment\n#\n\n" + (tmp_path / "b.cif").read_bytes()
    (tmp_path / "c.cif.gz").write_bytes(gzip.compress(commented))
    (tmp_path / "d.pdb").write_bytes(gzip.decompress(example("1fbl").read_bytes()))
    expected = read_structure(example("1fbl"))
    for file in ("b.cif", "c.cif.gz", "d.pdb"):
        structure = read_structure(tmp_path / file)
        assert structure.name == file[0]
        assert np.array_equal(structure.coords, expected.coords)
        assert np.array_equal(structure.channels, expected.channels)
        assert structure.residues == expected.residues
        assert structure.ligands[0].name == "HTA"
        assert np.array_equal(structure.ligands[0].coords, expected.ligands[0].coords)


def test_the_likelier_location_is_taken(tmp_path):
    text = peptide(["ALA", "SER", "ALA"]) + "".join(
        line("CB", "SER", 2, (5.2, z, 0.0), alt=alt, occ=occ)
        + line("OG", "SER", 2, (5.2, z + 1, 1.0), alt=alt, occ=occ)
        for alt, z, occ in (("A", 1.4, 0.4), ("B", -1.4, 0.6))
    )
    structure = read_structure(written(tmp_path, text))
    assert len(structure) == 9 + 2
    assert structure.coords[structure.atom_names.index("OG"), 1] == pytest.approx(-0.4)
    even = read_structure(written(tmp_path, text.replace("  0.40", "  0.50").replace("  0.60", "  0.50")))
    assert even.coords[even.atom_names.index("OG"), 1] == pytest.approx(2.4)  # the first of equals


def test_of_two_residues_at_one_place_the_likelier_is_taken(tmp_path):
    text = peptide(["ALA", "GLY"]) + line("CB", "SER", 3, (9, 0, 0), alt="A", occ=0.3)
    text += line("CB", "THR", 3, (9, 0, 1), alt="B", occ=0.7)
    assert read_structure(written(tmp_path, text)).residues[-1].name == "THR"


def test_hydrogens_tell_histidines_and_are_dropped(tmp_path):
    side = line("ND1", "HIS", 2, (5, 2, 0)) + line("NE2", "HIS", 2, (5, 4, 0))
    shown = {"": (6, 5), "HD1": (6, 5), "HE2": (5, 6), "HD1 HE2": (6, 6)}
    for hydrogens, expected in shown.items():
        more = "".join(line(name, "HIS", 2, (5, 6, 0), element="H") for name in hydrogens.split())
        structure = read_structure(written(tmp_path, peptide(["ALA", "HIS", "ALA"]) + side + more))
        assert len(structure) == 11
        assert "H" not in structure.elements
        channels = [structure.channels[structure.atom_names.index(name)] for name in ("ND1", "NE2")]
        assert tuple(channels) == expected


def test_modified_residues_stay_protein(tmp_path):
    """A phosphoserine among HETATM lines; its phosphate is typed by its bonds."""
    text = peptide(["ALA"]) + "".join(
        line(name, "SEP", 2, place, kind="HETATM")
        for name, place in (
            ("N", (3.8, 0, 0)),
            ("CA", (5.2, 0, 0)),
            ("C", (6.3, 1, 0)),
            ("CB", (5.2, -1.5, 0)),
            ("OG", (5.2, -2.2, 1.2)),
            ("P", (5.2, -3.8, 1.2)),
            ("O1P", (5.2, -4.4, 2.6)),
        )
    )
    text += peptide(["GLY"], start=3, y=1.5)
    structure = read_structure(written(tmp_path, text))
    names = dict(zip(structure.atom_names[3:10], structure.channels[3:10].tolist(), strict=True))
    assert names == {"N": 6, "CA": 1, "C": 1, "CB": 1, "OG": 7, "P": 10, "O1P": 7}


def ring(radius_, elements, lift=0.0):
    turn = np.arange(len(elements)) * 2 * np.pi / len(elements)
    heights = lift * (-1.0) ** np.arange(len(elements))
    return np.stack([radius_ * np.cos(turn), radius_ * np.sin(turn), heights], 1).astype(np.float32)


def test_types_by_bonds():
    """Pyridine, cyclohexane, an alcohol, an aldehyde, an amine and a nitrile."""

    def types(coords, elements):
        coords = np.array(coords, np.float32)
        table = bonds(coords, elements)
        return [perceive(atom, coords, elements, table) for atom in range(len(elements))]

    assert types(ring(1.39, "NCCCCC"), "NCCCCC") == [5, 3, 2, 2, 2, 3]
    assert types(ring(1.47, "CCCCCC", 0.25), "CCCCCC") == [0] * 6
    assert types([[0, 0, 0], [1.43, 0, 0]], "CO") == [1, 8]
    assert types([[0, 0, 0], [1.22, 0, 0]], "CO") == [1, 7]
    assert types([[0, 0, 0], [1.47, 0, 0]], "CN") == [1, 6]
    assert types([[0, 0, 0], [1.15, 0, 0]], "CN") == [1, 5]
    assert types([[0, 0, 0], [1.43, 0, 0], [1.9, 1.35, 0]], "COC") == [1, 7, 1]
    assert types([[0, 0, 0], [9, 0, 0], [18, 0, 0], [27, 0, 0]], ["Zn", "Mg", "Cl", "S"]) == [12, 13, 4, 9]
    assert bonds(np.zeros((0, 3), np.float32), []) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no atoms: is it a PDB or mmCIF file"),
        (b"hello\n", "PDB or mmCIF file"),
        (b"\x1f\x8bnot gzip", "not a readable PDB or mmCIF"),
        (b"ATOM   xx\n", "not a readable PDB or mmCIF"),
        (b"data_x\n_a 1\n", "no atoms"),
        (b"# by hand\n\n data_x\nloop_\n_a _b\n1\n", "not a readable PDB or mmCIF"),
        (b"\xff\xfe\x00" * 30, "PDB or mmCIF"),
        (line("O", "HOH", 1, (0, 0, 0), kind="HETATM").encode(), "no protein"),
        ("".join(line(name, "DG", 1, (0, 2, 3)) for name in ("P", "C1'", "N9")).encode(), "no protein"),
        (peptide(["ALA"] * 3).replace("   0.000   0.000", "     nan   0.000").encode(), "finite|readable"),
    ],
)
def test_what_is_no_protein_is_refused(tmp_path, content, message):
    (tmp_path / "a.pdb").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_structure(tmp_path / "a.pdb")


def test_a_damaged_archive_is_refused(tmp_path):
    content = example("1a82a").read_bytes()
    for damaged in (content[: len(content) // 2], content[:5000] + b"\x00" * 200 + content[5200:]):
        (tmp_path / "a.pdb.gz").write_bytes(damaged)
        with pytest.raises(ValueError, match="not a readable PDB or mmCIF"):
            read_structure(tmp_path / "a.pdb.gz")
    with pytest.raises(FileNotFoundError, match=r"there is no file .*b\.pdb"):
        read_structure(tmp_path / "b.pdb")


def test_structures_check_their_arrays():
    good = read_structure(example("1a82a"))
    for change, error, message in (
        (
            {"coords": good.coords.astype(float)},
            TypeError,
            "coords of structure 1a82a: want an array of float32",
        ),
        ({"radii": good.radii[1:]}, ValueError, r"radii of structure 1a82a: want shape \[1692\]"),
        ({"channels": good.channels + 14}, ValueError, "channels of structure 1a82a: want 0 to 13"),
        ({"radii": 0 * good.radii}, ValueError, "positive"),
        ({"coords": good.coords * np.float32(np.inf)}, ValueError, "not all are finite"),
    ):
        with pytest.raises(error, match=message):
            replace(good, **change)
    with pytest.raises(ValueError, match="has no atoms"):
        Structure("x", *(np.zeros(shape, kind) for shape, kind in (((0, 3), "f4"), (0, "i8"), (0, "f4"))))


def test_a_folder_with_a_bad_file(tmp_path):
    (tmp_path / "train").mkdir()
    for name, place in (("1a82a", tmp_path), ("1t7qa", tmp_path / "train")):
        (place / f"{name}.pdb.gz").symlink_to(example(name))
    written(tmp_path, "hello\n", "bad.pdb")
    written(tmp_path, peptide(["ALA", "GLY"]), "apo.ent")
    written(tmp_path, peptide(["ALA", "GLY"]), ".hidden.pdb")
    written(tmp_path, peptide(["ALA", "GLY"]), "1a82a_pockets.pdb")
    skipped = []
    found = [(structure.name, part) for structure, part in stream(tmp_path, Reading(), skipped)]
    assert found == [("1a82a", None), ("apo", None), ("train/1t7qa", "train")]
    assert [name for name, _ in skipped] == ["bad"]
    labelled = list(stream(tmp_path, Reading(), skipped := [], labelled=True))
    assert len(labelled) == 2
    assert dict(skipped)["apo"] == "no ligand is bound to it"


def test_files_of_one_name_keep_apart(tmp_path):
    for name in ("a.pdb", "a.ent", "b.pdb"):
        written(tmp_path, peptide(["ALA", "GLY"]), name)
    assert [entry.name for entry in list_entries(tmp_path)] == ["a.ent", "a.pdb", "b"]


def test_lists_of_p2rank(tmp_path):
    listed = tmp_path / "some.ds"
    listed.write_text(
        "# COACH\nPARAM.LIGANDS_SEPARATED_BY_TER=true\nHEADER: protein ligand_codes\n\n"
        "pdb/1a82a.pdb.gz ATP # one\npdb/1t7qa.pdb.gz 152,COA\npdb/gone.pdb *\n"
    )
    (tmp_path / "pdb").symlink_to(FOLDER)
    assert [entry.ligands for entry in read_list(listed)] == [{"ATP"}, {"152", "COA"}, None]
    skipped = []
    found = {
        one.name: [ligand.name for ligand in one.ligands] for one, _ in stream(listed, Reading(), skipped)
    }
    assert found == {"pdb/1a82a": ["ATP"], "pdb/1t7qa": ["COA", "152"]}
    assert "there is no file" in dict(skipped)["pdb/gone"]
    (tmp_path / "again.ds").write_text(listed.read_text())
    assert len(list_entries(tmp_path)) == 3
    listed.write_text(f"../{tmp_path.name}/pdb/1a82a.pdb.gz\n{FOLDER}/1t7qa.pdb.gz\n")
    names = [entry.name for entry in list_entries(listed)]
    assert names == [f"{tmp_path.name}/pdb/1a82a", f"{FOLDER}/1t7qa".lstrip("/")]
    assert all(entry.path.is_file() for entry in list_entries(listed))
    listed.write_text("HEADER: chains\nA\n")
    with pytest.raises(ValueError, match=r"some\.ds: no column 'protein' in 'A'"):
        read_list(listed)


def mol2(atoms_, substructures=()):
    text = "@<TRIPOS>MOLECULE\nname\n 1 0 0\nSMALL\n\n@<TRIPOS>ATOM\n"
    for number, (name, place, kind, residue, label) in enumerate(atoms_, 1):
        text += f"{number} {name} {' '.join(map(str, place))} {kind} {residue} {label} 0.0\n"
    text += "@<TRIPOS>SUBSTRUCTURE\n"
    return text + "".join(
        f"{number} {label} 1 RESIDUE 4 {chain} X\n" for number, label, chain in substructures
    )


def scpdb(folder):
    folder.mkdir(parents=True)
    protein = [
        ("N", (0, 0, 0), "N.am", 1, "SER12"),
        ("CA", (1.4, 0, 0), "C.3", 1, "SER12"),
        ("OG", (1.4, 2, 0), "O.3", 1, "SER12"),
        ("HG", (1.4, 3, 0), "H", 1, "SER12"),
        ("ZN", (9, 9, 9), "Zn", 2, "ZN301"),
        ("O", (5, 5, 5), "O.3", 3, "HOH401"),
        ("NZ", (7, 0, 0), "N.4", 4, "LYS-2"),
    ]
    (folder / "protein.mol2").write_text(mol2(protein, [(1, "SER12", "A"), (4, "LYS-2", "B")]))
    ligand = [("C1", (3, 3, 0), "C.3", 1, "LIG1"), ("O1", (4, 3, 0), "O.3", 1, "LIG1")]
    (folder / "ligand.mol2").write_text(mol2([*ligand, ("H1", (4, 4, 0), "H", 1, "LIG1")]))
    (folder / "cavity6.mol2").write_text(mol2([("C", (3, 3, z), "C.3", 1, "CAV1") for z in (0.5, 2.0)]))


def test_sites_of_scpdb(tmp_path):
    scpdb(tmp_path / "2p15_1")
    structure = read_site(tmp_path / "2p15_1")
    assert structure.name == "2p15_1"
    assert structure.atom_names == ("N", "CA", "OG", "NZ")
    assert structure.channels.tolist() == [6, 1, 8, 6]
    assert [str(residue) for residue in structure.residues] == ["A_12", "B_-2"]
    assert structure.cavity.tolist() == [[3, 3, 0.5], [3, 3, 2.0]]
    assert [(ligand.name, len(ligand.coords)) for ligand in structure.ligands] == [("LIG", 2)]
    entries = list_entries(tmp_path)
    assert [entry.name for entry in entries] == ["2p15_1"]
    assert len(read_entry(entries[0], Reading())) == 4
    (tmp_path / "2p15_1" / "cavity6.mol2").unlink()
    assert read_site(tmp_path / "2p15_1").cavity is None


def test_bad_mol2_files_are_refused(tmp_path):
    (tmp_path / "a.mol2").write_text("hello")
    with pytest.raises(ValueError, match=r"a\.mol2 holds no atoms"):
        read_mol2(tmp_path / "a.mol2")
    (tmp_path / "a.mol2").write_text("@<TRIPOS>MOLECULE\nx\n@<TRIPOS>ATOM\n1 C 0 0 x C.3\n")
    with pytest.raises(ValueError, match="no coordinates in"):
        read_mol2(tmp_path / "a.mol2")
    (tmp_path / "a.mol2").write_text("@<TRIPOS>MOLECULE\nx\n@<TRIPOS>ATOM\n1 C 0 0\n")
    with pytest.raises(ValueError, match="has 4 columns"):
        read_mol2(tmp_path / "a.mol2")
    with pytest.raises(FileNotFoundError, match=r"protein\.mol2"):
        read_site(tmp_path)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda folder: folder / "gone", FileNotFoundError, "there is no folder or file"),
        (lambda folder: folder, ValueError, "holds no structures; want .pdb"),
        (lambda folder: [1], TypeError, "got a int among them"),
    ],
)
def test_bad_data_are_refused(tmp_path, make, error, message):
    with pytest.raises(error, match=message):
        list(stream(make(tmp_path), Reading(), []))

"""drivpocket: candidate sites against definitions and known ligands, and metrics on cases made by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from medkernels.zoo.drivpocket import candidates as module
from medkernels.zoo.drivpocket.candidates import alpha_spheres, burial, propose
from medkernels.zoo.drivpocket.examples import NAMES, example
from medkernels.zoo.drivpocket.geometric import geometric_pockets, main
from medkernels.zoo.drivpocket.metrics import (
    dca,
    dcc,
    find,
    lattice_cells,
    ligand_volume,
    overlap,
    success_rates,
)
from medkernels.zoo.drivpocket.pocket import lining_atoms
from medkernels.zoo.drivpocket.reading import read_structure
from medkernels.zoo.drivpocket.structure import Ligand, Structure


def structure_of(coords) -> Structure:
    count = len(coords)
    return Structure(
        "made", np.asarray(coords, np.float32), np.zeros(count, np.int64), np.full(count, 1.9, np.float32)
    )


def ligand_at(*places) -> Ligand:
    return Ligand("LIG", "A", 1, np.array(places, np.float32))


def shell(spacing=2.5, inner=5.0, outer=11.0, opening=0.85):
    """A ball of atoms with a round hollow, and a channel from it along +z."""
    edge = np.arange(-outer, outer + 0.1, spacing)
    lattice = np.stack(np.meshgrid(edge, edge, edge), -1).reshape(-1, 3)
    lattice = lattice + np.random.default_rng(0).normal(0, 0.2, lattice.shape)
    distance = np.linalg.norm(lattice, axis=1)
    inside = (distance > inner) & (distance < outer) & (lattice[:, 2] / distance < opening)
    return structure_of(lattice[inside])


@given(st.integers(0, 2**32 - 1), st.integers(5, 40))
@settings(max_examples=40, deadline=None)
def test_alpha_spheres_touch_four_atoms_and_hold_none(seed, count):
    coords = np.random.default_rng(seed).uniform(-6, 6, (count, 3)).astype(np.float32)
    centres, radii = alpha_spheres(coords, 1.0, 6.0)
    assert ((radii >= 1) & (radii <= 6)).all()
    gaps = np.linalg.norm(coords.astype(np.float64) - centres[:, None], axis=2) - radii[:, None]
    assert (gaps > -1e-6).all()
    assert ((np.abs(gaps) < 1e-5).sum(axis=1) >= 4).all()


def test_all_alpha_spheres_are_found():
    """Against every set of four atoms, tried one by one."""
    from itertools import combinations

    coords = np.random.default_rng(3).uniform(-4, 4, (14, 3)).astype(np.float32)
    expected = []
    for four in combinations(coords.astype(np.float64), 4):
        sides = np.array(four[1:]) - four[0]
        centre = four[0] + np.linalg.solve(sides, 0.5 * (sides**2).sum(axis=1))
        radius = np.linalg.norm(centre - four[0])
        if 2 <= radius <= 5 and (np.linalg.norm(coords - centre, axis=1) > radius - 1e-6).all():
            expected.append([*centre, radius])
    centres, radii = alpha_spheres(coords, 2.0, 5.0)
    assert len(expected) > 3
    assert np.allclose(np.sort(np.column_stack([centres, radii]), 0), np.sort(expected, 0), atol=1e-6)


@pytest.mark.parametrize(
    "coords",
    [
        np.zeros((1, 3)),
        np.eye(3),
        np.zeros((9, 3)),
        np.column_stack([np.random.default_rng(0).uniform(0, 20, (50, 2)), np.zeros(50)]),
        np.column_stack([np.arange(30) * 4.0, np.zeros((30, 2))]),
    ],
    ids=["one atom", "three", "all at one place", "in a plane", "on a line"],
)
def test_without_volume_there_is_no_candidate(coords):
    found = propose(structure_of(coords))
    assert len(found) == 0
    assert found.centres.shape == (0, 3)
    assert found.points == found.radii == []


def slow_burial(structure, place):
    """How near a line from a place comes to each atom, for one direction after the other."""
    hits = 0
    for direction in module._directions().astype(np.float64):
        for atom, radius in zip(structure.coords, structure.radii, strict=True):
            if np.linalg.norm(atom - place) <= module.REACH:
                along = max(0.0, float((atom - place) @ direction))
                if np.linalg.norm(place + along * direction - atom) <= radius:
                    hits += 1
                    break
    return hits / module.DIRECTIONS


def test_burial_is_the_share_of_directions_that_meet_an_atom():
    structure = shell()
    places = np.random.default_rng(1).uniform(-12, 12, (10, 3))
    expected = [slow_burial(structure, place) for place in places]
    assert np.allclose(burial(structure, places), expected, atol=1.01 / module.DIRECTIONS)
    assert burial(structure, np.zeros((1, 3)))[0] > 0.8
    assert burial(structure, np.full((1, 3), 40.0))[0] == 0
    directions = module._directions()
    assert np.allclose(np.linalg.norm(directions, axis=1), 1, atol=1e-6)
    assert np.abs(directions.mean(axis=0)).max() < 0.01


def test_a_hollow_is_found():
    found = propose(shell())
    assert np.linalg.norm(found.centres[0]) < 2.0
    assert (np.diff(found.scores) <= 0).all()
    for centre, points, radii, score in zip(
        found.centres, found.points, found.radii, found.scores, strict=True
    ):
        assert np.allclose(points.mean(axis=0), centre, atol=1e-4)
        assert np.isclose(4 / 3 * np.pi * (radii.astype(float) ** 3).sum(), score, rtol=1e-4)


def test_two_hollows_stay_two():
    one = shell()
    both = structure_of(np.concatenate([one.coords, one.coords + np.float32([30, 0, 0])]))
    centres = propose(both).centres[:2]
    assert sorted(np.round(centres[:, 0] / 30).tolist()) == [0, 1]
    assert len(propose(both, most=1)) == 1


def test_candidates_turn_with_the_protein():
    structure = read_structure(example("1fbl"))
    turn = Rotation.random(random_state=0).as_matrix().astype(np.float32)
    turned = propose(replace(structure, coords=structure.coords @ turn.T)).centres
    still = propose(structure).centres[:3] @ turn.T
    gaps = np.linalg.norm(still[:, None] - turned, axis=2).min(axis=1)
    assert (gaps < 1.5).all()


def test_ligands_of_real_proteins_are_among_the_candidates():
    found = {}
    for name in NAMES:
        structure = read_structure(example(name))
        found[name] = find(structure.ligands, propose(structure).centres)
    ranks = {name: [one.dca_rank for one in ligands] for name, ligands in found.items()}
    assert ranks["1fbl"] == [1]
    assert sorted(ranks["2W83"]) == [1, 2, 3]
    rates = success_rates(list(found.values()))
    assert rates["dca_top_n"] >= 8 / 11 - 1e-9
    assert rates["dca_any"] >= 10 / 11 - 1e-9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"smallest": 6.0, "largest": 3.0}, "0 < smallest < largest, got 6.0 and 3.0"),
        ({"smallest": 0}, "0 < smallest"),
        ({"largest": float("inf")}, "smallest < largest"),
        ({"buried": 1.5}, r"buried must lie in \[0, 1\], got 1.5"),
        ({"apart": float("nan")}, "apart must be positive and finite, got nan"),
        ({"least_spheres": 0}, "least_spheres must be an integer of at least 1, got 0"),
        ({"most": True}, "most must be an integer of at least 1, got True"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        propose(shell(), **options)


def test_distances_to_a_ligand():
    ligand = ligand_at([0, 0, 0], [6, 0, 0])
    assert dca(np.float32([6, 3, 0]), ligand) == pytest.approx(3)
    assert dcc(np.float32([6, 4, 0]), ligand) == pytest.approx(5)
    assert ligand.center.tolist() == [3, 0, 0]


def test_overlap_on_a_lattice():
    one = np.array([[0.1, 0.1, 0.1], [1.9, 0.5, 0.5], [2.1, 0.1, 0.1]])
    assert lattice_cells(one) == {(0, 0, 0), (1, 0, 0)}
    assert lattice_cells(-one) == {(-1, -1, -1), (-2, -1, -1)}
    assert overlap(one, one) == 1
    assert overlap(one, one[:1]) == 0.5
    assert overlap(one, one + 20) == overlap(one[:0], one[:0]) == 0
    assert overlap(one, one + 2.0) == 0
    assert overlap(one, np.array([[3.0, 1, 1], [5, 1, 1]])) == pytest.approx(1 / 3)


def test_the_volume_of_a_ligand():
    points = ligand_volume(ligand_at([0, 0, 0], [10, 0, 0]), 0.25)
    assert len(points) * 0.25**3 == pytest.approx(2 * 4 / 3 * np.pi * 2**3, rel=0.03)
    assert np.linalg.norm(points, axis=1).min() == 0


def test_what_is_found_of_each_ligand():
    near, far = ligand_at([0, 0, 0], [2, 0, 0]), ligand_at([50, 0, 0])
    centres = np.float32([[20, 0, 0], [1, 3.5, 0], [1, 0, 0]])
    volumes = [centres[[place]] for place in range(3)]
    first, second = find([near, far], centres, volumes)
    assert (first.dca_rank, first.dcc_rank) == (2, 2)
    assert first.dca == pytest.approx(1)
    assert first.dcc == 0
    assert (second.dca_rank, second.dcc_rank, second.overlap) == (None, None, 0)
    assert second.dca == pytest.approx(30)
    exactly = find([ligand_at([4, 0, 0])], np.float32([[0, 0, 0]]))[0]
    assert (exactly.dca, exactly.dca_rank) == (4, None)  # below 4, not at 4
    nothing = find([near], np.zeros((0, 3), np.float32))[0]
    assert (nothing.dca, nothing.dca_rank) == (np.inf, None)


def test_overlap_counts_where_the_middle_is_right():
    ligand = ligand_at([1, 1, 1])
    same = ligand_volume(ligand, 0.5)
    assert find([ligand], np.float32([[1, 1, 1]]), [same])[0].overlap == 1
    assert find([ligand], np.float32([[9, 1, 1]]), [same])[0].overlap == 0
    cavity = np.float32([[1, 1, 1], [3, 1, 1]])
    assert find([ligand], np.float32([[1, 1, 1]]), [cavity[:1]], truth=cavity)[0].overlap == 0.5


def test_rates():
    """Two proteins: one ligand at rank 2, two ligands at ranks 2 and none."""
    centres = np.float32([[100, 0, 0], [0, 0, 0], [200, 0, 0]])
    one = find([ligand_at([1, 0, 0])], centres, [centres] * 3)
    two = find([ligand_at([1, 0, 0], [9, 0, 0]), ligand_at([60, 0, 0])], centres)
    rates = success_rates([one, two, []])
    assert rates["dca_top_n"] == pytest.approx(1 / 3)
    assert rates["dca_top_n_plus_2"] == pytest.approx(2 / 3)
    assert rates["dca_any"] == pytest.approx(2 / 3)
    assert rates["dcc_top_n_plus_2"] == pytest.approx(1 / 3)  # 5 A from the middle of the second one
    assert rates["dvo"] == pytest.approx(one[0].overlap / 3)
    with pytest.raises(ValueError, match="there is no ligand to judge by"):
        success_rates([[]])


def test_lining_atoms():
    structure = structure_of([[0, 0, 0], [3, 0, 0], [9, 0, 0], [5, 0, 0]])
    assert lining_atoms(structure, np.float32([[1, 0, 0]])).tolist() == [0, 1, 3]
    assert lining_atoms(structure, np.float32([[1, 0, 0], [9, 1, 0]]), 1.5).tolist() == [0, 2]
    assert lining_atoms(structure, np.zeros((0, 3), np.float32)).tolist() == []


def test_pockets_from_geometry_fill_their_spheres():
    structure = shell()
    candidates = propose(structure)
    pocket = geometric_pockets(structure, candidates, most=1, spacing=0.5)[0]
    assert (pocket.rank, pocket.candidate) == (1, 1)
    assert pocket.score == candidates.scores[0]
    assert pocket.volume == len(pocket.points) / 8
    assert np.array_equal(pocket.centre, pocket.points.mean(axis=0))
    assert np.linalg.norm(pocket.centre) < 2
    assert 0.6 <= pocket.probability <= 1
    gaps = np.linalg.norm(pocket.points[:, None] - structure.coords, axis=2).min(axis=1)
    assert gaps.min() >= 1.9 - 1e-5
    spheres = np.linalg.norm(pocket.points[:, None] - candidates.points[0], axis=2) - candidates.radii[0]
    assert (spheres.min(axis=1) < 1e-5).all()
    # The hollow of radius 5 less the atoms that line it, of radius 1.9; a channel leads out of it.
    assert 0.7 * 4 / 3 * np.pi * 3.1**3 < pocket.volume < 4 / 3 * np.pi * 6**3
    with pytest.raises(ValueError, match="spacing must be positive and finite, got 0"):
        geometric_pockets(structure, candidates, spacing=0)


def test_pockets_from_geometry_on_the_command_line(tmp_path, capsys):
    main([str(example("1t7qa")), "--out", str(tmp_path)])
    assert capsys.readouterr().out.strip() == str(tmp_path / "report.html")
    table = (tmp_path / "1t7qa_pockets.csv").read_text().splitlines()
    assert len(table) == 1 + 12
    assert "COA 1202" in (tmp_path / "report.html").read_text()
    (tmp_path / "bad.pdb").write_text("hello\n")
    with pytest.raises(SystemExit, match="no structure can be used"):
        main([str(tmp_path / "bad.pdb")])

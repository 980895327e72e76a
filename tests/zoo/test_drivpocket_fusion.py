"""drivpocket: fusion against its formula written voxel by voxel, masks, sites and their labels."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from medkernels.points import grid_atoms
from medkernels.zoo.drivpocket.fusion import Grid, density, fuse, pocket_mask, sure_centre
from medkernels.zoo.drivpocket.sites import label_known, label_site, make_site, moved, random_rotation
from medkernels.zoo.drivpocket.standin import stand_in
from medkernels.zoo.drivpocket.structure import Ligand, Structure

CENTRE = np.array([1.0, -2.0, 3.0], np.float32)


def blob(distance, multiple, radius):
    u = distance / radius
    if u <= multiple:
        value = math.exp(-2 * u * u)
    elif u < (1 + 2 * multiple**2) / (2 * multiple):
        a, b, c = 4 * multiple**2, -(4 * multiple + 8 * multiple**3), 4 * multiple**4 + 4 * multiple**2 + 1
        value = math.exp(-2 * multiple**2) * (a * u * u + b * u + c)
    else:
        value = 0.0
    return value if value >= 0.1 else 0.0


def fused(probabilities, grid, atoms):
    """The formula, one voxel after the other."""
    count = len(probabilities)
    places = {
        index: [grid.centre[axis] - grid.side / 2 + grid.resolution * index[axis] for axis in range(3)]
        for index in np.ndindex(count, count, count)
    }
    least = 0.9 if probabilities.max() >= 0.9 else 0.9 * probabilities.max()
    sure = [places[index] for index in places if probabilities[index] >= least]
    centre = np.mean(sure, axis=0)
    score = np.zeros_like(probabilities)
    for index, place in places.items():
        outer = inner = 0.0
        for atom in atoms.astype(np.float64):
            if math.dist(place, centre) <= math.dist(atom, centre):
                outer += blob(math.dist(place, atom), 3, 4)
                inner += blob(math.dist(place, atom), 1, 3)
        shell, p = min(outer, 1) - min(inner, 1), float(probabilities[index])
        score[index] = (p > 0.85) + 0.3 * shell + 1.5 * shell * p
    return score


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 6), st.sampled_from([(8.0, 1.0), (6.0, 0.75)]), st.booleans())
def test_fusion_by_its_formula(seed, count, cube, sure):
    rng = np.random.default_rng(seed)
    grid = Grid(CENTRE, *cube)
    probabilities = rng.random((grid.points,) * 3).astype(np.float32) * (1.0 if sure else 0.8)
    atoms = (CENTRE + rng.uniform(-7, 7, (count, 3))).astype(np.float32)
    score, mask = fuse(probabilities, grid, atoms)
    expected = fused(probabilities, grid, atoms)
    # On the edge of a sphere rounding decides on a voxel.
    assert np.mean(np.abs(score - expected) > 1e-5) < 0.01
    assert np.array_equal(mask, pocket_mask(score))


def test_an_atom_adds_to_the_side_that_faces_the_pocket():
    grid = Grid(np.zeros(3, np.float32), 16.0, 1.0)
    probabilities = np.full((17, 17, 17), 0.2, np.float32)
    probabilities[7:10, 7:10, 7:10] = 0.95
    score, mask = fuse(probabilities, grid, np.array([[6.0, 0.0, 0.0]], np.float32))
    # Along x the atom is at 14 and the pocket's middle at 8: beyond the atom nothing is added.
    assert (score[15:, 8, 8] == 0).all()
    row = score[10:14, 8, 8]
    assert (row > 0).all()
    outer, inner = math.exp(-2 * 9 / 16), math.exp(-2 * 9 / 9)
    assert row[1] == pytest.approx((0.3 + 1.5 * 0.2) * (outer - inner), rel=1e-5)
    assert mask[7:10, 7:10, 7:10].all()


def test_without_atoms_voxels_decide():
    grid = Grid(CENTRE, 8.0, 1.0)
    probabilities = np.random.default_rng(0).random((9, 9, 9)).astype(np.float32)
    score, mask = fuse(probabilities, grid, np.zeros((0, 3), np.float32))
    assert np.array_equal(score, probabilities)
    assert np.array_equal(mask, pocket_mask(probabilities))


def test_where_no_voxel_is_sure_the_surest_count():
    probabilities = np.zeros((5, 5, 5), np.float32)
    probabilities[1, 2, 3], probabilities[3, 2, 3], probabilities[0, 0, 0] = 0.5, 0.46, 0.4
    assert sure_centre(probabilities).tolist() == [2, 2, 3]
    probabilities[4, 4, 4] = 0.95
    assert sure_centre(probabilities).tolist() == [4, 4, 4]


def test_shapes_are_checked():
    grid = Grid(CENTRE, 8.0, 1.0)
    with pytest.raises(ValueError, match=r"probabilities: want shape \[9, 9, 9\]"):
        fuse(np.zeros((8, 8, 8), np.float32), grid, np.zeros((0, 3), np.float32))
    with pytest.raises(ValueError, match=r"atoms: want shape \[n, 3\]"):
        fuse(np.zeros((9, 9, 9), np.float32), grid, np.zeros(3, np.float32))


@pytest.mark.parametrize(("multiple", "radius"), [(1.0, 3.0), (3.0, 4.0), (1.0, 1.9), (0.5, 2.0)])
def test_densities_are_those_of_the_kernel(multiple, radius):
    drawn = grid_atoms(
        np.zeros((1, 3)),
        np.zeros(1, np.int64),
        radius,
        center=np.zeros(3),
        side=12.0,
        resolution=0.5,
        gaussian_radius_multiple=multiple,
    )[0]
    edge = np.linspace(-6, 6, 25)
    distances = np.sqrt(edge[:, None, None] ** 2 + edge[None, :, None] ** 2 + edge**2)
    assert np.allclose(drawn, density(distances, multiple, radius), atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.2, 0.8))
def test_the_mask_is_the_largest_component_of_what_is_closed(seed, level):
    score = ndimage.gaussian_filter(np.random.default_rng(seed).random((12, 12, 12)), 1.2).astype(np.float32)
    score = (score - score.min()) / (score.max() - score.min())
    found = pocket_mask(score, threshold=level)
    cross = ndimage.generate_binary_structure(3, 1)
    padded = np.pad(score >= level, 3, mode="symmetric")
    closed = ndimage.binary_closing(padded, cross)[3:-3, 3:-3, 3:-3]
    labels, count = ndimage.label(closed, np.ones((3, 3, 3)))
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    expected = labels == 1 + sizes.argmax() if count else closed
    assert np.array_equal(found, expected)


def test_nothing_found_is_an_empty_mask():
    assert not pocket_mask(np.zeros((5, 5, 5), np.float32)).any()


def test_places_of_lattice_points():
    grid = Grid(CENTRE, 8.0, 0.5)
    assert grid.points == 17
    assert grid.places(np.array([[8, 8, 8], [0, 16, 8]])).tolist() == [[1, -2, 3], [-3, 2, 3]]


def structure(count=30, seed=0, **more):
    rng = np.random.default_rng(seed)
    coords = rng.uniform(-10, 10, (count, 3)).astype(np.float32)
    return Structure("a", coords, rng.integers(14, size=count), np.full(count, 1.8, np.float32), **more)


def test_a_site_holds_the_nearest_atoms():
    protein = structure(50)
    site = make_site(protein, CENTRE, points=20)
    gaps = np.linalg.norm(protein.coords - CENTRE, axis=1)
    assert site.atoms.tolist() == np.argsort(gaps, kind="stable")[:20].tolist()
    assert site.present.all()
    assert np.allclose(site.points * 16.25 + CENTRE, protein.coords[site.atoms], atol=1e-5)
    assert np.array_equal(site.types, protein.channels[site.atoms])


def test_small_structures_give_some_atoms_twice():
    site = make_site(structure(7), CENTRE, points=20)
    assert site.present.tolist() == [True] * 7 + [False] * 13
    assert np.array_equal(site.atoms[7:14], site.atoms[:7])


def test_voxels_are_all_atoms_in_the_grid():
    protein = structure(40)
    site = make_site(protein, CENTRE, side=8.0, resolution=0.5)
    drawn = grid_atoms(
        protein.coords,
        protein.channels,
        protein.radii,
        center=CENTRE,
        side=8.0,
        resolution=0.5,
        n_channels=14,
    )
    assert np.array_equal(site.voxels(), drawn)
    assert drawn.any()


def test_labels_by_their_definition():
    protein = structure(60)
    ligand = (CENTRE + np.random.default_rng(1).uniform(-2, 2, (5, 3))).astype(np.float32)
    site = label_site(make_site(protein, CENTRE, side=8.0, resolution=1.0), ligand, reach=4.0, radius=1.7)
    lattice = np.stack(np.meshgrid(*[np.arange(9)] * 3, indexing="ij"), -1) - 4 + CENTRE
    gaps = np.linalg.norm(lattice[..., None, :] - ligand, axis=-1).min(-1)
    expected = ndimage.binary_dilation(gaps < 1.7, np.ones((3, 3, 3)))
    assert np.array_equal(site.voxel_labels, expected)
    touching = np.linalg.norm(protein.coords[site.atoms][:, None] - ligand, axis=2).min(1) < 4
    assert np.array_equal(site.atom_labels, touching)
    assert touching.any()


def test_labels_come_from_the_cavity_or_the_ligands():
    points = (CENTRE + np.eye(3)).astype(np.float32)
    ligands = (Ligand("A", "A", 1, points[:1]), Ligand("B", "A", 2, points[1:]))
    by_ligand = label_known(make_site(structure(ligands=ligands), CENTRE, side=8.0, resolution=1.0))
    by_cavity = label_known(
        make_site(structure(ligands=ligands, cavity=points), CENTRE, side=8.0, resolution=1.0)
    )
    bare = label_known(make_site(structure(), CENTRE, side=8.0, resolution=1.0))
    assert by_ligand.voxel_labels.sum() > by_cavity.voxel_labels.sum() > 0
    assert by_ligand.atom_labels.sum() > by_cavity.atom_labels.sum()
    assert not bare.voxel_labels.any()
    assert not bare.atom_labels.any()


def test_a_centre_must_be_a_place():
    for bad in ([0, 0], [0, 0, float("nan")]):
        with pytest.raises(ValueError, match="centre: want three finite numbers"):
            make_site(structure(), bad)


@given(st.integers(0, 10**6))
def test_rotations_are_rotations(seed):
    turn = random_rotation(np.random.default_rng(seed)).astype(np.float64)
    assert np.allclose(turn @ turn.T, np.eye(3), atol=1e-6)
    assert np.linalg.det(turn) == pytest.approx(1)


def test_what_is_known_turns_with_the_structure():
    protein = stand_in(1)[0]
    turn = random_rotation(np.random.default_rng(0))
    other = moved(protein, turn, CENTRE)
    for one, after in (
        (protein.coords, other.coords),
        (protein.cavity, other.cavity),
        (protein.ligands[0].coords, other.ligands[0].coords),
    ):
        assert np.allclose(after - CENTRE, (one - CENTRE) @ turn.T, atol=1e-4)


def test_stand_ins_are_what_they_say():
    proteins = stand_in(8, 5)
    again = stand_in(3, 5)
    assert all(np.array_equal(one.coords, same.coords) for one, same in zip(proteins, again, strict=False))
    assert not np.array_equal(proteins[0].coords, stand_in(1, 6)[0].coords)
    for protein in proteins:
        assert 270 < len(protein) < 360
        middle = protein.cavity.mean(axis=0)
        radius = np.linalg.norm(protein.cavity - middle, axis=1).max() + 0.4
        assert 3.6 <= radius <= 4.6
        assert 8.0 <= np.linalg.norm(middle) <= 9.5
        assert middle[2] / np.linalg.norm(middle) > 0.97
        assert np.linalg.norm(protein.coords - middle, axis=1).min() > radius - 1e-3
        # Atoms within 3 A of the cavity's points lie within 2.6 A of its wall; a few are missed.
        site = label_known(make_site(protein, [0, 0, 0], points=len(protein)))
        near = np.linalg.norm(protein.coords[site.atoms] - middle, axis=1) < radius + 2.6
        assert not (site.atom_labels & ~near).any()
        assert site.atom_labels.sum() > 0.85 * near.sum()
        lining = protein.channels[np.linalg.norm(protein.coords - middle, axis=1) < radius + 2.6]
        assert np.isin(lining, (5, 6, 7, 8)).mean() > 0.6

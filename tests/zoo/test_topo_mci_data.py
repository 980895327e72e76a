"""Atlases, images and tables of series, folders of subjects."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import scipy.io
from nibabel.testing import data_path

from medkernels.zoo.topo_mci.atlas import Atlas, dosenbach, load_atlas, read_atlas
from medkernels.zoo.topo_mci.cohort import from_arrays
from medkernels.zoo.topo_mci.data import load_folder
from medkernels.zoo.topo_mci.series import read_table, sphere_means

EXAMPLE = Path(data_path) / "example4d.nii.gz"


def series(rois=6, samples=20, seed=0):
    return np.random.default_rng(seed).normal(size=(rois, samples))


def atlas_at(coordinates, networks=()):
    points = np.asarray(coordinates, float)
    names = tuple(f"R{i}" for i in range(len(points)))
    return Atlas(names, points, tuple(networks) or ("",) * len(points))


def test_the_atlas_has_the_published_networks():
    atlas = dosenbach()
    counts = {"CB": 18, "CO": 32, "DMN": 34, "FP": 21, "OP": 22, "SM": 33}
    assert Counter(atlas.networks) == counts
    assert {name: len(atlas.members(name)) for name in counts} == counts
    assert len(set(atlas.names)) == len(np.unique(atlas.coordinates, axis=0)) == 160
    # The region that the paper names, and one of each hemisphere and of the cerebellum.
    row = atlas.names.index("post cingulate 108")
    assert atlas.networks[row] == "DMN"
    assert atlas.coordinates[row].tolist() == [-5, -52, 17]
    assert atlas.coordinates[atlas.names.index("inf cerebellum 155")].tolist() == [18, -81, -33]
    assert atlas.coordinates[atlas.names.index("vent aPFC 10")].tolist() == [-43, 47, 2]


def test_an_atlas_of_ones_own(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(
        "\ufeffLabel, X, y, z, Network, area\nleft, -1.5, 2, 3e1, A, 7\nright, 1.5, 2, 30, B, 8\n"
    )
    atlas = read_atlas(path)
    assert atlas.names == ("left", "right")
    assert atlas.coordinates.tolist() == [[-1.5, 2, 30], [1.5, 2, 30]]
    assert atlas.members("B").tolist() == [1]
    assert atlas.members(None).tolist() == [0, 1]
    again = load_atlas(json.loads(json.dumps(atlas.export())))
    assert again.names == atlas.names
    assert again.networks == atlas.networks
    assert np.array_equal(again.coordinates, atlas.coordinates)
    path.write_text("x,y,z\n1,2,3\n")
    assert read_atlas(path).names == ("1",)
    with pytest.raises(ValueError, match="no network 'DMN'; it has: none"):
        read_atlas(path).members("DMN")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("x,y\n1,2\n", "lacks the column z"),
        ("x,y,z\n", "has no row"),
        ("", "lacks the column x"),
        ("x,y,z\n1,2,up\n", "row 1: want a coordinate in mm, got 'up'"),
        ("x,y,z\n1,2,3\n1,2,nan\n", "row 2"),
        ("x,y,z\n1,2\n", "row 1: .* got None"),
        ("name,x,y,z\na,1,2,3\na,1,2,4\n", "two ROIs 'a'"),
    ],
)
def test_bad_atlases_are_named(text, error, tmp_path):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=error):
        read_atlas(path)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        read_atlas(tmp_path / "absent.csv")
    path.write_bytes(b"\xff\xfe\x00x")
    with pytest.raises(ValueError, match="no table of comma-separated values"):
        read_atlas(path)


def by_hand(image, center, radius):
    """Mean over voxels, each looked at on its own."""
    values = np.asarray(image.dataobj, float)
    inside = [
        values[index]
        for index in itertools.product(*map(range, image.shape[:3]))
        if np.linalg.norm(nib.affines.apply_affine(image.affine, index) - center) <= radius
    ]
    return np.mean(inside, axis=0)


@pytest.mark.parametrize("seed", range(4))
def test_spheres_through_any_affine(seed):
    rng = np.random.default_rng(seed)
    affine = np.eye(4)
    affine[:3, :3] = np.linalg.qr(rng.normal(size=(3, 3)))[0] @ np.diag(rng.uniform(1.5, 4, 3))
    affine[0, :3] += 0.3 * affine[1, :3]  # axes need not be at right angles
    affine[:3, 3] = rng.normal(scale=40, size=3)
    image = nib.Nifti1Image(rng.normal(size=(7, 8, 6, 3)).astype(np.float32), affine)
    # The last one lies at a corner: part of its sphere is outside.
    centers = [nib.affines.apply_affine(affine, place) for place in ((3, 4, 3), (2.4, 5.1, 2.7), (0, 0, 5))]
    found = sphere_means(image, atlas_at(centers), radius=5.0)
    assert np.allclose(found, [by_hand(image, center, 5.0) for center in centers], atol=1e-6)


def test_a_real_image():
    image = nib.load(EXAMPLE)
    centers = [nib.affines.apply_affine(image.affine, place) for place in ((60, 50, 12), (30.5, 40.2, 9))]
    found = sphere_means(image, atlas_at(centers), radius=5.0)
    assert found.shape == (2, 2)
    small = image.slicer[20:72, 30:62, 4:18]  # the same voxels at the same places in mm
    assert np.allclose(found, [by_hand(small, center, 5.0) for center in centers], rtol=1e-6)


def test_units_of_the_header_count():
    image = nib.Nifti1Image(np.random.default_rng(0).random((6, 6, 6, 2)), np.diag([3, 3, 3, 1.0]))
    metres = nib.Nifti1Image(np.asarray(image.dataobj), np.diag([0.003, 0.003, 0.003, 1.0]))
    metres.header.set_xyzt_units("meter", "sec")
    atlas = atlas_at([[9, 9, 9]])
    assert np.allclose(sphere_means(image, atlas), sphere_means(metres, atlas))


def test_images_that_cannot_be_used():
    values = np.ones((5, 5, 5, 2), np.float32)
    image = nib.Nifti1Image(values, np.diag([3, 3, 3, 1.0]))
    atlas = atlas_at([[6, 6, 6], [60, 6, 6], [6, -60, 6]])
    with pytest.raises(
        ValueError, match=r"ROI 'R1' at \(60, 6, 6\) mm has no voxel within 5 mm, nor do 1 more"
    ):
        sphere_means(image, atlas)
    with pytest.raises(ValueError, match="want a 4-D image"):
        sphere_means(image.slicer[..., 0], atlas)
    nowhere = nib.Nifti1Image(values, None)
    nowhere.header["sform_code"] = nowhere.header["qform_code"] = 0
    with pytest.raises(ValueError, match="does not say where"):
        sphere_means(nowhere, atlas)
    content = bytearray(image.to_bytes())
    content[312:328] = bytes(16)  # the row of the affine that gives z
    flat = nib.Nifti1Image.from_bytes(bytes(content))
    with pytest.raises(ValueError, match="cannot be inverted"):
        sphere_means(flat, atlas)


def test_tables_in_all_formats(tmp_path):
    values = series()
    heads = ",".join(f"t{i}" for i in range(20))
    np.save(tmp_path / "a.npy", values)
    np.savetxt(tmp_path / "b.csv", values, delimiter=",")
    np.savetxt(tmp_path / "c.csv", values, delimiter=",", header=heads, comments="")
    np.savetxt(tmp_path / "d.tsv", values, delimiter="\t")
    np.savetxt(tmp_path / "e.txt", values)
    np.savetxt(tmp_path / "f.1D", values, header="made by a tool")
    np.savetxt(tmp_path / "g.csv", values, delimiter=";")
    scipy.io.savemat(tmp_path / "h.mat", {"ROISignals": values, "TR": 3.0, "name": "x"})
    for path in sorted(tmp_path.iterdir()):
        assert np.allclose(read_table(path), values), path.name
        assert np.allclose(read_table(path, roi_axis=1), values.T), path.name
    scipy.io.savemat(tmp_path / "i.mat", {"a": values, "b": values + 1})
    assert np.allclose(read_table(tmp_path / "i.mat", variable="b"), values + 1)
    with pytest.raises(ValueError, match="want one matrix, the file holds: a, b"):
        read_table(tmp_path / "i.mat")
    with pytest.raises(ValueError, match="the variable 'c', the file holds: a, b"):
        read_table(tmp_path / "i.mat", variable="c")


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("a.csv", b"", "empty"),
        ("a.csv", b"one,two\n", "no numbers"),
        ("a.csv", b"1,2\n3\n", "columns changed"),
        ("a.csv", b"1,2\n3,x\n", "could not convert"),
        ("a.mat", b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM", "7.3 are not read"),
        ("a.mat", b"nonsense", "not a readable MAT file"),
        ("a.npy", b"PK\x03\x04 nothing", ""),
        ("a.npy", b"\x93NUMPY", ""),
    ],
)
def test_bad_tables_are_named(name, content, error, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{name}: .*{error}"):
        load_folder(tmp_path)


@pytest.mark.parametrize("array", [np.ones(5), np.ones((2, 3, 4)), np.ones((0, 4)), np.ones((2, 3), complex)])
def test_arrays_that_are_no_series(array, tmp_path):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(ValueError, match=r"want a matrix of series|want real numbers"):
        read_table(tmp_path / "a.npy")


def test_a_folder_of_classes(tmp_path):
    for name, seed in (
        ("HC/a.npy", 0),
        ("HC/site/b.npy", 1),
        ("MCI/c.npy", 2),
        ("d.npy", 3),
        (".hidden/e.npy", 4),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(tmp_path / name, series(samples=20 + seed, seed=seed))
    bad = series(seed=5)
    bad[4, 3] = 0
    np.save(tmp_path / "MCI" / "zero.npy", bad)
    bad[4] = 2.5
    np.save(tmp_path / "MCI" / "constant.npy", bad)
    bad[:5, 0] = np.nan
    np.save(tmp_path / "MCI" / "nan.npy", bad)
    np.save(tmp_path / "MCI" / "seven.npy", series(7))
    (tmp_path / "notes.docx").write_bytes(b"x")
    (tmp_path / "HC" / "torn.nii.gz").write_bytes(EXAMPLE.read_bytes()[:2000])
    cohort = load_folder(tmp_path)
    assert cohort.subjects == ("HC/a.npy", "HC/site/b.npy", "MCI/c.npy", "d.npy")
    assert cohort.classes == ("HC", "MCI")
    assert cohort.labels.tolist() == [0, 0, 1, -1]
    assert [one.shape for one in cohort.series] == [(6, 20), (6, 21), (6, 22), (6, 23)]
    assert cohort.atlas is None
    reasons = dict(cohort.skipped)
    assert reasons["MCI/zero.npy"] == "the series of ROI 4 is zero in whole or in part"
    assert reasons["MCI/constant.npy"] == "the series of ROI 4 does not change"
    assert reasons["MCI/nan.npy"] == "the series of ROI 0, ROI 1, ROI 2 and 2 more is not finite"
    assert "7 series" in reasons["MCI/seven.npy"]
    assert "neither an image nor a table" in reasons["notes.docx"]
    assert set(reasons) == {f"MCI/{n}.npy" for n in ("zero", "constant", "nan", "seven")} | {
        "notes.docx",
        "HC/torn.nii.gz",
    }
    chosen = cohort.of_classes(["MCI", "HC"])
    assert chosen.subjects == ("HC/a.npy", "HC/site/b.npy", "MCI/c.npy")
    assert chosen.labels.tolist() == [1, 1, 0]
    assert chosen.classes == ("MCI", "HC")
    with pytest.raises(ValueError, match="no subject of class 'LMCI'; there are: HC, MCI"):
        cohort.of_classes(["HC", "LMCI"])


def test_networks_of_tables(tmp_path):
    whole = series(160)
    np.save(tmp_path / "a.npy", whole)
    members = dosenbach().members("DMN")
    np.save(tmp_path / "b.npy", whole[members])
    (first, second), rois = (
        (cohort := load_folder(tmp_path, network="DMN", atlas=dosenbach())).series,
        cohort.rois,
    )
    assert np.array_equal(first, whole[members])
    assert np.array_equal(second, first)
    assert rois[-1].startswith("occipital")
    (tmp_path / "b.npy").unlink()
    cohort = load_folder(tmp_path / "a.npy", network="CB")  # 160 series bring the atlas with them
    assert np.array_equal(cohort.series[0], whole[dosenbach().members("CB")])
    assert cohort.subjects == ("a.npy",)
    assert len(cohort.atlas) == 160
    np.save(tmp_path / "a.npy", whole.T)
    with pytest.raises(ValueError, match="set roi_axis=1"):
        load_folder(tmp_path, network="DMN", atlas=dosenbach())
    assert len(load_folder(tmp_path, roi_axis=1, network="OP").rois) == 22
    np.save(tmp_path / "a.npy", series(12))
    with pytest.raises(ValueError, match="no atlas"):
        load_folder(tmp_path, network="DMN")
    with pytest.raises(ValueError, match="no network 'XX'; it has: CB, CO, DMN, FP, OP, SM"):
        load_folder(tmp_path, network="XX", atlas=dosenbach())


def test_nothing_to_read(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder or file"):
        load_folder(tmp_path / "absent")
    with pytest.raises(ValueError, match="holds no files"):
        load_folder(tmp_path)
    (tmp_path / "atlas.csv").write_text("x,y\n1,2\n")
    np.save(tmp_path / "a.npy", series())
    with pytest.raises(ValueError, match="lacks the column z"):
        load_folder(tmp_path)


def test_an_image_outside_the_atlas_is_skipped_with_its_reason(tmp_path):
    (tmp_path / "a.nii.gz").write_bytes(EXAMPLE.read_bytes())
    with pytest.raises(
        ValueError, match=r"a\.nii\.gz: ROI 'lat cerebellum 98' at .* has no voxel within 5 mm"
    ):
        load_folder(tmp_path, network="CB")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (([],), "at least one subject"),
        (([np.ones(4)],), "got shape"),
        (([series(3), series(4)],), r"got shape \[4, 20\] for subject 1"),
        (([series()], [0, 1]), "labels"),
        (([series()], [-2]), "labels"),
        (([series()], [1], ["only"]), "labels"),
        (([np.zeros((2, 5))],), "no subject is left"),
    ],
)
def test_bad_arrays_are_named(arguments, error):
    with pytest.raises(ValueError, match=error):
        from_arrays(*arguments)
    with pytest.raises(ValueError, match="subjects: want 1 names"):
        from_arrays([series()], subjects=["a", "b"])


def test_arrays_are_copied_and_the_unusable_left_out():
    values = np.stack([series(seed=i) for i in range(3)])
    values[1, 2] = 0
    cohort = from_arrays(values, [0, 0, 1], ["a", "b"])
    assert cohort.subjects == ("subject 0", "subject 2")
    assert cohort.labels.tolist() == [0, 1]
    assert cohort.skipped == (("subject 1", "the series of ROI 2 is zero in whole or in part"),)
    values[0] = 7
    assert not (cohort.series[0] == 7).any()

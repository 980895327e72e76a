"""totalct_sam: CTs in and labels out: NIfTI, DICOM, orientations, spacings, layouts and files of prompts."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset

from medkernels.zoo.totalct_sam.cohort import Reading, gather, split
from medkernels.zoo.totalct_sam.data import list_sources, read_volume, unknown_structures
from medkernels.zoo.totalct_sam.dicom import list_series, read_series
from medkernels.zoo.totalct_sam.nifti import read_labels, read_nifti, write_labels, write_volume
from medkernels.zoo.totalct_sam.phantom import CLASSES, phantom, write_dicom, write_subject
from medkernels.zoo.totalct_sam.prompts import read_prompts
from medkernels.zoo.totalct_sam.session import ANY
from medkernels.zoo.totalct_sam.tables import structure_rows, write_answer
from medkernels.zoo.totalct_sam.training import Windows, anchors
from medkernels.zoo.totalct_sam.volume import Volume, prepare

ORIENTATIONS = [
    (axes, signs)
    for axes in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]


def turned_affine(axes, signs, sizes=(1.0, 2.0, 3.0)):
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3) * sizes)[:, list(axes)] * np.array(signs)
    affine[:3, 3] = (7, -5, 3)
    return affine


def random_volume(shape=(5, 6, 7), affine=None, seed=0, classes=3):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes + 1, shape).astype(np.uint8)
    values = rng.integers(-1000, 1000, shape).astype(np.int16)
    return Volume("random", values, np.eye(4) if affine is None else affine, labels)


@pytest.mark.parametrize(("axes", "signs"), ORIENTATIONS)
def test_every_orientation_there_and_back(axes, signs):
    volume = random_volume(affine=turned_affine(axes, signs))
    scan = prepare(volume, None)
    assert np.allclose(scan.affine[:3, :3], np.diag([1, 2, 3]))  # right, anterior, superior
    assert np.array_equal(scan.restored(scan.labels), volume.labels)
    assert np.array_equal(scan.carried(volume.labels), scan.labels)
    for voxel in np.ndindex(volume.values.shape):
        place = volume.affine @ [*voxel, 1]
        at = tuple(np.rint(scan.voxels(place[:3])).astype(int))
        assert scan.values[at] == volume.values[voxel]


def test_a_turned_and_sheared_scan_keeps_its_places():
    affine = np.array([[0.9, 0.1, 0, 5], [-0.1, 0.9, 0.3, 1], [0, 0, 2.5, -4], [0, 0, 0, 1.0]])
    volume = random_volume(affine=affine)
    scan = prepare(volume, None)
    place = affine[:3] @ [2, 3, 4, 1]
    assert np.allclose(scan.voxels(place), [2, 3, 4])


@given(
    st.tuples(*[st.integers(1, 12)] * 3),
    st.tuples(*[st.floats(0.5, 4)] * 3),
    st.floats(0.7, 3),
    st.sampled_from(ORIENTATIONS),
)
@settings(max_examples=40)
def test_spacings_there_and_back(shape, sizes, spacing, orientation):
    volume = random_volume(shape, turned_affine(*orientation, sizes))
    scan = prepare(volume, spacing)
    extent = np.sort(np.array(sizes)[list(orientation[0])] * shape)
    assert np.allclose(np.sort(np.array(scan.spacing) * scan.values.shape), extent)
    # The same box of space: its middle stays where it is.
    middles = [
        affine[:3] @ [*(np.array(grid) - 1) / 2, 1]
        for affine, grid in ((volume.affine, shape), (scan.affine, scan.values.shape))
    ]
    assert np.allclose(*middles)
    restored = scan.restored(scan.labels)
    assert restored.shape == shape
    # A voxel that gets the label of the nearest one, twice: it is off by no more than half of either voxel.
    inverse = np.linalg.inv(scan.affine)
    for voxel in itertools.islice(np.ndindex(shape), 0, None, 7):
        at = inverse[:3] @ volume.affine @ [*voxel, 1]
        near = np.clip(np.floor(at + 0.5 + 1e-9), 0, np.array(scan.values.shape) - 1).astype(int)
        other = np.clip(np.floor(at + 0.5 - 1e-9), 0, np.array(scan.values.shape) - 1).astype(int)
        choices = {scan.labels[tuple(np.where(pick, near, other))] for pick in np.ndindex(2, 2, 2)}
        assert restored[voxel] in choices


def test_values_are_clamped_smoothed_and_normalised():
    values = np.zeros((40, 4, 4), np.float32)
    values[::2] = 800
    values[:, 0] = 3000
    scan = prepare(Volume("stripes", values, np.diag([1, 1, 1, 1.0])), None)
    assert scan.values.max() == 1000
    coarse = prepare(Volume("stripes", values[:, 1:], np.eye(4)), 4.0)
    assert coarse.values.shape[0] == 10
    assert np.abs(coarse.values[2:-2].astype(float) - 400).max() < 60  # a slice alone would give 0 or 800
    hu = np.array([-1000, -200, 0, 100, 300], np.int16).reshape(5, 1, 1)
    scan = prepare(Volume("five", hu, np.eye(4)), None)
    assert (scan.mean, scan.std) == (pytest.approx(400 / 3), pytest.approx(np.std([0, 100, 300])))
    cube = scan.normalised((slice(0, 5), slice(0, 5), slice(0, 5)), 5)
    assert cube[3, 0, 0] == pytest.approx((100 - scan.mean) / scan.std)
    assert cube[0, 4, 4] == pytest.approx((-1000 - scan.mean) / scan.std)  # air beyond the scan
    air = prepare(Volume("air", np.full((3, 3, 3), -1000), np.eye(4)), None)
    assert (air.mean, air.std) == (-1000, 1)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"values": np.zeros((3, 4))}, r"want a volume \[X,Y,Z\] with nothing empty, got shape \[3, 4\]"),
        ({"values": np.zeros((3, 0, 2))}, "nothing empty"),
        ({"values": np.zeros((2, 2, 2), complex)}, "want real numbers, got complex128"),
        ({"values": np.full((2, 2, 2), np.nan)}, "not finite"),
        ({"affine": np.zeros((4, 4))}, "affine cannot be inverted"),
        ({"labels": np.zeros((2, 2, 1), np.uint8)}, r"its labels have shape \[2, 2, 1\]"),
    ],
)
def test_bad_volumes_are_refused(change, error):
    good = Volume("x", np.zeros((2, 2, 2)), np.eye(4))
    with pytest.raises(ValueError, match=error):
        prepare(replace(good, **change), None)


# NIfTI


@pytest.mark.parametrize("ending", [".nii.gz", ".nii"])
def test_labels_as_nifti(tmp_path, ending):
    affine = turned_affine((1, 0, 2), (-1, 1, 1))
    volume = random_volume(affine=affine)
    path = tmp_path / f"a{ending}"
    written = write_labels(path, volume.labels, affine, ("liver", "spleen", "aorta"))
    image = nibabel.load(path)
    assert np.array_equal(np.asarray(image.dataobj), volume.labels)
    assert image.get_data_dtype() == np.uint8
    assert np.allclose(image.affine, affine)
    assert (int(image.header["sform_code"]), int(image.header["qform_code"])) == (1, 1)
    assert json.loads(written[1].read_text()) == {"1": "liver", "2": "spleen", "3": "aorta"}
    again = read_labels(path, volume.labels.shape, affine, 3)
    assert np.array_equal(again, volume.labels)
    before = path.read_bytes()
    write_labels(path, volume.labels, affine, ("liver", "spleen", "aorta"))
    assert path.read_bytes() == before


def test_nifti_units_and_scaling(tmp_path):
    image = nibabel.Nifti1Image(
        np.arange(8, dtype=np.float32).reshape(2, 2, 2, 1), np.diag([0.01, 0.01, 0.01, 1])
    )
    image.header.set_xyzt_units("meter")
    nibabel.save(image, tmp_path / "a.nii")
    values, affine = read_nifti(tmp_path / "a.nii")
    assert values.shape == (2, 2, 2)
    assert np.allclose(np.diag(affine), [10, 10, 10, 1])


def test_unreadable_nifti_files_say_why(tmp_path):
    path = tmp_path / "a.nii.gz"
    path.write_bytes(b"no image")
    with pytest.raises(ValueError, match="not an image that can be read"):
        read_nifti(path)
    write_volume(path, np.random.default_rng(0).normal(0, 99, (20, 20, 20)), np.eye(4))
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ValueError, match="the file is damaged"):
        read_nifti(path)
    nibabel.save(nibabel.Nifti1Image(np.zeros((2, 2, 2, 5), np.float32), np.eye(4)), path)
    with pytest.raises(ValueError, match=r"want a 3-D image, got shape \[2, 2, 2, 5\]"):
        read_nifti(path)
    lost = nibabel.Nifti1Image(np.zeros((2, 2, 2), np.float32), None)
    nibabel.save(lost, path)
    with pytest.raises(ValueError, match="does not say where the voxels lie"):
        read_nifti(path)


def test_labels_must_fit_their_scan(tmp_path):
    path = tmp_path / "a.labels.nii.gz"
    labels = np.full((2, 2, 2), 5, np.uint8)
    write_labels(path, labels, np.eye(4), ["x"] * 5)
    with pytest.raises(ValueError, match="labels from 5 to 5; want 0 to 4"):
        read_labels(path, (2, 2, 2), np.eye(4), 4)
    with pytest.raises(ValueError, match=r"has shape \[2, 2, 2\], but the scan has \[2, 2, 3\]"):
        read_labels(path, (2, 2, 3), np.eye(4), 5)
    with pytest.raises(ValueError, match="lies elsewhere"):
        read_labels(path, (2, 2, 2), np.diag([-1.0, 1, 1, 1]), 5)
    nibabel.save(nibabel.Nifti1Image(np.full((2, 2, 2), 0.5, np.float32), np.eye(4)), path)
    with pytest.raises(ValueError, match="numbers that are not whole"):
        read_labels(path, (2, 2, 2), np.eye(4), 5)


# DICOM


@pytest.mark.parametrize(("axes", "signs"), ORIENTATIONS[::5])
def test_dicom_there_and_back(tmp_path, axes, signs):
    affine = turned_affine(axes, signs, (0.7, 0.8, 2.5))
    volume = random_volume(affine=affine)
    files = write_dicom(tmp_path, volume)
    assert [path.name for path in sorted(files)] != [path.name for path in files]  # names tell no order
    series = list_series(tmp_path)
    assert len(series) == 1
    values, found = read_series(next(iter(series.values())))
    # Slices are sorted along the normal of rows and columns: a left-handed volume is read from its other end.
    if np.linalg.det(affine) < 0:
        affine = affine @ np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, -1, 6], [0, 0, 0, 1.0]])
        assert np.array_equal(values, volume.values[:, :, ::-1])
    else:
        assert np.array_equal(values, volume.values)
    assert np.allclose(found, affine, atol=1e-6)


def test_a_real_series():
    """Five slices of a chest, thinned to 16 x 16 pixels, that come with pydicom."""
    folder = Path(get_testdata_file("DICOMDIR")).parent / "98892001" / "CT5N"
    series = list_series(folder)
    assert [len(files) for files in series.values()] == [5]
    values, affine = read_series(next(iter(series.values())))
    assert values.shape == (16, 16, 5)
    headers = [pydicom.dcmread(path) for path in sorted(folder.iterdir())]
    lowest = min(headers, key=lambda header: header.ImagePositionPatient[2])
    x, y, z = lowest.ImagePositionPatient
    assert np.allclose(affine[:3, 3], [-x, -y, z])
    row, column = lowest.PixelSpacing
    assert np.allclose(affine[:3, :3], np.diag([-column, -row, 2.5]))
    raw = lowest.pixel_array * lowest.RescaleSlope + lowest.RescaleIntercept
    assert np.array_equal(values[:, :, 0], raw.T)
    source = list_sources(folder)[0]
    assert source.name == "CT5N"
    assert prepare(read_volume(source, ("liver",)), None).values.shape == (16, 16, 5)


def test_one_real_slice():
    path = Path(get_testdata_file("CT_small.dcm"))
    values, affine = read_series([path])
    header = pydicom.dcmread(path)
    assert values.shape == (128, 128, 1)
    assert np.linalg.norm(affine[:3, 2]) == pytest.approx(float(header.SliceThickness))


def test_missing_slices_are_noticed():
    folder = Path(get_testdata_file("DICOMDIR")).parent / "77654033" / "CT2"
    with pytest.raises(ValueError, match=r"slices are missing: 1\.25 mm lie between most, but 202\.5 mm"):
        read_series([path for path in folder.iterdir() if path.is_file()])


def test_an_enhanced_file(tmp_path):
    volume = random_volume(affine=turned_affine((0, 1, 2), (-1, -1, 1)))
    classic = [pydicom.dcmread(path) for path in write_dicom(tmp_path / "classic", volume)]
    data = classic[0]
    data.NumberOfFrames = len(classic)
    order = [3, 0, 6, 1, 5, 2, 4]
    data.PixelData = b"".join(classic[place].PixelData for place in order)
    shared = Dataset()
    shared.PlaneOrientationSequence = [Dataset()]
    shared.PlaneOrientationSequence[0].ImageOrientationPatient = data.ImageOrientationPatient
    shared.PixelMeasuresSequence = [Dataset()]
    shared.PixelMeasuresSequence[0].PixelSpacing = data.PixelSpacing
    shared.PixelValueTransformationSequence = [Dataset()]
    shared.PixelValueTransformationSequence[0].RescaleSlope = data.RescaleSlope
    shared.PixelValueTransformationSequence[0].RescaleIntercept = data.RescaleIntercept
    frames = []
    for place in order:
        frame = Dataset()
        frame.PlanePositionSequence = [Dataset()]
        frame.PlanePositionSequence[0].ImagePositionPatient = classic[place].ImagePositionPatient
        frames.append(frame)
    data.SharedFunctionalGroupsSequence, data.PerFrameFunctionalGroupsSequence = [shared], frames
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleIntercept"):
        delattr(data, name)
    path = tmp_path / "enhanced" / "a.dcm"
    path.parent.mkdir()
    data.save_as(path)
    values, affine = read_series([path])
    assert np.array_equal(values, volume.values)
    assert np.allclose(affine, volume.affine, atol=1e-6)


def changed(tmp_path, **tags):
    files = write_dicom(tmp_path / "series", random_volume())
    data = pydicom.dcmread(files[2])
    for name, value in tags.items():
        if value is None:
            delattr(data, name)
        else:
            setattr(data, name, value)
    data.save_as(files[2])
    return files


@pytest.mark.parametrize(
    ("tags", "error"),
    [
        ({"Modality": "MR"}, "is no CT, its modality is MR"),
        ({"ImagePositionPatient": None}, "does not say where its voxels lie"),
        ({"PixelSpacing": None}, "does not say where its voxels lie"),
        ({"PixelSpacing": [0.5, 0.5]}, "its slices differ in size: 6 x 5 of 1 x 1 and 6 x 5 of 0.5 x 0.5 mm"),
        ({"ImageOrientationPatient": [0, 1, 0, 1, 0, 0]}, "its slices differ in direction"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "not at right angles"),
        ({"ImagePositionPatient": [0, 0, 0]}, "two of its slices lie at the same place"),
        ({"ImagePositionPatient": [0, 0, 20]}, "slices are missing"),
        ({"PixelData": b"12"}, r"its pixels \(Explicit VR Little Endian\) cannot be decoded"),
    ],
)
def test_unusable_series_say_why(tmp_path, tags, error):
    with pytest.raises(ValueError, match=error):
        read_series(changed(tmp_path, **tags))


def test_other_files_of_a_folder_are_left_out(tmp_path):
    changed(tmp_path, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    folder = tmp_path / "series"
    (folder / "notes.txt").write_text("none")
    (folder / "torn.dcm").write_bytes(b"\0" * 128 + b"DICM")
    assert [len(files) for files in list_series(folder).values()] == [6]


# Layouts


@pytest.fixture
def dataset(tmp_path):
    """Three subjects as TotalSegmentator has them, a file with labels, and a series of slices."""
    for number in range(3):
        volume = phantom(number)
        small = Volume(volume.name, volume.values[::4, ::4, ::6], volume.affine, volume.labels[::4, ::4, ::6])
        write_subject(tmp_path / f"s{number:04d}", small)
        if number == 0:
            write_volume(tmp_path / "test" / "a.nii.gz", small.values, small.affine)
            write_labels(tmp_path / "test" / "a.labels.nii.gz", small.labels, small.affine, CLASSES)
            write_dicom(tmp_path / "patient" / "series", small)
    (tmp_path / "meta.csv").write_text("image_id;age;split\ns0000;60;train\ns0001;50;val\ns0002;40;test\n")
    return tmp_path


def test_folders_are_understood(dataset):
    sources = {source.name: source for source in list_sources(dataset)}
    assert list(sources) == ["patient/series", "s0000", "s0001", "s0002", "test/a"]
    assert [source.part for source in sources.values()] == [None, "train", "valid", "test", "test"]
    first, same, slices = (
        read_volume(sources[name], CLASSES) for name in ("s0000", "test/a", "patient/series")
    )
    whole = phantom(0)
    assert np.array_equal(first.labels, whole.labels[::4, ::4, ::6])
    assert np.array_equal(first.labels, same.labels)
    assert np.array_equal(np.rint(whole.values[::4, ::4, ::6]), first.values)
    assert slices.labels is None
    assert slices.file == dataset / "patient" / "series"
    assert prepare(slices, None).values.shape == first.values.shape
    assert np.array_equal(prepare(slices, None).values, prepare(first, None).values)
    assert unknown_structures(list(sources.values()), ("liver",)) == sorted(set(CLASSES) - {"liver"})
    one = read_volume(sources["s0000"], ("liver",))
    assert np.array_equal(one.labels > 0, first.labels == CLASSES.index("liver") + 1)
    with pytest.raises(ValueError, match="holds none of the system's 1 structures"):
        read_volume(sources["s0000"], ("brain",))
    assert list_sources(dataset / "s0001" / "ct.nii.gz")[0].name == "s0001"


def test_scans_are_kept_for_a_training_that_goes_on(dataset, tmp_path):
    reading, folder = Reading(CLASSES, 24.0), tmp_path / "scans"
    scans, skipped = gather(dataset, reading, folder, progress=False)
    assert skipped == [("patient/series", "nothing tells which structures it holds")]
    assert [scan.part for scan in scans] == ["train", "valid", "test", "test"]
    expected = prepare(read_volume(list_sources(dataset / "s0000")[0], CLASSES), 24.0)
    assert np.array_equal(scans[0].values, expected.values)
    assert np.array_equal(scans[0].labels, expected.labels)
    assert np.allclose(scans[0].affine, expected.affine)
    assert (scans[0].mean, scans[0].std) == (expected.mean, expected.std)
    places = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    again, _ = gather(dataset, reading, folder, progress=False)
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == places
    assert np.array_equal(again[3].values, scans[3].values)
    write_volume(dataset / "s0000" / "ct.nii.gz", np.zeros(expected.source_shape), expected.source_affine)
    anew, _ = gather(dataset, reading, folder, progress=False)
    assert (anew[0].values == 0).all()


def test_folders_without_cts(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no folder or file"):
        list_sources(tmp_path / "none")
    with pytest.raises(ValueError, match="holds no CT; want NIfTI files"):
        list_sources(tmp_path)
    write_volume(tmp_path / "a.nii.gz", np.zeros((2, 2, 2)), np.eye(4))
    with pytest.raises(ValueError, match=r"no CT can be trained on .a: nothing tells"):
        gather(tmp_path, Reading(("liver",), None), tmp_path / "scans", progress=False)


def test_splits():
    named = [replace(prepare(random_volume(), None), name=f"s{n}") for n in range(40)]
    parts = split(named, 0)
    assert {name: len(group) for name, group in parts.items()} == {"train": 36, "valid": 2, "test": 2}
    assert sorted(scan.name for group in parts.values() for scan in group) == sorted(s.name for s in named)
    assert {name: len(group) for name, group in split(named[:3], 0).items()} == {
        "train": 1,
        "valid": 1,
        "test": 1,
    }
    assert len(split(named[:2], 0)["train"]) == 2
    with pytest.raises(ValueError, match="none is left to train on"):
        split([replace(named[0], part="test")], 0)


def test_windows_of_scans():
    scan = prepare(random_volume((20, 9, 30)), None)
    empty = replace(scan, labels=np.zeros_like(scan.labels))
    groups = anchors(scan, 0)
    assert [len(group) for group in groups] == [64, 64, 64]
    assert [set(scan.labels.ravel()[group]) for group in groups] == [{1}, {2}, {3}]
    assert anchors(empty, 0) == []
    names = ("kidney_left", "liver", "kidney_right")
    drawn = Windows([scan, empty], names, 12, contexts=2, draws=3, training=False)
    assert len(drawn) == 6
    item = drawn[0]
    assert item["windows"].shape == (3, 1, 12, 12, 12)
    assert item["labels"].shape == (3, 12, 12, 12)
    assert np.array_equal(drawn[0]["windows"], drawn[0]["windows"])
    assert not drawn[1]["labels"].any()


def test_a_mirror_exchanges_left_and_right():
    values = np.arange(12**3, dtype=np.int16).reshape(12, 12, 12) - 900
    labels = (np.arange(12**3).reshape(12, 12, 12) % 4).astype(np.uint8)
    scan = prepare(Volume("a", values, np.eye(4), labels), None)
    drawn = Windows([scan], ("kidney_left", "liver", "kidney_right"), 12, contexts=0, draws=1, training=True)
    seen = set()
    for seed in range(60):
        torch.manual_seed(seed)
        item = drawn[0]
        raw = np.rint(item["windows"][0, 0].numpy() * scan.std + scan.mean).astype(int)
        axes = tuple(axis for axis in range(3) if raw.take(0, axis).mean() > raw.take(-1, axis).mean())
        seen.add(axes)
        assert np.array_equal(np.flip(raw, axes), values)
        expected = labels if 0 not in axes else np.array([0, 3, 2, 1])[labels]
        assert np.array_equal(np.flip(item["labels"][0].numpy(), axes), expected)
    assert len(seen) == 8


# Prompts and tables


def test_prompts_in_every_space(tmp_path):
    affine = turned_affine((2, 0, 1), (-1, 1, -1))
    volume = random_volume((8, 9, 10), affine)
    scan = prepare(volume, 1.5)
    ras = affine[:3] @ [2, 3, 4, 1]
    lps = ras * [-1, -1, 1]
    path = tmp_path / "prompts.json"
    listed = [
        {"structure": "liver", "point": ras.tolist()},
        {"structure": 2, "point": lps.tolist(), "space": "lps", "positive": False},
        {"point": [2, 3, 4], "space": "voxel"},
        {"structure": "spleen", "box": [[2, 3, 4], [5, 1, 8]], "space": "voxel"},
    ]
    path.write_text(json.dumps({"space": "ras", "prompts": listed}))
    found = read_prompts(path, scan, ("liver", "spleen"))
    assert [prompt.structure for prompt in found] == [1, 2, ANY, 2]
    assert [prompt.positive for prompt in found] == [True, False, True, True]
    where = scan.voxels(ras)
    for prompt in found[:3]:
        assert np.allclose(prompt.corners, where[None])
    corners = scan.voxels(np.stack([affine[:3] @ [*c, 1] for c in ([2, 3, 4], [5, 1, 8])]))
    assert np.allclose(found[3].corners, [corners.min(0), corners.max(0)])
    table = tmp_path / "prompts.csv"
    numbers = ",".join(map(str, ras.tolist())), ",".join(map(str, lps.tolist()))
    table.write_text(
        "structure,x,y,z,positive,x2,y2,z2,space\n"
        f"liver,{numbers[0]},,,,,\nspleen,{numbers[1]},no,,,,lps\nany,2,3,4,1,,,,voxel\n"
        "spleen,2,3,4,,5,1,8,voxel\n"
    )
    for one, other in zip(read_prompts(table, scan, ("liver", "spleen")), found, strict=True):
        assert (one.structure, one.positive) == (other.structure, other.positive)
        assert np.allclose(one.corners, other.corners)


def test_a_coarse_mask_in_a_file_of_prompts(tmp_path):
    affine = turned_affine((2, 0, 1), (-1, 1, -1))
    volume = random_volume((8, 9, 10), affine)
    scan = prepare(volume, 1.5)
    write_labels(tmp_path / "liver.nii.gz", (volume.labels == 2).astype(np.uint8), affine, ("liver",))
    path = tmp_path / "a.prompts.json"
    path.write_text('[{"structure": "liver", "mask": "liver.nii.gz"}]')
    found = read_prompts(path, scan, ("liver", "spleen"))[0]
    assert found.structure == 1
    assert np.array_equal(found.mask, scan.labels == 2)


@pytest.mark.parametrize(
    ("name", "text", "error"),
    [
        ("a.json", '[{"mask": "none.nii.gz"}]', "number 1: .*none.nii.gz"),
        (
            "a.json",
            '[{"mask": "none.nii.gz", "point": [1, 2, 3]}]',
            "goes with its structure alone, got point",
        ),
        ("a.json", "{", "is no readable JSON"),
        ("a.json", '{"points": []}', "want a list of prompts"),
        ("a.json", '[{"structure": "brain", "point": [1, 2, 3]}]', "number 1: there is no structure 'brain'"),
        ("a.json", '[{"structure": 3, "point": [1, 2, 3]}]', "numbers 1 to 2, got 3"),
        ("a.json", '[{"structure": "liver"}]', "want either a point or a box"),
        ("a.json", '[{"point": [1, 2]}]', "want three finite coordinates"),
        (
            "a.json",
            '[{"point": [1, 2, 3], "space": "mni"}]',
            "space must be one of ras, lps, voxel, got 'mni'",
        ),
        ("a.json", '[{"point": [1, 2, 3], "positive": "perhaps"}]', "positive must be true or false"),
        ("a.json", '[{"point": [1, 2, 3], "colour": 1}]', "got colour"),
        ("a.csv", "structure,x,y\n", "lacks some of the columns"),
        ("a.csv", "structure,x,y,z\nliver,1,two,3\n", "number 1: could not convert"),
        (
            "a.csv",
            "structure,x,y,z,positive\nliver,1,2,3,perhaps\n",
            "positive must be 1 or 0, got 'perhaps'",
        ),
    ],
)
def test_prompts_that_cannot_be_understood(tmp_path, name, text, error):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=error):
        read_prompts(tmp_path / name, prepare(random_volume(), None), ("liver", "spleen"))


def test_tables_of_structures(tmp_path):
    labels = np.zeros((10, 10, 10), np.uint8)
    labels[:2] = 1
    labels[9, 9] = 3
    affine = turned_affine((1, 2, 0), (1, -1, 1))
    assert structure_rows(labels, affine, ("a", "b", "c")) == [
        {"label": 1, "structure": "a", "voxels": 200, "ml": pytest.approx(1.2)},
        {"label": 3, "structure": "c", "voxels": 10, "ml": pytest.approx(0.06)},
    ]
    volume = Volume("test/x", labels, affine)
    files = write_answer(tmp_path, volume, labels, ("a", "b", "c"))
    assert files == ["test/x.structures.nii.gz", "test/x.structures.json", "test/x.structures.csv"]
    assert (tmp_path / files[2]).read_text().splitlines()[0] == "label,structure,voxels,ml"
    # What was written is not taken for CTs when the folder is read.
    with pytest.raises(ValueError, match="holds no CT"):
        list_sources(tmp_path)

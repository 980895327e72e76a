"""totalct_sam: CTs and labels in NIfTI and DICOM files."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset

from medkernels.zoo.totalct_sam.data import list_sources, read_volume
from medkernels.zoo.totalct_sam.dicom import list_series, read_series
from medkernels.zoo.totalct_sam.nifti import read_labels, read_nifti, write_labels, write_volume
from medkernels.zoo.totalct_sam.phantom import write_dicom
from medkernels.zoo.totalct_sam.volume import prepare
from tests.zoo.totalct_sam_scans import ORIENTATIONS, random_volume, turned_affine

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

"""totalct_sam: folders of scans, windows, prompts and tables."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from medkernels.zoo.totalct_sam.cohort import Reading, gather, split
from medkernels.zoo.totalct_sam.data import list_sources, read_volume, unknown_structures
from medkernels.zoo.totalct_sam.nifti import write_labels, write_volume
from medkernels.zoo.totalct_sam.phantom import CLASSES, phantom, write_dicom, write_subject
from medkernels.zoo.totalct_sam.prompts import read_prompts
from medkernels.zoo.totalct_sam.session import ANY
from medkernels.zoo.totalct_sam.tables import structure_rows, write_answer
from medkernels.zoo.totalct_sam.training import Windows, anchors
from medkernels.zoo.totalct_sam.volume import Volume, prepare
from tests.zoo.totalct_sam_scans import random_volume, turned_affine

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

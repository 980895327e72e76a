"""totalct_sam from CTs to a report and labelled NIfTI files, from Python and from the command line."""

from __future__ import annotations

import csv
import itertools
import json
from dataclasses import replace

import nibabel
import numpy as np
import pytest
import torch

from medkernels import cli, zoo
from medkernels.zoo.engine import System
from medkernels.zoo.totalct_sam import acceptance, demo
from medkernels.zoo.totalct_sam.phantom import CLASSES, phantom, write_dicom, write_subject
from medkernels.zoo.totalct_sam.pictures import color_of, draw_directions
from medkernels.zoo.totalct_sam.system import TotalCTSAMSystem
from medkernels.zoo.totalct_sam.volume import Volume

QUICK = {"max_epochs": 2, "batch_size": 2, "lr": 2e-3, "progress": False, "tensorboard": False}
WINDOWS = {"draws": 2, "contexts": 1, "clicks": 2}
SMALL = {"size": "crops", "classes": CLASSES, "spacing": 16.0}


@pytest.fixture(autouse=True, scope="module")
def _quiet_threads():
    with acceptance.one_thread():
        yield


def coarse(seed):
    """A body of 4 x 4 x 5 times fewer voxels."""
    volume = phantom(seed)
    part = (slice(None, None, 4), slice(None, None, 4), slice(None, None, 5))
    affine = volume.affine @ np.diag([4, 4, 5, 1.0])
    return Volume(volume.name, volume.values[part], affine, volume.labels[part])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Four bodies with masks, one of them damaged, and a series of slices with a click."""
    root = tmp_path_factory.mktemp("bodies")
    for number, part in enumerate(("train", "train", "valid", "test", "test")):
        write_subject(root / part / f"s{number}", coarse(number))
    (root / "test" / "s4" / "ct.nii.gz").write_bytes(b"torn")
    write_dicom(root / "series", coarse(5))
    middle = np.argwhere(coarse(5).labels == 4)[0]
    prompt = {"structure": CLASSES[3], "point": middle.tolist(), "space": "voxel"}
    (root / "series" / "prompts.json").write_text(json.dumps([prompt]))
    return root


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory):
    run = tmp_path_factory.mktemp("run")
    system = zoo.create("totalct_sam", **SMALL)
    return system, system.fit(folder, run, **QUICK, **WINDOWS), run


def test_fit_writes_everything(trained):
    system, done, run = trained
    assert isinstance(system, System)
    assert dict(done.skipped) == {
        "series": "nothing tells which structures it holds",
        "test/s4": dict(done.skipped)["test/s4"],
    }
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics == done.metrics
    assert metrics["scans"] == {"train": 2, "valid": 1, "test": 1}
    assert metrics["judged_on"] == "test"
    assert set(metrics["held_out"]) == {"mean_dice", "mean_iou", "pixel_accuracy", "structure_accuracy"}
    rows = list(csv.DictReader((run / "structures.csv").open()))
    assert {row["scan"] for row in rows} == {"test/s3"}
    assert np.mean([float(row["dice"]) for row in rows]) == pytest.approx(metrics["held_out"]["mean_dice"])
    page = done.report.read_text()
    for word in ("Structures of CTs", "mean dice", "test/s3", "test/s4"):
        assert word in page, word


def test_a_saved_system_gives_the_same_answers(trained, folder):
    system, done, _ = trained
    same = TotalCTSAMSystem.from_pretrained(done.model)
    assert same.reading == system.reading
    one, other = (each.predict(folder / "series") for each in (system, same))
    assert np.array_equal(one["labels"]["series"], other["labels"]["series"])
    assert one["millilitres"] == other["millilitres"]


def test_a_stopped_run_goes_on_exactly(folder, tmp_path):
    weights = []
    for stops in ((1, 2), (2,)):
        for epochs in stops:
            system = TotalCTSAMSystem(**SMALL)
            options = QUICK | {"max_epochs": epochs, "schedule": "constant"}
            system.fit(folder, tmp_path / str(len(stops)), **options, **WINDOWS)
        weights.append(system.module.state_dict())
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


def test_labels_come_out_on_the_grid_of_the_ct(trained, folder, tmp_path, capsys):
    system, done, _ = trained
    line = f"zoo predict totalct_sam --model {done.model} --data {folder} --out {tmp_path}"
    assert cli.main(line.split()) == 0
    assert "skipped test/s4" in capsys.readouterr().err
    for name, source in (("train/s0", folder / "train" / "s0" / "ct.nii.gz"), ("series", None)):
        image = nibabel.load(tmp_path / f"{name}.structures.nii.gz")
        labels = np.asarray(image.dataobj)
        rows = list(csv.DictReader((tmp_path / f"{name}.structures.csv").open()))
        assert {int(row["label"]): int(row["voxels"]) for row in rows} == {
            int(number): int((labels == number).sum()) for number in np.unique(labels) if number
        }
        assert json.loads((tmp_path / f"{name}.structures.json").read_text())["1"] == CLASSES[0]
        if source:
            assert np.allclose(image.affine, nibabel.load(source).affine)
            assert image.shape == nibabel.load(source).shape
            assert np.array_equal(labels, system.predict(source)["labels"]["s0"])
    page = (tmp_path / "report.html").read_text()
    for word in ("series", "train/s0", "Axial slices"):
        assert word in page, word
    told = json.loads((tmp_path / "predictions.json").read_text())
    assert told["scans"] == ["series", "test/s3", "train/s0", "train/s1", "valid/s2"]
    assert [name for name, _ in told["skipped"]] == ["test/s4"]


def test_prompts_beside_a_scan_and_given_count(trained, folder, tmp_path):
    system, _, _ = trained
    told = system.predict(folder / "series")["labels"]["series"]
    (folder / "series" / "prompts.json").rename(tmp_path / "prompts.json")
    try:
        plain = system.predict(folder / "series")["labels"]["series"]
        given = system.predict(folder / "series", prompts=tmp_path / "prompts.json")["labels"]["series"]
    finally:
        (tmp_path / "prompts.json").rename(folder / "series" / "prompts.json")
    assert np.array_equal(told, given)
    assert not np.array_equal(told, plain)
    bad = tmp_path / "bad.json"
    bad.write_text('[{"structure": 1, "point": [9999, 0, 0]}]')
    with pytest.raises(ValueError, match="lies outside of series"):
        system.predict(folder / "series", prompts=bad)


def test_evaluate(trained, folder, capsys):
    system, done, _ = trained
    line = f"zoo evaluate totalct_sam --model {done.model} --data {folder / 'test'} --json"
    assert cli.main(line.split()) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["scans"], found["skipped"]) == (1, 1)
    volume = replace(coarse(3), values=np.rint(coarse(3).values))  # as it is in the file
    answer = system.judge(volume, progress=False)
    assert found["mean_dice"] == pytest.approx(np.mean([row["dice"] for row in answer.scores.values()]))
    assert found["pixel_accuracy"] == pytest.approx((answer.labels == volume.labels).mean())
    clicked = system.evaluate(volume, clicks=1)
    assert clicked["mean_dice"] != found["mean_dice"]
    assert clicked == system.evaluate([volume], clicks=1) | {"seconds_a_scan": clicked["seconds_a_scan"]}


def test_the_command_line_trains_without_memory(folder, tmp_path, capsys):
    settings = "--set size=crops --set memory=false --set spacing=16 --set draws=1 --set clicks=0"
    line = (
        f"zoo fit totalct_sam --data {folder} --run-dir {tmp_path} {settings} "
        f'--set classes=["liver","heart"] --epochs 1 -q'
    )
    assert cli.main(line.split()) == 0
    system = TotalCTSAMSystem.from_pretrained(tmp_path / "model")
    assert system.module.mask_decoder.memorizing is None
    assert system.reading.classes == ("liver", "heart")
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["skipped"] == 2 + len(CLASSES) - 2


@pytest.mark.parametrize(
    ("config", "error"),
    [
        ({"size": "huge"}, "size must be one of base, small, tiny, crops, got 'huge'"),
        ({"spacing": 0}, "spacing must be finite and above 0, got 0"),
        ({"overlap": 1.0}, r"overlap must lie in \[0, 1\), got 1.0"),
        ({"classes": ["a", "a"]}, "classes: want different names"),
    ],
)
def test_bad_options_are_named(config, error):
    with pytest.raises(ValueError, match=error):
        zoo.create("totalct_sam", **config)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"clicks": -1}, "clicks must be an integer of at least 0, got -1"),
        ({"contexts": 1.5}, "contexts must be an integer"),
        ({"draws": 0}, "draws must be an integer of at least 1"),
    ],
)
def test_bad_options_of_fit_are_named(options, error, folder, tmp_path):
    with pytest.raises(ValueError, match=error):
        TotalCTSAMSystem(**SMALL).fit(folder, tmp_path, **options)


def test_data_of_another_kind():
    system = TotalCTSAMSystem(size="crops", classes=["liver"], spacing=None)
    values = np.zeros((4, 5, 6), np.int16)
    good = Volume("a", values, np.eye(4))
    with pytest.raises(TypeError, match="got a ndarray among them"):
        system.predict([values])
    with pytest.raises(ValueError, match="data: a: holds values that are not finite"):
        system.predict(replace(good, values=np.full((2, 2, 2), np.nan)))
    with pytest.raises(ValueError, match="data: a has the label 7, but the system knows 1 structures"):
        system.evaluate(replace(good, labels=np.full((4, 5, 6), 7, np.uint8)))
    with pytest.raises(ValueError, match=r"no CT can be judged \(a: nothing tells"):
        system.evaluate(good)
    with pytest.raises(ValueError, match="no CT can be used"):
        system.predict([])
    with pytest.raises(ValueError, match="clicks must be an integer of at least 0"):
        system.evaluate(good, clicks=True)
    assert system.predict(good)["labels"]["a"].shape == (4, 5, 6)


def test_pictures():
    colors = [color_of(number) for number in range(1, 105)]
    gaps = [np.abs(np.subtract(one, other)).sum() for one, other in itertools.pairwise(colors)]
    assert min(gaps) > 0.3
    empty = Volume("a", np.zeros((3, 4, 5)), np.diag([-1.0, 1, 2, 1]))
    figure = draw_directions(empty, np.zeros((3, 4, 5), np.uint8), ("x",), "title")
    assert [axes.get_title() for axes in figure.axes] == ["axial", "coronal", "sagittal"]
    # The first two run from the patient's right, whose indices are the highest, to the left.
    assert [axes.xaxis_inverted() for axes in figure.axes] == [True, True, False]


def test_the_demonstration_writes_its_report(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "PARTS", {"train": 1, "valid": 1, "test": 1})
    monkeypatch.setattr(demo, "TRAINING", demo.TRAINING | {"max_epochs": 1, "progress": False})
    monkeypatch.setattr(demo, "WINDOWS", demo.WINDOWS | {"draws": 1})
    monkeypatch.setattr(demo, "CLICKS", (0, 1))
    monkeypatch.setattr(demo, "SPACING", 16.0)
    monkeypatch.setattr(demo, "phantom", lambda seed, name=None: replace(coarse(seed), name=name or "body"))
    page = TotalCTSAMSystem(size="crops", classes=["x"]).demo(tmp_path).read_text()
    for word in ("with memory", "without memory", "synthetic", "A DICOM series", "mean Dice"):
        assert word in page, word
    assert (tmp_path / "predicted" / "unseen.structures.nii.gz").is_file()
    assert TotalCTSAMSystem.from_pretrained(tmp_path / "model").reading.classes == CLASSES

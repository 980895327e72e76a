"""topo_mci from a folder to a report, saved and loaded, from Python and from the command line."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nibabel.testing import data_path

from medkernels import cli, zoo
from medkernels.zoo.engine import System
from medkernels.zoo.topo_mci import acceptance, demo
from medkernels.zoo.topo_mci.cohort import from_arrays
from medkernels.zoo.topo_mci.learners import one_thread
from medkernels.zoo.topo_mci.persistence import pr_matrices
from medkernels.zoo.topo_mci.standin import ROIS, stand_in
from medkernels.zoo.topo_mci.system import TopoMCI

QUICK = {"max_epochs": 3, "batch_size": 8, "progress": False, "tensorboard": False}


@pytest.fixture(autouse=True, scope="module")
def _quiet_threads():
    with one_thread():
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twelve subjects of two classes, two of a third, one to be left out, and an atlas."""
    root = tmp_path_factory.mktemp("cohort")
    cohort = stand_in(14)
    for number, series in enumerate(cohort.series):
        name = "other" if number > 11 else cohort.classes[cohort.labels[number]]
        (root / name).mkdir(exist_ok=True)
        np.save(root / name / f"s{number:02d}.npy", series)
    lost = cohort.series[0].copy()
    lost[3] = 0
    np.save(root / "clock" / "lost.npy", lost)
    rows = [f"area {i},{i},{-i},{2 * i},{'front' if i < 5 else 'back'}" for i in range(ROIS)]
    (root / "atlas.csv").write_text("\n".join(["name,x,y,z,network", *rows]))
    return root


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory):
    run = tmp_path_factory.mktemp("run")
    system = zoo.create("topo_mci", network="front", zscore=True, classes=["surrogate", "clock"])
    return system, system.fit(folder, run, splits=2, held_out=0.4, **QUICK), run


def test_fit_on_a_folder_writes_everything(trained, folder):
    system, done, run = trained
    assert isinstance(system, System)
    assert done.rank == 0
    assert done.skipped == (("clock/lost.npy", "the series of area 3 is zero in whole or in part"),)
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics == done.metrics
    assert metrics["subjects"] == {"surrogate": 6, "clock": 6}
    assert (metrics["rois"], metrics["homology"], metrics["splits"], metrics["skipped"]) == (5, 1, 2, 1)
    assert metrics["chance"] == 0.5
    for row in metrics["accuracy"].values():
        assert 0 <= row["min"] <= row["mean"] <= row["max"] <= 1
    assert set(metrics["accuracy"]) == {"cnn", "forest"}
    rows = list(csv.DictReader((run / "predictions.csv").open()))
    assert Counter((row["split"], row["learner"]) for row in rows) == {
        (split, learner): 5 for split in "01" for learner in ("cnn", "forest")
    }
    for learner in ("cnn", "forest"):
        hits = [row["class"] == row["predicted"] for row in rows if row["learner"] == learner]
        assert np.mean(hits) == pytest.approx(metrics["accuracy"][learner]["mean"])
    assert {row["subject"] for row in rows} <= {
        path.relative_to(folder).as_posix() for path in folder.rglob("*.npy")
    }
    pairs = list(csv.DictReader((run / "p-values.csv").open()))
    assert len(pairs) == 2 * 10  # dimensions, pairs of 5 ROIs
    assert {row["roi"] for row in pairs} == {f"area {i}" for i in range(4)}
    assert all(0 < float(row["p"]) <= 1 for row in pairs)
    assert len(list((run / "matrices").glob("*.npy"))) == 12
    page = done.report.read_text()
    for word in (
        "random forest",
        "P-plots",
        "area 3",
        "clock/lost.npy",
        "PS matrices",
        "PR matrices",
        "surrogate",
    ):
        assert word in page, word
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_a_saved_system_predicts_the_same(trained, folder, tmp_path):
    system, done, _ = trained
    again = zoo.system_class("topo_mci").from_pretrained(done.model)
    assert again.config == system.config
    assert again.atlas.names == system.atlas.names
    first, second = system.predict(folder), again.predict(folder, tmp_path)
    assert first["subjects"] == second["subjects"]
    assert len(first["subjects"]) == 14
    assert np.array_equal(first["probabilities"], second["probabilities"])
    assert np.allclose(first["probabilities"].sum(axis=1), 1)
    assert first["matrices"].shape == (14, 5, 5)
    assert first["classes"] == [first["class_names"][i] for i in first["probabilities"].argmax(axis=1)]
    rows = list(csv.DictReader((tmp_path / "predictions.csv").open()))
    assert [row["predicted"] for row in rows] == first["classes"]
    assert second["files"] == ["predictions.csv"]
    metrics = again.evaluate(folder)
    assert metrics == system.evaluate(folder)
    assert (metrics["subjects"], metrics["of_other_classes"], metrics["skipped"]) == (12, 2, 1)
    truth = [Path(name).parts[0] for name in first["subjects"]]
    hits = [a == b for a, b in zip(truth, first["classes"], strict=True) if a != "other"]
    assert metrics["accuracy"] == pytest.approx(np.mean(hits))


def test_a_finished_run_is_not_trained_again(trained, folder):
    _, done, run = trained
    weights = (done.model / "model.safetensors").read_bytes()
    system = TopoMCI(network="front", zscore=True, classes=["surrogate", "clock"])
    again = system.fit(folder, run, splits=2, held_out=0.4, **QUICK)
    assert again.metrics == done.metrics
    assert again.seconds == done.seconds
    assert (done.model / "model.safetensors").read_bytes() == weights


def test_three_classes_and_every_learner(tmp_path):
    cohort = stand_in(12)
    labels = np.arange(12) % 3
    cohort = from_arrays([one[:3] for one in cohort.series], labels, ["a", "b", "c"])
    system = TopoMCI(homology=0, order="inf", ground="inf")
    options = QUICK | {"max_epochs": 1}
    done = system.fit(cohort, tmp_path, splits=1, baselines=["forest", "densenet"], fdr=True, **options)
    assert set(done.metrics["accuracy"]) == {"cnn", "forest", "densenet"}
    with (tmp_path / "p-values.csv").open() as file:
        assert Counter((row["first"], row["second"]) for row in csv.DictReader(file)) == {
            ("a", "b"): 3,
            ("a", "c"): 3,
            ("b", "c"): 3,
        }
    again = TopoMCI.from_pretrained(done.model)
    assert json.loads((done.model / "config.json").read_text())["order"] == "inf"
    assert again.chain == system.chain
    assert again.predict(cohort)["probabilities"].shape == (12, 3)
    assert "roc_auc" not in again.evaluate(cohort)
    with pytest.raises(ValueError, match="data: 12 ROIs, but the system works on 3"):
        again.predict(stand_in(2))
    with pytest.raises(ValueError, match="no subject is of class a or b or c, which the system knows"):
        again.evaluate(from_arrays([one[:3] for one in stand_in(2).series], [0, 1], ["x", "y"]))


@pytest.mark.parametrize(
    ("config", "error"),
    [
        ({"homology": 3}, "homology must be 0, 1 or 2"),
        ({"dimension": 0}, "dimension"),
        ({"order": "big"}, "order must be a number or 'inf', got 'big'"),
        ({"ground": 3}, "ground"),
        ({"radius": 0.0}, "radius"),
        ({"roi_axis": 2}, "roi_axis"),
        ({"dropout": 1.0}, "dropout"),
        ({"classes": ["a"]}, "classes: want at least two"),
        ({"classes": ["a", "a"]}, "classes: want at least two"),
        ({"rois": 1}, "rois must be at least 2"),
    ],
)
def test_bad_options_are_named(config, error):
    with pytest.raises(ValueError, match=error):
        zoo.create("topo_mci", **config)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"splits": 0}, "splits"),
        ({"held_out": 1.0}, "held_out"),
        ({"baselines": ["svm"]}, "baselines: want some of forest, densenet, got 'svm'"),
        ({"atlas": "/absent.csv"}, "atlas: there is no file"),
    ],
)
def test_bad_options_of_fit_are_named(options, error, folder, tmp_path):
    with pytest.raises((ValueError, FileNotFoundError), match=error):
        TopoMCI().fit(folder, tmp_path, **options)


def test_data_that_cannot_be_learned_from(tmp_path):
    with pytest.raises(ValueError, match=r"data: want at least two classes, a sub-folder each .* got: none"):
        TopoMCI().fit(list(stand_in(3).series), tmp_path)
    with pytest.raises(ValueError, match="no subject of class 'HC'"):
        TopoMCI(classes=["HC", "MCI"]).fit(stand_in(4), tmp_path)
    with pytest.raises(ValueError, match="the series of subject 0 are too short: from 120 samples"):
        TopoMCI(delay=60).fit(stand_in(4), tmp_path)
    system = TopoMCI()
    for use in (system.predict, system.evaluate):
        with pytest.raises(ValueError, match="not trained"):
            use(stand_in(2))
    with pytest.raises(ValueError, match="not trained"):
        system.save_pretrained(tmp_path / "model")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A real 4-D image of two volumes as eight subjects, the second class shifted in one region."""
    root = tmp_path_factory.mktemp("images")
    image = nib.load(Path(data_path) / "example4d.nii.gz").slicer[20:100, 20:84]
    values = np.asarray(image.dataobj, np.float32)
    rng = np.random.default_rng(0)
    for number in range(8):
        name = ("HC", "MCI")[number % 2]
        (root / name).mkdir(exist_ok=True)
        noisy = values + rng.normal(0, 4, values.shape).astype(np.float32)
        noisy[30:45, 25:40, :, 1] += 300 * (number % 2)
        nib.save(nib.Nifti1Image(noisy, image.affine), root / name / f"s{number}.nii.gz")
    places = [(38, 32, 12), (20, 20, 10), (60, 20, 12), (20, 45, 14)]
    points = [nib.affines.apply_affine(image.affine, place) for place in places]
    rows = [f"{name},{x:.2f},{y:.2f},{z:.2f}" for name, (x, y, z) in zip("abcd", points, strict=True)]
    (root / "atlas.csv").write_text("\n".join(["name,x,y,z", *rows]))
    return root


def test_a_real_image_through_the_command_line(images, tmp_path, capsys):
    settings = "--set dimension=1 --set homology=0 --set held_out=0.5 --set splits=1 --batch-size 4"
    line = f"zoo fit topo_mci --data {images} --run-dir {tmp_path / 'run'} {settings} --epochs 2 --quiet"
    assert cli.main(line.split()) == 0
    capsys.readouterr()
    told = f"--model {tmp_path / 'run' / 'model'} --data {images}"
    assert cli.main(f"zoo evaluate topo_mci {told} --json".split()) == 0
    assert json.loads(capsys.readouterr().out)["subjects"] == 8
    (images / "MCI" / "torn.nii").write_bytes(b"nothing")
    assert cli.main(f"zoo predict topo_mci {told} --out {tmp_path / 'out'}".split()) == 0
    assert "skipped MCI/torn.nii" in capsys.readouterr().err
    (images / "MCI" / "torn.nii").unlink()
    assert len(list(csv.reader((tmp_path / "out" / "predictions.csv").open()))) == 9
    # Two volumes make a cloud of two points on a line: one bar, as long as the two means lie apart.
    cohort = TopoMCI.from_pretrained(tmp_path / "run" / "model").load(images)
    bars = np.array([np.abs(np.diff(one, axis=1))[:, 0] for one in cohort.series])
    matrices = np.load(tmp_path / "out" / "predictions.npz")["matrices"]
    longer = np.maximum(bars[:, :, None], bars[:, None])
    shorter = np.minimum(bars[:, :, None], bars[:, None])
    expected = np.minimum(longer - shorter, (longer + shorter) / np.sqrt(2))
    assert np.allclose(matrices, expected, rtol=1e-4, atol=1e-3)
    # The region that was shifted in the second class, the last four subjects, shows in its pairs.
    assert matrices[4:, 0, 1:].min() > matrices[:4, 0, 1:].max()


def test_an_image_of_two_volumes_is_too_short_for_the_published_window(images, tmp_path, capsys):
    assert cli.main(f"zoo fit topo_mci --data {images} --run-dir {tmp_path} --quiet".split()) == 1
    assert "from 2 samples, windows of dimension=3 and delay=1 give 0 points" in capsys.readouterr().err


def test_the_demonstration_writes_its_report(tmp_path, monkeypatch):
    training = demo.TRAINING | {"max_epochs": 1}
    for name, value in {"SUBJECTS": 10, "SPLITS": 1, "TRAINING": training, "DENSENET_EPOCHS": 1}.items():
        monkeypatch.setattr(demo, name, value)
    report = TopoMCI().demo(tmp_path)
    page = report.read_text()
    for word in ("H2, cavities", "Pearson correlations", "DenseNet-121", "P-plots", "PS matrices"):
        assert word in page, word
    assert TopoMCI.from_pretrained(tmp_path / "model").predict(stand_in(2))["probabilities"].shape == (2, 2)


@pytest.mark.slow
def test_acceptance_on_the_stand_in(tmp_path):
    cohort = stand_in(acceptance.SUBJECTS)
    matrices = pr_matrices(cohort.series, acceptance.CHAIN)
    peers = acceptance.peer_check(cohort.series[:2])
    assert peers["diagrams_gap"] < 1e-5
    assert peers["distances_gap"] < 1e-5
    found = acceptance.compare(cohort, matrices, 0, tmp_path, max_epochs=30, batch_size=16, progress=False)
    assert min(found["h0"], found["h1"]) >= 0.90
    assert min(found["h0"], found["h1"]) >= found["pearson"] + 0.20
    ranks = acceptance.rank_sum_check(cohort, matrices)
    for k in ("h0", "h1"):
        assert ranks[f"{k}_hubs_median_p"] < 1e-6
        assert ranks[f"{k}_others_below_0.01"] <= 0.10

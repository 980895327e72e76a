"""mrd_flow from FCS files to a report and labelled FCS files, from Python and from the command line."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch
from flowio import FlowData

from medkernels import cli, zoo
from medkernels.zoo.engine import System
from medkernels.zoo.mrd_flow import acceptance, demo
from medkernels.zoo.mrd_flow.fcs import TOP
from medkernels.zoo.mrd_flow.raw_files import CHANNELS, write_raw
from medkernels.zoo.mrd_flow.sample import Sample
from medkernels.zoo.mrd_flow.standin import stand_in
from medkernels.zoo.mrd_flow.system import MRDFlow

NAMES = [marker for marker, _ in CHANNELS]
QUICK = {"max_epochs": 3, "batch_size": 2, "lr": 5e-3, "progress": False, "tensorboard": False}


@pytest.fixture(autouse=True, scope="module")
def _quiet_threads():
    with acceptance.one_thread():
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Eight raw FCS files, one of them without a gate, and one that is torn."""
    root = tmp_path_factory.mktemp("samples")
    for number, sample in enumerate(stand_in(8, events=400)):
        part = ("train", "train", "train", "valid", "test")[number % 5]
        write_raw(root / part / f"s{number}.fcs", sample)
    (root / "test" / "torn.fcs").write_bytes((root / "test" / "s4.fcs").read_bytes()[:900])
    return root


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory):
    run = tmp_path_factory.mktemp("run")
    system = zoo.create("mrd_flow", picks=8)
    return system, system.fit(folder, run, events=300, **QUICK), run


def test_fit_writes_everything(trained):
    system, done, run = trained
    assert isinstance(system, System)
    assert [name for name, _ in done.skipped] == ["test/torn.fcs"]
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics == done.metrics
    assert metrics["samples"] == {"train": 6, "valid": 1, "test": 1}
    assert metrics["judged_on"] == "test"
    rows = list(csv.DictReader((run / "mrd.csv").open()))
    assert [row["sample"] for row in rows] == ["test/s4.fcs"]
    assert float(rows[0]["f1"]) == pytest.approx(metrics["held_out"]["mean_f1"])
    page = done.report.read_text()
    for word in ("Blasts in flow cytometry", "mean f1", "test/s4.fcs", "test/torn.fcs", "found as by the"):
        assert word in page, word


def test_a_saved_system_gives_the_same_answers(trained, folder, tmp_path):
    system, done, _ = trained
    same = MRDFlow.from_pretrained(done.model)
    assert same.structure == system.structure
    assert same.reading == system.reading
    file = folder / "test" / "s4.fcs"
    one, other = (each.predict(file)["of_events"]["s4.fcs"] for each in (system, same))
    assert np.array_equal(one["probabilities"], other["probabilities"])
    assert same.evaluate(file) == system.evaluate(file)


def test_a_stopped_run_goes_on_exactly(trained, folder, tmp_path):
    weights = []
    for stops in ((1, 2), (2,)):
        for epochs in stops:
            system = MRDFlow(model="gat-st-fps", picks=8)
            run = tmp_path / str(len(stops))
            system.fit(folder, run, events=200, **(QUICK | {"max_epochs": epochs, "schedule": "constant"}))
        weights.append(system.module.state_dict())
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


def test_events_come_out_as_tables_and_fcs_files(trained, folder, tmp_path, capsys):
    _, done, _ = trained
    line = f"zoo predict mrd_flow --model {done.model} --data {folder} --out {tmp_path}"
    assert cli.main(line.split()) == 0
    assert "skipped test/torn.fcs" in capsys.readouterr().err
    answers = MRDFlow.from_pretrained(done.model).predict(folder / "train" / "s1.fcs")
    expected = answers["of_events"]["s1.fcs"]
    rows = list(csv.DictReader((tmp_path / "train" / "s1.events.csv").open()))
    assert [int(row["event"]) for row in rows] == list(range(400))
    judged = [row for row in rows if row["blast"]]
    assert len(judged) == answers["judged"][0]
    assert [int(row["blast"]) for row in judged] == expected["blast"].astype(int).tolist()
    marked = FlowData(tmp_path / "train" / "s1.mrd.fcs")
    assert marked.pnn_labels[-2:] == ["MRD_PROBABILITY", "MRD_BLAST"]
    events = marked.as_array()
    assert np.array_equal(events[:, :-2], FlowData(folder / "train" / "s1.fcs").as_array())
    kept = events[:, -1] >= 0
    assert np.array_equal(events[kept, -2].astype(np.float32), expected["probabilities"])
    assert (events[~kept, -2:] == -1).all()
    table = list(csv.DictReader((tmp_path / "mrd.csv").open()))
    assert len(table) == 8
    assert float(table[0]["mrd"]) == int(table[0]["blasts"]) / int(table[0]["judged"])
    # What was written is not taken for samples when the folder is read.
    again = MRDFlow.from_pretrained(done.model)
    with pytest.raises(ValueError, match="holds no samples"):
        again.predict(tmp_path / "train")


def test_evaluate_on_the_command_line(trained, folder, capsys):
    _, done, _ = trained
    line = f"zoo evaluate mrd_flow --model {done.model} --data {folder} --json"
    assert cli.main(line.split()) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["samples"], found["skipped"]) == (8, 1)
    assert 0 <= found["mean_f1"] <= 1


def test_the_command_line_trains_on_tables(tmp_path, capsys):
    for number, sample in enumerate(stand_in(4, events=200)):
        path = tmp_path / "data" / f"{number}.csv"
        path.parent.mkdir(exist_ok=True)
        np.savetxt(
            path, sample.features.clip(0.01, TOP - 0.01), delimiter=",", header=",".join(NAMES), comments=""
        )
        labels = path.with_name(f"{number}.labels.csv")
        np.savetxt(labels, sample.labels, fmt="%d", header="blast", comments="")
    settings = '--set model=st-fps --set markers=["CD10","CD38","CD34"] --set events=100'
    line = (
        f"zoo fit mrd_flow --data {tmp_path / 'data'} --run-dir {tmp_path / 'run'} {settings} --epochs 1 -q"
    )
    assert cli.main(line.split()) == 0
    assert MRDFlow.from_pretrained(tmp_path / "run" / "model").reading.markers == ("CD10", "CD38", "CD34")
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["samples"] == {"train": 2, "valid": 1, "test": 1}


@pytest.mark.parametrize(
    ("config", "error"),
    [
        ({"model": "gcn"}, "model must be one of gin-st-fps"),
        ({"scaling": "log"}, "scaling must be one of"),
        ({"k": 0}, "k must be an integer of at least 1"),
        ({"picks": 2.5}, "picks must be an integer"),
        ({"points": True}, "points must be an integer"),
        ({"ratio": 0.0}, "ratio must lie in"),
        ({"dropout": 1.0}, "dropout must lie in"),
        ({"markers": []}, "markers: want different names"),
        ({"graph_markers": ["A", "A"]}, "graph_markers: want different names"),
    ],
)
def test_bad_options_are_named(config, error):
    with pytest.raises(ValueError, match=error):
        zoo.create("mrd_flow", **config)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"events": 1}, "events must be"),
        ({"jitter": -1.0}, "jitter must be"),
        ({"smoothing": 1.0}, "smoothing"),
    ],
)
def test_bad_options_of_fit_are_named(options, error, folder, tmp_path):
    with pytest.raises(ValueError, match=error):
        MRDFlow().fit(folder, tmp_path, **options)


def test_data_of_another_kind(tmp_path):
    system = MRDFlow(markers=["A", "B"])
    values = np.zeros((3, 2), np.float32)
    with pytest.raises(ValueError, match="has 10 markers, but the system reads 2: A, B"):
        system.predict(stand_in(1))
    with pytest.raises(TypeError, match="got a ndarray among them"):
        system.predict([values])
    with pytest.raises(ValueError, match=r"no sample can be judged .*nothing tells"):
        system.evaluate(Sample("a", values))
    with pytest.raises(ValueError, match="not finite"):
        system.predict(Sample("a", values * np.float32(np.nan)))
    with pytest.raises(ValueError, match="no events"):
        system.predict(Sample("a", values[:0]))
    with pytest.raises(ValueError, match="no sample can be used"):
        system.predict([])


def test_the_demonstration_writes_its_report(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "PARTS", {"train": 3, "valid": 1, "test": 2})
    monkeypatch.setattr(demo, "TRAINING", demo.TRAINING | {"max_epochs": 1, "progress": False})
    monkeypatch.setattr(demo, "LARGE", 3000)
    page = MRDFlow().demo(tmp_path).read_text()
    for word in ("sampled events", "learnt points", "A whole sample", "MRD, the share", "s04.fcs"):
        assert word in page, word
    assert (tmp_path / "large" / "large.mrd.fcs").is_file()
    assert MRDFlow.from_pretrained(tmp_path / "model").model == "gin-st-fps"


@pytest.mark.slow
def test_acceptance_on_the_stand_in():
    scores = {model: acceptance.mean_f1(model, 0, progress=False) for model in acceptance.MODELS}
    assert scores["gin-st-fps"] >= 0.93
    assert scores["gin-st-fps"] >= scores["mlp"] + 0.08
    assert scores["gin-st-fps"] >= scores["st"] + 0.02

"""drivpocket: the demonstration, proteins left out in turn, and predictions for files."""

from __future__ import annotations

import csv

import pytest

from medkernels.zoo.drivpocket import demo, real
from medkernels.zoo.drivpocket.examples import example
from medkernels.zoo.drivpocket.real import SYSTEM, compare, examples
from medkernels.zoo.drivpocket.system import DRIVPocketSystem


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """The demonstration with two proteins and one epoch."""
    folder = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "examples", lambda: examples(("1t7qa", "1fbl")))
        path = demo.run_demo(folder, max_epochs=1, progress=False)
    assert path == folder / "report.html"
    return folder


def test_the_demonstration_writes_its_report(shown):
    page = (shown / "report.html").read_text()
    for words in (
        "Where a ligand binds: 1fbl",
        "HTA A900",
        "Candidates of all",
        "voxels fused with atoms",
        "Training",
    ):
        assert words in page
    assert page.count("Plotly.newPlot(") >= 1
    assert {path.suffix for path in (shown / "pockets").iterdir()} == {
        ".csv",
        ".pdb",
        ".ply",
        ".pml",
        ".cxc",
        ".html",
    }


def test_the_demonstration_saves_its_system(shown):
    system = DRIVPocketSystem.from_pretrained(shown / "model")
    assert system.ranking == "candidate"
    with (shown / "pockets" / "1fbl_pockets.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    again = system.predict(example("1fbl"))["of_structures"]["1fbl"]
    assert [float(row["score"]) for row in rows] == pytest.approx([one.score for one in again], rel=1e-4)
    assert [one.score for one in again] == sorted((one.score for one in again), reverse=True)


def test_a_comparison_tells_of_every_ligand():
    structure = examples(("1t7qa",))[0]
    pockets, judged, rows = compare(DRIVPocketSystem(**SYSTEM), structure)
    assert [row["ligand"] for row in rows] == ["COA", "152"]
    assert len(judged) == 2
    assert rows[0]["candidate"] == 1
    assert rows[0]["DCC, geometry"] < 6
    assert 0 < rows[0]["overlap, geometry"] < 1
    assert rows[1]["candidate"] is None
    assert {pocket.candidate for pocket in pockets} <= set(range(1, 13))


def test_proteins_left_out_are_printed(monkeypatch, capsys):
    monkeypatch.setattr(real, "examples", lambda: examples(("1t7qa", "1a82a")))
    real.main(["--names", "1t7qa", "--epochs", "1"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("protein  ligand  candidate  DCC, geometry  overlap, geometry")
    assert [line.split()[:2] for line in lines[1:3]] == [["1t7qa", "COA"], ["1t7qa", "152"]]
    assert lines[3].startswith("mean")
    assert lines[4].endswith("s of processor time")

"""The command line: what it prints, its exit status, and what reaches a system."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import medkernels
from medkernels import cli, zoo

pytest.importorskip("typer")
pytest.importorskip("rich")
load_file = pytest.importorskip("safetensors.numpy").load_file


FIT = "zoo fit toy --data data --run-dir run"


@dataclass
class Fitted:
    """What a system returns that saves itself."""

    model: Path
    rank: int


class Toy:
    """A system that remembers how it was used."""

    log: list[Any] = []  # noqa: RUF012

    def __init__(self, width: int = 4, kind: str = "round") -> None:
        self.log.append(("init", width, kind))

    def fit(self, data: Any, run_dir: Any, **options: Any) -> Any:
        if options.get("seed") == 13:
            raise KeyboardInterrupt
        if options.get("seed") == 14:
            raise AttributeError("a mistake of ours")
        self.log.append(("fit", data, run_dir, options))
        if options.get("seed") == 12:
            return Fitted(model=Path("own"), rank=options.get("devices", 1) - 1)
        return {"loss": 0.25, "history": [{"epoch": 1}], "weights": np.zeros(3)}

    def predict(self, inputs: Any, out_dir: Any = None) -> dict[str, Any]:
        return {
            "skipped": [("data/x.png", "not an image")],
            "files": [f"{Path(out_dir).name}.csv"],
            "label": ["a", "b"],
            "scales": (np.arange(6.0).reshape(2, 3), np.float32(2.5)),
            "bad": float("nan"),
        }

    def evaluate(self, data: Any) -> dict[str, float]:
        if "empty" in str(data):
            raise ValueError("data: no image\nin the folder")
        return {"f1": 0.5}

    def demo(self, out_dir: Any) -> Path:
        return Path(out_dir) / "report.html"

    def save_pretrained(self, folder: Any) -> None:
        self.log.append(("save", folder))

    @classmethod
    def from_pretrained(cls, model: Any) -> Toy:
        if model == "broken":
            load_file(Path(model) / "model.safetensors")
        cls.log.append(("load", model))
        return cls()


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    folder = tmp_path / "toy"
    folder.mkdir()
    (folder / "card.md").write_text("# toy: draws nothing\n\nText.\n")
    (folder / "data").mkdir()
    monkeypatch.setattr(zoo, "_REGISTERED", {})
    zoo.register("toy", title="draws nothing", paper="none")(Toy)
    (folder / "system.py").touch()
    monkeypatch.setattr(zoo, "_FOLDER", tmp_path)
    monkeypatch.setattr(Toy, "log", [])
    monkeypatch.chdir(folder)
    return Toy.log


def run(capsys: pytest.CaptureFixture[str], line: str) -> tuple[int, str, str]:
    status = cli.main(line.split())
    out, err = capsys.readouterr()
    return status, out, err


def test_version_and_info(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "--version") == (0, f"medkernels {medkernels.__version__}\n", "")
    status, out, _ = run(capsys, "info --json")
    assert status == 0
    assert json.loads(out) == json.loads(json.dumps(medkernels.info(), default=str))
    status, out, _ = run(capsys, "info")
    assert status == 0
    assert f"version            {medkernels.__version__}" in out
    assert "frameworks.numpy" in out


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("nonsense", "No such command 'nonsense'"),
        ("zoo fit toy", "Missing option"),
        ("zoo card toi", "did you mean 'toy'?"),
        ("zoo evaluate toy --model o/m --data absent", "does not exist"),
        ("zoo evaluate toy --model /absent/model --data data", "neither a folder here"),
        ("zoo predict toy --data data", "toy must be trained first: give --model"),
        ("zoo evaluate toy --model o/m --data data --set width=3", "--set goes without --model"),
        (f"{FIT} --epochs 0", "--epochs"),
        (f"{FIT} --set widht=3", "did you mean 'width'?"),
        (f"{FIT} --set width", "key=value"),
        ("zoo fit toy --data . --run-dir card.md", "--run-dir"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(
    toy: list[Any], capsys: pytest.CaptureFixture[str], line: str, said: str
) -> None:
    status, out, err = run(capsys, line)
    assert (status, out) == (2, "")
    assert said in err
    assert err.startswith("medkernels: ")
    assert err.count("\n") == 1
    assert toy == []


def test_help_everywhere_shows_examples(capsys: pytest.CaptureFixture[str]) -> None:
    systems = [f"zoo {name}" for name in ("list", "card", "fit", "evaluate", "predict", "demo")]
    for command in ["info", "demo", "bench", *systems]:
        status, out, err = run(capsys, f"{command} --help")
        assert (status, err) == (0, "")
        assert f"medkernels {command}" in out.partition("Examples:")[2]
    assert run(capsys, "")[0] == 2


def test_list_and_card(toy: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "zoo list --json")
    assert json.loads(out) == [{"name": "toy", "job": "draws nothing"}]
    _, out, _ = run(capsys, "zoo list")
    assert "draws nothing" in out
    assert run(capsys, "zoo card toy")[1].startswith("# toy: draws nothing")
    _, out, _ = run(capsys, "zoo card toy --json")
    assert json.loads(out)["card"].endswith("Text.\n")
    assert toy == []


def test_fit_hands_each_option_to_its_place(toy: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    line = "zoo fit toy --data data --run-dir run --epochs 3 --lr 0.01 --restart"
    settings = ["width=9", "kind=oval", "clip_norm=0.5", "patience=null"]
    status, out, err = run(capsys, f"{line} --json --set {' --set '.join(settings)}")
    assert (status, err) == (0, "")
    options = {"max_epochs": 3, "lr": 0.01, "resume": False, "clip_norm": 0.5, "patience": None}
    assert toy == [
        ("init", 9, "oval"),
        ("fit", Path("data"), Path("run"), options),
        ("save", Path("run/model")),
    ]
    told = json.loads(out)
    assert told["model"] == "run/model"
    assert told["result"]["weights"] == {"shape": [3], "dtype": "float64"}
    assert "result.loss" in run(capsys, line)[1]


def test_fit_saves_once_and_only_the_first_process_speaks(
    toy: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = run(capsys, f"{FIT} --seed 12 --json")
    assert (status, json.loads(out)["model"]) == (0, "own")
    assert run(capsys, f"{FIT} --seed 12 --devices 2 --json") == (0, "", "")
    assert [entry[0] for entry in toy] == ["init", "fit", "init", "fit"]


def test_evaluate(toy: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "zoo evaluate toy --model o/m --data data --json")
    assert (status, json.loads(out)) == (0, {"f1": 0.5})
    assert toy[0] == ("load", "o/m")
    assert "f1" in run(capsys, "zoo evaluate toy --model o/m --data data")[1]


def test_a_system_that_learns_nothing_needs_no_model(
    toy: list[Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Toy, "learned", False, raising=False)
    assert run(capsys, "zoo evaluate toy --data data --set width=9")[0] == 0
    assert run(capsys, "zoo predict toy --data data --out out --set kind=flat")[0] == 0
    assert toy == [("init", 9, "round"), ("init", 4, "flat")]
    status, _, err = run(capsys, "zoo predict toy --data data --set seed=1")
    assert status == 2
    assert "seed: of the training, not of the system" in err
    assert run(capsys, "zoo evaluate toy --model o/m --data data")[0] == 0
    assert toy[2] == ("load", "o/m")


def test_predict_writes_values_and_arrays(toy: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, "zoo predict toy --model o/m --data data --out out --json")
    assert status == 0
    assert err == "medkernels: skipped data/x.png: not an image\nmedkernels: files skipped: 1\n"
    assert json.loads(out)["files"] == ["out/predictions.json", "out/predictions.npz", "out/out.csv"]
    told = json.loads(Path("out/predictions.json").read_text())
    array, number = told["scales"]
    assert (told["label"], told["bad"], number) == (["a", "b"], None, 2.5)
    assert array == {"array": "scales/0", "shape": [2, 3], "dtype": "float64"}
    with np.load("out/predictions.npz") as arrays:
        np.testing.assert_array_equal(arrays["scales/0"], np.arange(6.0).reshape(2, 3))
    assert sorted(path.name for path in Path("out").iterdir()) == ["predictions.json", "predictions.npz"]


def test_demo_prints_the_report(toy: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "zoo demo toy") == (0, "demo/toy/report.html\n", "")
    _, out, _ = run(capsys, "zoo demo toy --out x --json")
    assert json.loads(out) == {"system": "toy", "report": "x/report.html"}


def test_failure_is_one_line_and_status_1(toy: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    Path("empty").mkdir()
    line = "zoo evaluate toy --model o/m --data empty"
    assert run(capsys, line) == (1, "", "medkernels: data: no image in the folder\n")
    status, _, err = run(capsys, f"{line} --debug")
    assert status == 1
    assert "Traceback" in err


def test_broken_weights_are_named(toy: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    Path("broken").mkdir()
    Path("broken/model.safetensors").write_text("x")
    status, out, err = run(capsys, "zoo predict toy --model broken --data data --out out")
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert "broken holds no readable weights" in err
    assert not Path("out").exists()


def test_interrupt_is_status_130(toy: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, f"{FIT} --seed 13") == (130, "", "medkernels: interrupted\n")


def test_our_own_mistakes_keep_their_traceback(toy: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(AttributeError, match="a mistake of ours"):
        run(capsys, f"{FIT} --seed 14")


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [("info --json", 0, '"version"'), ("--version", 0, "medkernels "), ("zoo list", 2, "pip install")],
)
def test_without_typer(words: str, status: int, said: str) -> None:
    hide = "import sys; sys.modules['typer'] = sys.modules['rich'] = None; import importlib.util as u;"
    hide += "f = u.find_spec; u.find_spec = lambda n, *a: None if n in ('typer', 'rich') else f(n, *a);"
    code = f"{hide} from medkernels.cli import main; sys.exit(main({words.split()!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == status
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stderr

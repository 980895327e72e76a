"""The steps of a GPU machine's check: order, limits, going on, failures; with processes stood in for."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from medkernels.benchmarks import NOT_OPS, gpu, list_ops, load_op
from medkernels.benchmarks.runner import cases

H100 = gpu.Gpu("NVIDIA H100 80GB HBM3", "9.0")
OPS = ["ellipses", "ellipsoids"]


class Machine:
    """Processes that take `cost` seconds of a clock that only they move, and end with the codes given."""

    def __init__(self, codes: dict[str, int] | None = None, cost: float = 1.0) -> None:
        self.codes, self.cost, self.now, self.ran, self.limits = codes or {}, cost, 0.0, [], []
        self.saved: list[dict[str, Any]] = []

    def execute(self, command: Sequence[str], environment: Mapping[str, str], limit: float, log: Path) -> int:
        name = next(step.name for step in gpu.list_steps(H100, OPS) if step.command == list(command))
        self.ran.append(name)
        self.limits.append(limit)
        self.now += min(self.cost, limit)
        log.write_text("first\nlast\n")
        return -9 if self.cost > limit else self.codes.get(name, 0)

    def run(self, state: dict[str, Any], folder: Path, seconds: float = 570.0) -> dict[str, Any]:
        steps = gpu.list_steps(H100, OPS)
        return gpu.run_steps(
            steps,
            state,
            execute=self.execute,
            save=lambda now: self.saved.append(json.loads(json.dumps(now))),
            logs=folder,
            seconds=seconds,
            clock=lambda: self.now,
        )


def test_all_pass(tmp_path: Path) -> None:
    machine = Machine()
    state = machine.run({}, tmp_path)
    assert machine.ran == [step.name for step in gpu.list_steps(H100, OPS)]
    assert machine.ran[0] == "build"
    assert {f"{op}: {tool}" for op in OPS for tool in ("memcheck", "racecheck", "benchmark")} <= set(
        machine.ran
    )
    assert gpu.exit_status(state) == 0
    assert len(machine.saved) == len(machine.ran) + 1


def test_a_failure_does_not_stop_the_others_and_is_run_again(tmp_path: Path) -> None:
    machine = Machine({"ellipses: memcheck": gpu.SANITIZER_FOUND})
    state = machine.run({}, tmp_path)
    assert machine.ran[-1] == "ellipsoids: racecheck"
    assert gpu.exit_status(state) == gpu.FAILED
    assert state["steps"]["ellipses: memcheck"]["tail"] == ["first", "last"]
    assert "  last" in gpu.tell(state)

    again = Machine()
    state = again.run(machine.saved[-1], tmp_path)
    assert again.ran == ["build", "ellipses: memcheck"]
    assert gpu.exit_status(state) == 0
    assert "tail" not in state["steps"]["ellipses: memcheck"]


def test_out_of_time_is_told_and_the_next_call_goes_on(tmp_path: Path) -> None:
    machine = Machine(cost=50.0)
    state = machine.run({}, tmp_path, seconds=205.0)
    assert machine.ran == ["build", "tests", "ellipses: reference", "ellipsoids: reference"]
    assert gpu.exit_status(state) == gpu.UNFINISHED
    again = Machine(cost=50.0)
    state = again.run(state, tmp_path)
    assert again.ran == ["build", *(step.name for step in gpu.list_steps(H100, OPS)[4:])]
    assert gpu.exit_status(state) == 0


def test_steps_are_limited_by_what_is_left(tmp_path: Path) -> None:
    machine = Machine(cost=1000.0)
    state = machine.run({}, tmp_path, seconds=100.0)
    assert machine.limits == [100.0]
    assert state["steps"]["build"]["status"] == "out of time"
    assert gpu.exit_status(state) == gpu.FAILED


def test_nothing_runs_without_a_build(tmp_path: Path) -> None:
    machine = Machine({"build": 1})
    state = machine.run({}, tmp_path)
    assert machine.ran == ["build"]
    assert {step["status"] for name, step in state["steps"].items() if name != "build"} == {"not run"}
    assert gpu.exit_status(state) == gpu.FAILED


def test_execute_takes_the_output_the_status_and_the_limit(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "x.log"
    assert gpu.execute([sys.executable, "-c", "print('said'); exit(4)"], {}, 60.0, log) == 4
    assert log.read_text() == "said\n"
    show = "import os; print(os.environ['OWN'])"
    assert gpu.execute([sys.executable, "-c", show], {"OWN": "1"}, 60.0, log) == 0
    assert log.read_text() == "1\n"
    assert gpu.execute([sys.executable, "-c", "import time; time.sleep(60)"], {}, 0.5, log) == -9
    assert gpu.execute(["no-such-program"], {}, 1.0, log) == 127
    assert "no-such-program" in log.read_text()


def test_results_of_finished_benchmarks_are_taken_in(tmp_path: Path) -> None:
    row = {
        "case": "c",
        "direction": "forward",
        "provider": "medkernels",
        "curve": "",
        "seconds_median": 0.002,
    }
    op = {"rows": [{**row, "share_of_ceiling": 0.5}, {**row, "provider": "peer", "seconds_median": 0.02}]}
    op["rows"][1]["share_of_ceiling"] = None
    folder = tmp_path / "ellipses"
    folder.mkdir()
    (folder / "results.json").write_text(json.dumps({"machine": {"gpu": "x"}, "ops": {"ellipses": op}}))
    passed = {"status": "passed", "seconds": 1.0}
    state = gpu.add_benchmarks({"steps": {"ellipses: benchmark": passed}}, OPS, tmp_path)
    assert state["ops"] == {"ellipses": op}
    lines = gpu.tell(state)
    assert "10.0x" in lines[1]
    assert "50.0% of ceiling" in lines[0]
    assert "ceiling" not in lines[1]
    failed = {"steps": {"ellipses: benchmark": {"status": "failed", "seconds": 1.0}}}
    assert "ops" not in gpu.add_benchmarks(failed, OPS, tmp_path)


def test_main_goes_on_unless_the_sources_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in gpu.SOURCES:
        (tmp_path / folder).mkdir()
    (tmp_path / "CMakeLists.txt").touch()
    (tmp_path / "benchmarks" / "ellipses.py").write_text("1")
    ran: list[str] = []

    def execute(command: Sequence[str], environment: Mapping[str, str], limit: float, log: Path) -> int:
        ran.append(command[-1])
        return 0

    monkeypatch.setattr(gpu, "ROOT", tmp_path)
    monkeypatch.setattr(gpu.fingerprint, "__defaults__", (tmp_path,))
    monkeypatch.setattr(gpu, "execute", execute)
    monkeypatch.setattr(gpu, "find_gpu", lambda: H100)
    assert gpu.main([]) == 0
    assert len(ran) == 6
    state = json.loads((tmp_path / "benchmarks/results/nvidia-h100-80gb-hbm3.json").read_text())
    assert state["gpu"] == H100.name
    assert "passed" in capsys.readouterr().out
    assert (gpu.main([]), len(ran)) == (0, 7)
    assert (gpu.main(["--fresh"]), len(ran)) == (0, 13)
    (tmp_path / "benchmarks" / "ellipses.py").write_text("2")
    assert (gpu.main([]), len(ran)) == (0, 19)


def test_without_a_gpu_it_says_so_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert gpu.main([]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "no NVIDIA GPU" in err


def test_only_files_with_gpu_tests_are_collected() -> None:
    found = gpu.gpu_tests()
    assert gpu.TESTS in found
    assert not any("zoo" in path for path in found)
    command = next(step.command for step in gpu.list_steps(H100, OPS) if step.name == "tests")
    assert command[-len(found) :] == found


def test_find_gpu_reads_the_first_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'NVIDIA H200, 9.0'\necho 'NVIDIA L4, 8.9'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert gpu.find_gpu() == gpu.Gpu("NVIDIA H200", "9.0")
    program.write_text("#!/bin/sh\necho 'failed to talk to the driver'\nexit 9\n")
    assert gpu.find_gpu() is None


def test_the_same_files_are_ops_everywhere() -> None:
    assert gpu.NOT_OPS == NOT_OPS
    assert set(OPS) <= set(gpu.gpu_ops())
    assert gpu.gpu_ops() == [op for op in list_ops() if "cuda" in cases.devices(load_op(op))]

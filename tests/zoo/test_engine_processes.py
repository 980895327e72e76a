"""Two processes on the CPU (gloo) give the weights that one process gives."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from medkernels.zoo.engine import fit
from tests.zoo.jobs import Noisy, assert_same, loss, network, options, weights

ROOT = Path(__file__).parents[2]
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def command(launcher: list[str], run_dir: Path, changes: dict[str, object], *epochs: int) -> list[str]:
    """`tests.zoo.jobs` under a launcher, on 33 items without dropout."""
    given = {"plain": True, "items": 33, "accelerator": "cpu", **changes}
    job = ["-m", "tests.zoo.jobs", str(run_dir), json.dumps(given), *map(str, epochs)]
    return [sys.executable, *launcher, *job]


def popen(arguments: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        arguments,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "changes"), [(TORCHRUN, {}), ([], {"devices": 2})], ids=["torchrun", "own launcher"]
)
def test_two_processes_equal_one(tmp_path: Path, launcher: list[str], changes: dict[str, object]) -> None:
    """33 items in batches of 8 leave one for the last batch: the second process then has none.

    The run is made in two parts, so that resuming is covered as well.
    """
    process = popen(command(launcher, tmp_path / "two", changes, 2, 4))
    printed, _ = process.communicate(timeout=300)
    assert process.returncode == 0, printed
    first = torch.load(tmp_path / "two/weights-0.pt")
    assert_same(first, torch.load(tmp_path / "two/weights-1.pt"))

    alone = network(plain=True)
    data = Noisy(33), Noisy(11, noise=0.0)
    result = fit(alone, *data, tmp_path / "one", options(max_epochs=4), loss=loss)
    for name, expected in weights(alone).items():
        torch.testing.assert_close(first[name], expected, rtol=1e-4, atol=1e-5)
    with (tmp_path / "two/metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    for name in ("epoch", "step", "train_loss", "train_absolute", "valid_loss"):
        expected_rows = pytest.approx([row[name] for row in result.history], rel=1e-4)
        assert [float(row[name]) for row in rows] == expected_rows

    with pytest.raises(ValueError, match="processes: was 2, now 1"):
        fit(alone, *data, tmp_path / "two", options(max_epochs=5, accelerator="cpu"), loss=loss)


@pytest.mark.slow
def test_a_signal_to_one_process_stops_both(tmp_path: Path) -> None:
    """They stop after the same step, and the run goes on from there."""
    changes: dict[str, object] = {"devices": 2, "delay": 0.01, "checkpoint_every_steps": 1}
    process = popen(command([], tmp_path / "two", changes, 200))
    last = tmp_path / "two/checkpoints/last.pt"
    try:
        deadline = time.monotonic() + 120
        while not last.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        printed, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode != 0
    assert "Stopped in epoch " in printed
    state = torch.load(last, weights_only=True)["state"]
    assert 0 < state["epoch"] * 5 + state["step"] < 1000
    process = popen(command([], tmp_path / "two", {**changes, "delay": 0}, state["epoch"] + 1))
    printed, _ = process.communicate(timeout=120)
    assert process.returncode == 0, printed
    assert len(torch.load(last, weights_only=True)["state"]["history"]) == state["epoch"] + 1

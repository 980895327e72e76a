"""Two processes on the CPU (gloo) give the weights that one process gives."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from medkernels.zoo.engine import fit
from tests.zoo.jobs import Noisy, assert_same, loss, network, options, weights

ROOT = Path(__file__).parents[2]
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def run_job(launcher: list[str], run_dir: Path, changes: dict[str, object], *epochs: int) -> None:
    """Run `tests.zoo.jobs` under a launcher; on an error show what it printed."""
    command = [
        sys.executable,
        *launcher,
        "-m",
        "tests.zoo.jobs",
        str(run_dir),
        json.dumps({"plain": True, "items": 33, "accelerator": "cpu", **changes}),
        *map(str, epochs),
    ]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "changes"), [(TORCHRUN, {}), ([], {"devices": 2})], ids=["torchrun", "own launcher"]
)
def test_two_processes_equal_one(tmp_path: Path, launcher: list[str], changes: dict[str, object]) -> None:
    """33 items in batches of 8 leave one for the last batch: the second process then has none.

    The run is made in two parts, so that resuming is covered as well.
    """
    run_job(launcher, tmp_path / "two", changes, 2, 4)
    first = torch.load(tmp_path / "two/weights-0.pt")
    assert_same(first, torch.load(tmp_path / "two/weights-1.pt"))

    alone = network(plain=True)
    result = fit(alone, Noisy(33), Noisy(11, noise=0.0), tmp_path / "one", options(max_epochs=4), loss=loss)
    assert json.loads((tmp_path / "two/config.json").read_text())["processes"] == 2
    for name, expected in weights(alone).items():
        torch.testing.assert_close(first[name], expected, rtol=1e-4, atol=1e-5)
    with (tmp_path / "two/metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    for name in ("epoch", "step", "train_loss", "train_absolute", "valid_loss"):
        assert [float(row[name]) for row in rows] == pytest.approx(
            [row[name] for row in result.history], rel=1e-4
        )


@pytest.mark.slow
def test_resuming_with_another_number_of_processes_is_refused(tmp_path: Path) -> None:
    run_job(TORCHRUN, tmp_path, {}, 1)
    with pytest.raises(ValueError, match="processes: was 2, now 1"):
        fit(
            network(plain=True),
            Noisy(33),
            Noisy(11, noise=0.0),
            tmp_path,
            options(accelerator="cpu"),
            loss=loss,
        )

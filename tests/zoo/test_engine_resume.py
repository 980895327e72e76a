"""A run that is killed, stopped or starved of disk goes on exactly where it was."""

from __future__ import annotations

import csv
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from medkernels.zoo.engine.interrupt import noticed
from tests.zoo.jobs import assert_same, job, loss, network, weights

ROOT = Path(__file__).parents[2]


def last(run_dir: Path) -> dict[str, Any]:
    saved: dict[str, Any] = torch.load(run_dir / "checkpoints" / "last.pt", weights_only=True)
    return saved


class Crash(Exception):
    """Stands for whatever ends a run."""


def act_at(step: int, action: Any) -> Any:
    """The usual loss, with `action` called in the given training step (counted from 1)."""
    calls = 0

    def wrapped(module: Any, batch: Any) -> dict[str, torch.Tensor]:
        nonlocal calls
        calls += module.training
        if calls == step and module.training:
            action()
        return loss(module, batch)

    return wrapped


def crash() -> None:
    raise Crash


def comparable(history: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in history]


@pytest.mark.slow
def test_sigkill_and_resume_is_bit_identical(tmp_path: Path) -> None:
    """A program is killed in the middle of an epoch; what goes on from there ends like a quiet run."""
    changes = {"max_epochs": 6, "checkpoint_every_steps": 2, "schedule": "cosine", "tensorboard": True}
    killed, quiet = tmp_path / "killed", tmp_path / "quiet"
    slowly = json.dumps({**changes, "delay": 0.015})  # event files of one second have no order
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.zoo.jobs", str(killed), slowly],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())},
    )
    try:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and process.poll() is None:
            if (killed / "checkpoints/last.pt").exists():
                state = last(killed)["state"]
                if state["epoch"] >= 2 and state["step"] > 0:
                    break
            time.sleep(0.002)
    finally:
        process.kill()
    assert process.wait() == -signal.SIGKILL
    assert last(killed)["state"]["epoch"] < 6

    (killed / "checkpoints/.last.pt.cut.tmp").touch()  # as a kill in the middle of a write leaves one
    resumed, result = job(killed, **changes)
    whole, expected = job(quiet, **changes)
    assert_same(weights(resumed), weights(whole))
    assert_same(last(killed)["module"], last(quiet)["module"])
    assert comparable(result.history) == comparable(expected.history)
    with (killed / "metrics.csv").open() as file:
        assert [int(row["epoch"]) for row in csv.DictReader(file)] == [1, 2, 3, 4, 5, 6]
    assert sorted(path.name for path in (killed / "checkpoints").iterdir()) == [
        f"best-{result.best_epoch:04d}.safetensors",
        "last.pt",
    ]
    events = EventAccumulator(str(killed / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("valid/loss")] == [row["step"] for row in result.history]


@pytest.mark.parametrize("step", [1, 4, 5, 6, 13])
@pytest.mark.parametrize("every", [1, 3, None])
def test_a_crash_in_any_step(tmp_path: Path, step: int, every: int | None) -> None:
    """Whatever checkpoint is the last one, the weights and the history come out the same."""
    whole, expected = job(tmp_path / "whole", schedule="cosine")
    with pytest.raises(Crash):
        job(tmp_path / "cut", schedule="cosine", loss=act_at(step, crash), checkpoint_every_steps=every)
    resumed, result = job(tmp_path / "cut", schedule="cosine", checkpoint_every_steps=every)
    assert_same(weights(resumed), weights(whole))
    assert comparable(result.history) == comparable(expected.history)
    assert (result.best_epoch, result.best_value) == (expected.best_epoch, expected.best_value)


def test_best_weights_survive_a_crash_between_checkpoints(tmp_path: Path) -> None:
    """Weights that the last checkpoint refers to stay, though better ones came after it."""
    with pytest.raises(Crash):
        job(tmp_path, max_epochs=8, checkpoint_every_epochs=3, loss=act_at(5 * 5 + 2, crash))
    state = last(tmp_path)["state"]
    assert state["epoch"] == 3
    assert (tmp_path / f"checkpoints/best-{state['best_epoch']:04d}.safetensors").exists()
    resumed, result = job(tmp_path, max_epochs=8, checkpoint_every_epochs=3)
    whole, expected = job(tmp_path / "whole", max_epochs=8)
    assert_same(weights(resumed), weights(whole))
    assert result.best_epoch == expected.best_epoch


def test_more_epochs_and_more_patience_may_be_asked_for_later(tmp_path: Path) -> None:
    whole, _ = job(tmp_path / "whole", max_epochs=5)
    job(tmp_path / "parts", max_epochs=2)
    grown, result = job(tmp_path / "parts", max_epochs=5, patience=50)
    assert_same(weights(grown), weights(whole))
    assert len(result.history) == 5


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    module, result = job(tmp_path)
    again, repeated = job(tmp_path, loss=act_at(1, crash))
    assert_same(weights(module), weights(again))
    assert repeated == result


@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)]
)
def test_ctrl_c_saves_and_says_how_to_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], number: signal.Signals, error: type
) -> None:
    before = signal.getsignal(number)
    with pytest.raises(error):
        job(tmp_path / "cut", loss=act_at(8, lambda: os.kill(os.getpid(), number)))
    assert signal.getsignal(number) is before
    said = capsys.readouterr().err.strip()
    assert said.startswith("Stopped in epoch 2 after 3 of 5 steps; saved to ")
    assert said.endswith("last.pt. Run the same command again to go on from there.")
    assert (last(tmp_path / "cut")["state"]["epoch"], last(tmp_path / "cut")["state"]["step"]) == (1, 3)
    resumed, _ = job(tmp_path / "cut")
    whole, _ = job(tmp_path / "whole")
    assert_same(weights(resumed), weights(whole))


def test_ctrl_c_in_validation(tmp_path: Path) -> None:
    """The trained epoch is kept; only its validation is done again."""

    def stop(module: Any, batch: Any) -> dict[str, torch.Tensor]:
        if not module.training:
            os.kill(os.getpid(), signal.SIGINT)
        return loss(module, batch)

    with pytest.raises(KeyboardInterrupt):
        job(tmp_path / "cut", loss=stop)
    assert (last(tmp_path / "cut")["state"]["epoch"], last(tmp_path / "cut")["state"]["step"]) == (0, 5)
    resumed, _ = job(tmp_path / "cut")
    whole, _ = job(tmp_path / "whole")
    assert_same(weights(resumed), weights(whole))


def test_a_second_ctrl_c_acts_at_once() -> None:
    with noticed() as interrupt:
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupt.signal == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_signals_are_left_alone_in_other_threads() -> None:
    found = []

    def body() -> None:
        with noticed() as interrupt:
            found.append((signal.getsignal(signal.SIGINT), interrupt.signal))

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert found == [(signal.getsignal(signal.SIGINT), 0)]


def test_a_failed_write_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    """The system refuses files above a size, as it does when the disk is full."""
    job(tmp_path, max_epochs=1)
    good = (tmp_path / "checkpoints/last.pt").read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(good) - 100, hard))
        with pytest.raises(OSError, match=r"could not write .*last\.pt: .*the checkpoint before it is kept"):
            job(tmp_path, max_epochs=3)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (tmp_path / "checkpoints/last.pt").read_bytes() == good
    assert not [path for path in (tmp_path / "checkpoints").iterdir() if path.suffix == ".tmp"]
    resumed, _ = job(tmp_path, max_epochs=3)
    whole, _ = job(tmp_path / "whole", max_epochs=3)
    assert_same(weights(resumed), weights(whole))


def test_a_failed_write_of_weights_is_an_os_error(tmp_path: Path) -> None:
    large = torch.nn.Sequential(torch.nn.Linear(4, 4096), torch.nn.Linear(4096, 1))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 14, hard))
        with pytest.raises(OSError, match=r"best-0001\.safetensors"):
            job(tmp_path, module=large)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list((tmp_path / "checkpoints").iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lr": 0.02}, r"option lr: was 0\.01, now 0\.02"),
        ({"seed": 9}, "option seed: was 0, now 9"),
        ({"batch_size": 4}, "option batch_size: was 8, now 4"),
        ({"items": 38}, "train items: was 37, now 38"),
        ({"module": network(plain=True)}, r"weight 1\.weight: was \(8,\) float32, now None"),
    ],
)
def test_resuming_with_other_settings_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    job(tmp_path, max_epochs=1)
    before = (tmp_path / "checkpoints/last.pt").read_bytes()
    with pytest.raises(ValueError, match=message):
        job(tmp_path, **{"max_epochs": 2, **changes})
    assert (tmp_path / "checkpoints/last.pt").read_bytes() == before


def test_a_cosine_schedule_cannot_be_stretched(tmp_path: Path) -> None:
    job(tmp_path, max_epochs=1, schedule="cosine")
    with pytest.raises(ValueError, match="option max_epochs: was 1, now 2"):
        job(tmp_path, max_epochs=2, schedule="cosine")


def test_starting_over_removes_the_old_run_and_nothing_else(tmp_path: Path) -> None:
    job(tmp_path, max_epochs=4, tensorboard=True)
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "checkpoints/other.bin").write_text("mine")
    _, result = job(tmp_path, max_epochs=2, seed=3, resume=False)
    assert len(result.history) == 2
    assert (tmp_path / "notes.txt").read_text() == (tmp_path / "checkpoints/other.bin").read_text() == "mine"
    assert not (tmp_path / "tensorboard").exists()
    assert len(list(tmp_path.glob("checkpoints/best-*"))) == 1


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04 cut short"])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, content: bytes) -> None:
    job(tmp_path, max_epochs=1)
    (tmp_path / "checkpoints/last.pt").write_bytes(content)
    with pytest.raises(ValueError, match=r"last\.pt is not a checkpoint this version can read"):
        job(tmp_path)


def test_missing_best_weights_are_named(tmp_path: Path) -> None:
    _, result = job(tmp_path, max_epochs=1)
    result.best_weights.unlink()
    with pytest.raises(ValueError, match=r"best-0001\.safetensors is missing"):
        job(tmp_path)

"""Training: what it learns, logs, watches and refuses."""

from __future__ import annotations

import csv
import json
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from medkernels.zoo.engine import FitOptions, NonFiniteError, fit
from tests.zoo.jobs import Noisy, assert_same, job, loss, network, options, weights


def test_learns_and_logs(tmp_path: Path) -> None:
    _, result = job(tmp_path, max_epochs=20, tensorboard=True)
    assert result.history[-1]["valid_loss"] < 0.5 * result.history[0]["valid_loss"]
    assert [row["epoch"] for row in result.history] == list(range(1, 21))
    assert result.history[-1]["step"] == 20 * 5  # 37 items in batches of 8

    with (tmp_path / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [{name: float(value) for name, value in row.items()} for row in rows] == result.history
    assert {"train_loss", "train_absolute", "valid_loss", "valid_absolute", "lr"} <= rows[0].keys()

    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    logged = [event.value for event in events.Scalars("valid/loss")]
    assert logged == pytest.approx([row["valid_loss"] for row in result.history])
    assert [event.step for event in events.Scalars("step/loss")] == list(range(10, 101, 10))

    config = json.loads((tmp_path / "config.json").read_text())
    assert config["options"]["batch_size"] == 8
    assert config["train items"] == 37
    assert config["versions"]["torch"] == torch.__version__


def test_losses_are_means_over_items(tmp_path: Path) -> None:
    """A short last batch counts by its items: with frozen weights both losses are known."""
    module = network(plain=True)
    expected = loss(module, (Noisy(37).x, Noisy(37).y))["absolute"].item()
    _, result = job(tmp_path, module=module, noise=0.0, lr=1e-30, max_epochs=1)
    assert result.history[0]["train_absolute"] == pytest.approx(expected, rel=1e-6)


def test_holds_the_best_weights(tmp_path: Path) -> None:
    """Weights grow by one each epoch; the watched loss is lowest after the third."""

    class Counter(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.value = nn.Parameter(torch.zeros(1))

    def distance(module: Any, batch: Any) -> dict[str, torch.Tensor]:
        if module.training:
            return {"loss": -module.value.sum()}
        return {"loss": (module.value - 3.1).square().sum()}

    module = Counter()
    sgd = torch.optim.SGD(module.parameters(), lr=1.0)
    result = fit(
        module, Noisy(8), Noisy(8), tmp_path, options(max_epochs=9, patience=4), loss=distance, optimizer=sgd
    )
    assert module.value.item() == 3
    assert (result.best_epoch, result.stopped_early, len(result.history)) == (3, True, 7)
    assert result.best_value == pytest.approx(0.01, rel=1e-3)
    assert [path.name for path in tmp_path.glob("checkpoints/best-*")] == ["best-0003.safetensors"]
    assert not module.training


def test_min_delta_counts_only_real_falls(tmp_path: Path) -> None:
    _, result = job(tmp_path, max_epochs=9, patience=2, min_delta=1e6)
    assert result.stopped_early
    assert len(result.history) == 3  # the first epoch falls from infinity
    assert result.best_value == min(row["valid_loss"] for row in result.history)


def test_without_validation_the_training_loss_is_watched(tmp_path: Path) -> None:
    result = fit(network(), Noisy(16), None, tmp_path, options(), loss=loss)
    assert result.best_value == min(row["train_loss"] for row in result.history)


def test_seed_alone_decides(tmp_path: Path) -> None:
    first, _ = job(tmp_path / "a", seed=1)
    torch.manual_seed(99)
    np.random.seed(99)
    random.seed(99)
    same, _ = job(tmp_path / "b", seed=1)
    other, _ = job(tmp_path / "c", seed=2)
    assert_same(weights(first), weights(same))
    assert not torch.equal(first[0].weight, other[0].weight)


def test_workers_do_not_change_the_result(tmp_path: Path) -> None:
    alone, _ = job(tmp_path / "a", max_epochs=2)
    helped, _ = job(tmp_path / "b", max_epochs=2, num_workers=2)
    assert_same(weights(alone), weights(helped))


def test_leaves_the_callers_generators_alone(tmp_path: Path) -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    job(tmp_path, max_epochs=1)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])
    assert random.getstate() == before[2]


def test_bf16_mixed(tmp_path: Path) -> None:
    seen = set()

    def watch(module: Any, batch: Any) -> dict[str, torch.Tensor]:
        seen.add(module[0](batch[0]).dtype)
        return loss(module, batch)

    module, result = job(tmp_path, loss=watch, precision="bf16-mixed", max_epochs=10)
    assert seen == {torch.bfloat16}
    assert module[0].weight.dtype == torch.float32
    assert result.history[-1]["train_loss"] < result.history[0]["train_loss"]


def test_learning_rate_schedule(tmp_path: Path) -> None:
    """The rate of each epoch's last step: 2 steps an epoch, 3 of warm-up, then half a cosine over 7."""
    _, result = job(tmp_path, items=16, max_epochs=5, schedule="cosine", warmup_steps=3, lr=0.1)
    cosine = [0.05 * (1 + math.cos(math.pi * step / 7)) for step in (0, 2, 4, 6)]
    assert [row["lr"] for row in result.history] == pytest.approx([0.1 * 2 / 4, *cosine])


def test_learning_rate_in_steps(tmp_path: Path) -> None:
    _, result = job(tmp_path, items=16, max_epochs=5, schedule="step", step_epochs=2, step_factor=0.5, lr=0.1)
    assert [row["lr"] for row in result.history] == pytest.approx([0.1, 0.1, 0.05, 0.05, 0.025])


def test_clip_norm(tmp_path: Path) -> None:
    module = network(plain=True)
    before = weights(module)
    sgd = torch.optim.SGD(module.parameters(), lr=1.0)
    chosen = options(max_epochs=1, batch_size=16, clip_norm=1e-3)
    fit(module, Noisy(16), None, tmp_path, chosen, loss=loss, optimizer=sgd)
    moved = sum((module.state_dict()[name] - before[name]).square().sum() for name in before)
    assert moved.sqrt().item() == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_non_finite_loss_names_the_step_and_keeps_the_checkpoint(tmp_path: Path, bad: float) -> None:
    calls = 0

    def breaks(module: Any, batch: Any) -> dict[str, torch.Tensor]:
        nonlocal calls
        terms = loss(module, batch)
        calls += module.training
        return {**terms, "loss": terms["loss"] * (bad if calls == 8 else 1)}

    with pytest.raises(NonFiniteError, match=r"epoch 2, step 3 \(step 8 of the run\): .*loss=(nan|inf)"):
        job(tmp_path, loss=breaks)
    saved = torch.load(tmp_path / "checkpoints" / "last.pt", weights_only=True)
    assert (saved["state"]["epoch"], saved["state"]["step"]) == (1, 0)
    assert all(torch.isfinite(tensor).all() for tensor in saved["module"].values())


def test_non_finite_weights_are_not_saved(tmp_path: Path) -> None:
    """The gradient of sqrt at 0 is infinite though the loss is 0."""

    def root(module: Any, batch: Any) -> dict[str, torch.Tensor]:
        return {"loss": (module(batch[0]) * 0).square().sum().sqrt()}

    with pytest.raises(NonFiniteError, match=r"weight 0\.weight .* epoch 1"):
        fit(network(plain=True), Noisy(8), None, tmp_path, options(), loss=root)
    assert not (tmp_path / "checkpoints" / "last.pt").exists()


def test_non_finite_validation_loss(tmp_path: Path) -> None:
    def breaks(module: Any, batch: Any) -> dict[str, torch.Tensor]:
        return {"loss": loss(module, batch)["loss"] * (1 if module.training else math.nan)}

    with pytest.raises(NonFiniteError, match="validation loss is nan in epoch 1"):
        job(tmp_path, loss=breaks)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"module": "net"}, TypeError, "module must be a torch.nn.Module, got str"),
        ({"module": nn.ReLU()}, ValueError, "module has no trainable parameter"),
        ({"train": 3}, TypeError, "train must be a map-style data set"),
        ({"train": []}, ValueError, "train is empty"),
        ({"valid": []}, ValueError, "valid is empty"),
        ({"optimizer": "adam"}, TypeError, "optimizer must be a torch.optim.Optimizer"),
        ({"optimizer": torch.optim.SGD(network().parameters())}, ValueError, "not the module's"),
        ({"options": options(drop_last=True, batch_size=99)}, ValueError, "fewer than batch_size=99"),
        ({"loss": lambda module, batch: 3.0}, TypeError, "loss must return a dictionary"),
        ({"loss": lambda module, batch: {"mse": torch.ones(1)}}, TypeError, "with a tensor 'loss'"),
        (
            {"loss": lambda module, batch: {"loss": module(batch[0])}},
            ValueError,
            r"scalar, got shape \(8, 1\)",
        ),
        ({"loss": lambda module, batch: {"loss": torch.ones(())}}, ValueError, "does not depend on"),
    ],
)
def test_bad_arguments(tmp_path: Path, changes: dict[str, Any], error: type, message: str) -> None:
    arguments = {"module": network(), "train": Noisy(16), "valid": None, "options": options(), "loss": loss}
    with pytest.raises(error, match=message):
        fit(run_dir=tmp_path, **{**arguments, **changes})
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"max_epochs": 0}, ValueError),
        ({"batch_size": 2.5}, TypeError),
        ({"batch_size": True}, TypeError),
        ({"lr": 0.0}, ValueError),
        ({"lr": math.nan}, ValueError),
        ({"lr": "fast"}, TypeError),
        ({"weight_decay": -1.0}, ValueError),
        ({"seed": -1}, ValueError),
        ({"patience": 0}, ValueError),
        ({"clip_norm": 0.0}, ValueError),
        ({"precision": "16"}, ValueError),
        ({"schedule": "stairs"}, ValueError),
        ({"step_epochs": 0}, ValueError),
        ({"step_factor": 0.0}, ValueError),
        ({"devices": 0}, ValueError),
        ({"checkpoint_every_steps": 0}, ValueError),
    ],
)
def test_bad_options(change: dict[str, Any], error: type) -> None:
    with pytest.raises(error, match=f"^{next(iter(change))} must be"):
        FitOptions(**change)

"""The training loop: steps, epochs, validation, and when to save."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from medkernels.zoo.engine import checkpoint
from medkernels.zoo.engine.checkpoint import NonFiniteError, TrainState
from medkernels.zoo.engine.interrupt import Interrupt
from medkernels.zoo.engine.logs import Events, Row, Show, console, progress_bar, write_csv
from medkernels.zoo.engine.options import FitOptions
from medkernels.zoo.engine.randomness import VALID_STREAM, BatchPlan, kept_rng, rng_state, seed_all

Loss = Callable[[Any, Any], Mapping[str, Tensor]]

# Steps between two single-step entries in the TensorBoard log.
_LOG_EVERY = 10


class LossStep(nn.Module):
    """Module and loss as one, so that precision and gradient exchange cover all that the loss calls."""

    def __init__(self, module: nn.Module, loss: Loss) -> None:
        super().__init__()
        self.module = module
        self.loss = loss

    def forward(self, batch: Any) -> dict[str, Tensor]:
        """Loss terms of a batch, as scalars."""
        terms = self.loss(self.module, batch)
        if not isinstance(terms, Mapping) or not isinstance(terms.get("loss"), Tensor):
            raise TypeError(f"loss must return a dictionary with a tensor 'loss', got {type(terms).__name__}")
        for name, value in terms.items():
            if value.numel() != 1:
                raise ValueError(f"loss: term {name!r} must be a scalar, got shape {tuple(value.shape)}")
        return {name: value.reshape(()) for name, value in terms.items()}


@dataclass
class Data:
    """A loader and the plan that tells it which items to load."""

    plan: BatchPlan
    loader: DataLoader[Any]

    def batches(self, epoch: int, start: int) -> Iterator[tuple[int, Any]]:
        """Number and content of each batch of an epoch, from batch `start` on."""
        self.plan.go_to(epoch, start)
        return enumerate(self.loader, start)


@dataclass
class Run:
    """All that one training run works with."""

    fabric: Fabric
    options: FitOptions
    folder: Path
    module: nn.Module
    model: Any  # LossStep as Fabric wraps it
    optimizer: Optimizer
    stepper: Any  # the optimiser as Fabric wraps it
    rates: list[float]  # learning rate of each parameter group, before the schedule
    train: Data
    valid: Data | None
    settings: dict[str, Any]  # what a resumed run must share
    state: TrainState
    events: Events
    saved_best: int = 0  # best epoch to which the last checkpoint refers

    @property
    def steps(self) -> int:
        """Steps done in all."""
        return self.state.epoch * self.train.plan.batches + self.state.step

    @property
    def exhausted(self) -> bool:
        """Whether early stopping ends the run."""
        patience = self.options.patience
        return patience is not None and self.state.stalled >= patience


class _Stopped(Exception):
    """A signal asked some process of the run to stop."""


def train(run: Run, interrupt: Interrupt) -> None:
    """Train until the last epoch, early stopping, or a signal.

    Raises
    ------
    KeyboardInterrupt, SystemExit
        After SIGINT and SIGTERM; the checkpoint is then saved.
    NonFiniteError
        If the loss or the weights become infinite or not a number.
    """
    begun = time.monotonic() - run.state.seconds
    total = run.options.max_epochs * run.train.plan.batches
    enabled = run.options.progress and run.fabric.global_rank == 0
    try:
        with progress_bar(enabled=enabled, total=total, done=run.steps) as show:
            while run.state.epoch < run.options.max_epochs and not run.exhausted:
                _epoch(run, interrupt, show, begun)
    except _Stopped:
        run.state.seconds = time.monotonic() - begun
        save(run)
        if run.fabric.global_rank == 0:
            console.print(
                f"Stopped in epoch {run.state.epoch + 1} after {run.state.step} of {run.train.plan.batches} "
                f"steps; saved to {checkpoint.last_path(run.folder)}. "
                "Run the same command again to go on from there.",
                soft_wrap=True,
                markup=False,
                highlight=False,
            )
        if not interrupt.signal:  # another process was asked
            raise KeyboardInterrupt from None
    if interrupt.signal == signal.SIGTERM:
        raise SystemExit(128 + signal.SIGTERM)
    if interrupt.signal:
        raise KeyboardInterrupt


def save(run: Run) -> None:
    """Write the full checkpoint, from the first process."""
    states = _gather(run.fabric, rng_state())
    if run.fabric.global_rank == 0:
        checkpoint.check_finite(run.module, f"in epoch {run.state.epoch + 1}, step {run.state.step}")
        run.events.flush()
        content = {
            "settings": run.settings,
            "module": run.module.state_dict(),
            "optimizer": run.optimizer.state_dict(),
            "precision": run.fabric.strategy.precision.state_dict(),
            "rng": states,
        }
        checkpoint.save_last(run.folder, run.state, content)
    run.fabric.barrier()
    run.saved_best = run.state.best_epoch


def _epoch(run: Run, interrupt: Interrupt, show: Show, begun: float) -> None:
    """Train one epoch, or what is left of it, then validate, log and save."""
    state, options = run.state, run.options
    run.model.train()
    for number, batch in run.train.batches(state.epoch, state.step):
        stop = _step(run, number, batch, interrupt, show)
        every = options.checkpoint_every_steps
        if stop:
            raise _Stopped
        if every and run.steps % every == 0 and state.step < run.train.plan.batches:
            state.seconds = time.monotonic() - begun
            save(run)

    means = {f"train_{name}": value / state.weight for name, value in state.sums.items()}
    if run.valid:
        means |= {f"valid_{name}": value for name, value in _validate(run, run.valid, interrupt).items()}
    rate = run.optimizer.param_groups[0]["lr"]
    steps = run.steps
    state.epoch, state.step, state.sums, state.weight = state.epoch + 1, 0, {}, 0.0
    state.seconds = time.monotonic() - begun
    row: Row = {"epoch": state.epoch, "step": steps, "lr": rate, **means, "seconds": round(state.seconds, 3)}
    state.history.append(row)
    better = _judge(state, means["valid_loss" if run.valid else "train_loss"], options.min_delta)
    if run.fabric.global_rank == 0:
        if better:
            checkpoint.check_finite(run.module, f"in epoch {state.epoch}")
            checkpoint.save_best(run.folder, run.module, state, keep=run.saved_best)
        write_csv(run.folder / "metrics.csv", state.history)
        run.events.add({name.replace("_", "/", 1): value for name, value in means.items()}, steps)
        run.events.add({"lr": rate}, steps)
    last = state.epoch == options.max_epochs or run.exhausted
    if last or state.epoch % options.checkpoint_every_epochs == 0:
        save(run)


def _step(run: Run, number: int, batch: Any, interrupt: Interrupt, show: Show) -> bool:
    """Take one step; returns whether some process was asked to stop."""
    state, options, fabric = run.state, run.options, run.fabric
    mine, total = run.train.plan.share(number)
    factor = _factor(run.steps, run.train.plan.batches * options.max_epochs, options)
    for group, rate in zip(run.optimizer.param_groups, run.rates, strict=True):
        group["lr"] = rate * factor
    terms = run.model(fabric.to_device(batch))
    loss = terms["loss"]
    if not loss.requires_grad:
        raise ValueError("loss: the returned 'loss' does not depend on any trainable parameter")
    run.optimizer.zero_grad(set_to_none=True)
    # Gradients are averaged over processes; this makes it the mean over the items of the whole batch.
    weight = mine * fabric.world_size / total
    fabric.backward(loss if weight == 1 else loss * weight)
    sums, stop = _total(fabric, {name: value.item() * mine for name, value in _detached(terms)}, interrupt)
    value = sums["loss"] / total
    where = f"epoch {state.epoch + 1}, step {number + 1} (step {run.steps + 1} of the run)"
    if not math.isfinite(value):
        found = ", ".join(f"{name}={term / total}" for name, term in sums.items())
        kept = checkpoint.last_path(run.folder)
        raise NonFiniteError(
            f"the loss is not finite in {where}: {found}. Lower lr, set clip_norm, or check the data. "
            + (f"{kept} is from before this step." if kept.exists() else "No checkpoint was written yet.")
        )
    if options.clip_norm is not None:
        fabric.clip_gradients(run.model, run.stepper, max_norm=options.clip_norm, error_if_nonfinite=False)
    run.stepper.step()
    for name, term in sums.items():
        state.sums[name] = state.sums.get(name, 0.0) + term
    state.weight += total
    state.step = number + 1
    if run.steps % _LOG_EVERY == 0:
        run.events.add({"step/loss": value}, run.steps)
    best = f", best {state.best_value:.4g}" if state.best_epoch else ""
    show(
        f"epoch {state.epoch + 1}/{options.max_epochs} step {state.step}/{run.train.plan.batches} "
        f"loss {value:.4g}{best}",
        run.steps,
    )
    return stop


def _validate(run: Run, data: Data, interrupt: Interrupt) -> dict[str, float]:
    """Mean of each loss term over the validation set; leaves the training's random state alone."""
    sums: dict[str, float] = {}
    run.model.eval()
    with kept_rng(), torch.no_grad():
        seed_all(run.options.seed, VALID_STREAM, run.fabric.global_rank)
        for number, batch in data.batches(0, 0):
            if interrupt.signal and run.fabric.world_size == 1:
                raise _Stopped
            terms = run.model(run.fabric.to_device(batch))
            mine, _ = data.plan.share(number)
            for name, value in _detached(terms):
                sums[name] = sums.get(name, 0.0) + value.item() * mine
    sums, _ = _total(run.fabric, sums, interrupt)
    means = {name: value / data.plan.length for name, value in sums.items()}
    if not math.isfinite(means["loss"]):
        raise NonFiniteError(f"the validation loss is {means['loss']} in epoch {run.state.epoch + 1}")
    return means


def _judge(state: TrainState, value: float, min_delta: float) -> bool:
    """Take note of an epoch's watched loss; returns whether it is the lowest so far."""
    if value < state.mark - min_delta:
        state.mark, state.stalled = value, 0
    else:
        state.stalled += 1
    if value < state.best_value:
        state.best_value, state.best_epoch = value, state.epoch
        return True
    return False


def _factor(step: int, total: int, options: FitOptions) -> float:
    """Factor on the learning rate at a step: linear warm-up, then constant, half a cosine or in steps."""
    if step < options.warmup_steps:
        return (step + 1) / (options.warmup_steps + 1)
    if options.schedule == "constant":
        return 1.0
    if options.schedule == "step":
        epoch = step * options.max_epochs // total
        return options.step_factor ** (epoch // options.step_epochs)
    done = (step - options.warmup_steps) / max(1, total - options.warmup_steps)
    return 0.5 + 0.5 * math.cos(math.pi * done)


def _detached(terms: Mapping[str, Tensor]) -> list[tuple[str, Tensor]]:
    """Loss terms by name, moved to the CPU together."""
    names = sorted(terms)
    values = torch.stack([terms[name].detach().float() for name in names]).cpu()
    return list(zip(names, values, strict=True))


def _total(fabric: Fabric, sums: dict[str, float], interrupt: Interrupt) -> tuple[dict[str, float], bool]:
    """Sums over all processes, and whether any of them was asked to stop."""
    if fabric.world_size == 1:
        return sums, bool(interrupt.signal)
    mine = torch.tensor([float(bool(interrupt.signal)), *sums.values()], dtype=torch.float64)
    total = fabric.all_reduce(mine.to(fabric.device), reduce_op="sum")
    stop, *values = cast(Tensor, total).tolist()
    return dict(zip(sums, values, strict=True)), stop > 0


def _gather(fabric: Fabric, state: dict[str, Any]) -> list[dict[str, Any]]:
    """One process's state from each of them."""
    if fabric.world_size == 1:
        return [state]
    states: list[Any] = [None] * fabric.world_size
    torch.distributed.all_gather_object(states, state)
    return states

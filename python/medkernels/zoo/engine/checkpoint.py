"""Checkpoints: everything a run needs to go on as if it had never stopped.

A run folder holds::

    config.json                        options, module, data sizes, versions
    metrics.csv                        one line an epoch
    tensorboard/                       the same as events, and the loss of single steps
    checkpoints/last.pt                weights, optimiser, random states, position, history
    checkpoints/best-0007.safetensors  weights after the best epoch, here the seventh
"""

from __future__ import annotations

import math
import pickle
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_model
from torch import nn

from medkernels.zoo.engine.files import replacing
from medkernels.zoo.engine.logs import Row

FORMAT = 1


class NonFiniteError(ArithmeticError):
    """The loss or the weights became infinite or not a number."""


@dataclass
class TrainState:
    """Where a run stands.

    Attributes
    ----------
    epoch, step : int
        Whole epochs done, and steps done in the one begun.
    sums, weight
        Of that epoch so far: each loss term summed over items, and the number of items.
    history : list of dict
        One row for each whole epoch.
    best_epoch, best_value
        The epoch (counted from 1; 0 for none) of the lowest watched loss, and that loss.
    mark, stalled
        For early stopping: the last loss that was lower by ``min_delta``, and epochs since then.
    seconds : float
        Time spent, over all sessions.
    """

    epoch: int = 0
    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    weight: float = 0.0
    history: list[Row] = field(default_factory=list)
    best_epoch: int = 0
    best_value: float = math.inf
    mark: float = math.inf
    stalled: int = 0
    seconds: float = 0.0


def last_path(run_dir: Path) -> Path:
    """The full checkpoint of a run."""
    return run_dir / "checkpoints" / "last.pt"


def best_path(run_dir: Path, epoch: int) -> Path:
    """The weights after an epoch (counted from 1) that was the best so far."""
    return run_dir / "checkpoints" / f"best-{epoch:04d}.safetensors"


def write_weights(path: Path, module: nn.Module) -> None:
    """Write a module's weights as safetensors, whole or not at all.

    Raises
    ------
    OSError
        If they cannot be written.
    """
    try:
        with replacing(path) as temporary:
            save_model(module, str(temporary))
    except SafetensorError as error:
        raise OSError(f"could not write {path}: {error}") from error


def save_best(run_dir: Path, module: nn.Module, state: TrainState, keep: int) -> None:
    """Write the weights of ``state.best_epoch``.

    Older ones go, but for those of epoch `keep`, to which the last full checkpoint refers: the run may
    be killed before the next.
    """
    write_weights(best_path(run_dir, state.best_epoch), module)
    _tidy(run_dir, {state.best_epoch, keep})


def save_last(run_dir: Path, state: TrainState, content: Mapping[str, Any]) -> None:
    """Write the full checkpoint; the one before it stays until this one is whole.

    Raises
    ------
    OSError
        If it cannot be written; the one before it is then still in place.
    """
    path = last_path(run_dir)
    try:
        with replacing(path) as temporary:
            torch.save({"format": FORMAT, "state": asdict(state), **content}, temporary)
    except (OSError, RuntimeError) as error:
        # torch reports a full disk as a RuntimeError of its zip writer.
        kept = "the checkpoint before it is kept" if path.exists() else "there is none before it"
        raise OSError(f"could not write {path}: {error}; {kept}") from error
    _tidy(run_dir, {state.best_epoch})


def load_last(run_dir: Path) -> dict[str, Any] | None:
    """Read the full checkpoint, or return None if there is none.

    Raises
    ------
    ValueError
        If the file is damaged or of another format.
    """
    path = last_path(run_dir)
    if not path.exists():
        return None
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        if content["format"] != FORMAT:
            raise KeyError(f"format {content['format']}")
        state = TrainState(**content["state"])
    except (RuntimeError, EOFError, KeyError, TypeError, pickle.UnpicklingError) as error:
        raise ValueError(
            f"{path} is not a checkpoint this version can read ({error}); "
            "give another run_dir, or resume=False to start over"
        ) from error
    if state.best_epoch and not best_path(run_dir, state.best_epoch).is_file():
        raise ValueError(
            f"{best_path(run_dir, state.best_epoch)} is missing; "
            "give another run_dir, or resume=False to start over"
        )
    return {**content, "state": state}


def clear(run_dir: Path) -> None:
    """Remove what an earlier run left in `run_dir`, and nothing else."""
    last_path(run_dir).unlink(missing_ok=True)
    _tidy(run_dir, set())
    (run_dir / "metrics.csv").unlink(missing_ok=True)
    if (run_dir / "tensorboard").is_dir():
        shutil.rmtree(run_dir / "tensorboard")


def check_finite(module: nn.Module, when: str) -> None:
    """Raise `NonFiniteError` if a weight is infinite or not a number."""
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise NonFiniteError(f"weight {name} became infinite or not a number {when}")


def differences(was: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Entries in which two nested dictionaries differ, as ``name: was x, now y``."""
    found = []
    for key in dict.fromkeys([*was, *now]):
        old, new = was.get(key), now.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += differences(old, new, f"{prefix}{key} ")
        elif old != new:
            found.append(f"{prefix}{key}: was {old}, now {new}")
    return found


def _tidy(run_dir: Path, keep: set[int]) -> None:
    kept = {best_path(run_dir, epoch) for epoch in keep}
    for path in (run_dir / "checkpoints").glob("best-*.safetensors"):
        if path not in kept:
            path.unlink()
    for path in (run_dir / "checkpoints").glob(".*.tmp"):  # a kill in the middle of a write leaves one
        path.unlink()

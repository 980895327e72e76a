"""Options of a training run."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

Precision = Literal["32-true", "64-true", "bf16-mixed", "16-mixed", "bf16-true"]
Schedule = Literal["constant", "cosine", "step"]

# What may change between the runs that make up one training: none of these alters a step already
# taken or the steps that would follow it.
RESUMABLE = frozenset(
    {
        "max_epochs",
        "patience",
        "accelerator",
        "num_workers",
        "resume",
        "progress",
        "tensorboard",
        "checkpoint_every_epochs",
        "checkpoint_every_steps",
    }
)


@dataclass(frozen=True)
class FitOptions:
    """Options of `medkernels.zoo.engine.fit`.

    Attributes
    ----------
    max_epochs : int
        Passes over the training data.
    batch_size : int
        Items a step over all processes together, so that the number of processes does not change
        the result; each of ``n`` processes takes a ``n``-th of every batch.
    lr, weight_decay : float
        Of the default optimiser, AdamW. Not used when an optimiser is given.
    schedule : {"constant", "cosine", "step"}
        Factor on the learning rate: 1, half a cosine from 1 to 0 over all steps, or `step_factor` once more
        every `step_epochs`.
    step_epochs : int
    step_factor : float
    warmup_steps : int
        The factor rises linearly over so many first steps.
    clip_norm : float, optional
        Largest gradient norm; larger gradients are scaled down to it.
    seed : int
        Draws the order of the data, augmentation and dropout; nothing else draws them.
    patience : int, optional
        Stop after so many epochs in which the validation loss did not fall by more than `min_delta`.
    min_delta : float
        The least fall of the validation loss that counts as better.
    drop_last : bool
        Leave out the last, smaller batch of an epoch.
    precision : str
        As Fabric names it: "32-true", "64-true", "bf16-mixed", "16-mixed" (GPU), "bf16-true".
    accelerator : str
        "auto", "cpu", "cuda" or another of Fabric's.
    devices, num_nodes : int
        Processes a node, and nodes. Under ``torchrun`` both are taken from it. Otherwise, with more
        than one device, the running script is started once more for every further device.
    find_unused_parameters : bool
        Needed with several processes if some parameters take no part in some steps.
    num_workers : int
        Processes that load data; 0 loads in the training process. Does not change the result.
    resume : bool
        Go on from the checkpoint in the run folder if there is one. False starts over and removes it.
    checkpoint_every_epochs : int
        A checkpoint after so many epochs; there is always one at the end and on Ctrl-C.
    checkpoint_every_steps : int, optional
        Also one after so many steps, for long epochs.
    progress : bool
        Show a progress bar if the error stream is a terminal.
    tensorboard : bool
        Write TensorBoard logs.

    Raises
    ------
    TypeError, ValueError
        If an option has the wrong type or is out of range; the message names it.
    """

    max_epochs: int = 50
    batch_size: int = 16
    lr: float = 1e-3
    weight_decay: float = 0.0
    schedule: Schedule = "constant"
    step_epochs: int = 5
    step_factor: float = 0.9
    warmup_steps: int = 0
    clip_norm: float | None = None
    seed: int = 0
    patience: int | None = None
    min_delta: float = 0.0
    drop_last: bool = False
    precision: Precision = "32-true"
    accelerator: str = "auto"
    devices: int = 1
    num_nodes: int = 1
    find_unused_parameters: bool = False
    num_workers: int = 0
    resume: bool = True
    checkpoint_every_epochs: int = 1
    checkpoint_every_steps: int | None = None
    progress: bool = True
    tensorboard: bool = True

    def __post_init__(self) -> None:
        for name in (
            "max_epochs",
            "batch_size",
            "devices",
            "num_nodes",
            "checkpoint_every_epochs",
            "step_epochs",
        ):
            _check_int(name, getattr(self, name), 1)
        for name in ("patience", "checkpoint_every_steps"):
            if getattr(self, name) is not None:
                _check_int(name, getattr(self, name), 1)
        for name in ("seed", "warmup_steps", "num_workers"):
            _check_int(name, getattr(self, name), 0)
        for name in ("weight_decay", "min_delta"):
            _check_float(name, getattr(self, name), zero=True)
        for name in ("lr", "step_factor"):
            _check_float(name, getattr(self, name), zero=False)
        if self.clip_norm is not None:
            _check_float("clip_norm", self.clip_norm, zero=False)
        _check_choice("precision", self.precision, get_args(Precision))
        _check_choice("schedule", self.schedule, get_args(Schedule))

    def fixed(self) -> dict[str, Any]:
        """The options that a resumed run must share with the run it goes on from."""
        return {name: value for name, value in asdict(self).items() if name not in RESUMABLE}


def _check_int(name: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")


def _check_float(name: str, value: object, *, zero: bool) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number, got {value!r}")
    if not math.isfinite(value) or value < 0 or (value == 0 and not zero):
        raise ValueError(f"{name} must be finite and {'at least' if zero else 'above'} 0, got {value}")


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")

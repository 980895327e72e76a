"""`fit`: one training loop for every system, on Lightning Fabric."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.torch import load_model
from torch import nn
from torch.optim import Optimizer
from torch.utils.data import Dataset

from medkernels.zoo.engine import checkpoint
from medkernels.zoo.engine.checkpoint import NonFiniteError
from medkernels.zoo.engine.interrupt import noticed
from medkernels.zoo.engine.logs import Row
from medkernels.zoo.engine.options import FitOptions
from medkernels.zoo.engine.randomness import TRAIN_STREAM, kept_rng, seed_all

if TYPE_CHECKING:
    from medkernels.zoo.engine.loop import Loss

__all__ = ["FitResult", "NonFiniteError", "fit"]


@dataclass(frozen=True)
class FitResult:
    """What `fit` returns.

    Attributes
    ----------
    history : list of dict
        One row an epoch: ``epoch`` (from 1), ``step``, ``lr``, ``train_<term>``, ``valid_<term>``,
        ``seconds``. Losses are means over items.
    best_epoch : int
        The epoch (from 1) with the lowest watched loss: the validation loss, or the training loss if
        there is no validation set.
    best_value : float
        That loss.
    best_weights : Path
        The safetensors file of that epoch's weights.
    stopped_early : bool
        Whether `patience` ended the run.
    seconds : float
        Time spent, over all sessions of the run.
    run_dir : Path
        The run folder.
    rank : int
        This process; write files only where it is 0.
    """

    history: list[Row]
    best_epoch: int
    best_value: float
    best_weights: Path
    stopped_early: bool
    seconds: float
    run_dir: Path
    rank: int


def fit(
    module: nn.Module,
    train: Dataset[Any],
    valid: Dataset[Any] | None,
    run_dir: str | Path,
    options: FitOptions,
    *,
    loss: Loss,
    optimizer: Optimizer | None = None,
    collate: Callable[[list[Any]], Any] | None = None,
) -> FitResult:
    """Train a module; a run that was killed goes on from its last checkpoint, exactly.

    Called again with the same arguments and `run_dir`, it resumes; on a CPU the final weights are then
    bit for bit those of a run that was never stopped. Ctrl-C and SIGTERM end the current step, save a
    checkpoint and say how to resume.

    Parameters
    ----------
    module : nn.Module
        Trained in place. On return it holds the best weights, in eval mode, on the training device.
    train, valid : Dataset
        Map-style (``len`` and ``[i]``). Random augmentation may draw from the global generators; it
        then depends on the seed, the epoch and the index alone. Without `valid` the training loss is
        watched.
    run_dir : path
        Folder for checkpoints and logs, laid out as `medkernels.zoo.engine.checkpoint` says. Shared by
        all nodes.
    options : FitOptions
        See there.
    loss : callable
        ``loss(module, batch)`` returns scalar tensors by name, each a mean over the batch's items;
        ``"loss"`` is minimised, the others are logged. Runs under automatic mixed precision if
        `options` asks for it.
    optimizer : Optimizer, optional
        Over the module's parameters; AdamW with the options' ``lr`` and ``weight_decay`` if None.
    collate : callable, optional
        Makes a batch of a list of items; torch's default if None.

    Returns
    -------
    FitResult

    Raises
    ------
    TypeError, ValueError
        If an argument is unusable, or `run_dir` holds a run with other settings.
    NonFiniteError
        If the loss or the weights become infinite or not a number; names epoch and step. The last
        checkpoint stays as it was.
    OSError
        If a file cannot be written; the checkpoint before it stays as it was.

    Notes
    -----
    With several processes the gradient is that of the mean over the whole batch, whatever the number of
    processes and also for a short last batch. Batch normalisation takes its statistics from each
    process's own part.
    """
    # Lightning Fabric takes seconds to import, and a trained system is applied without it.
    from medkernels.zoo.engine.loop import train as train_run
    from medkernels.zoo.engine.start import launch, start

    folder = Path(run_dir)
    _check(module, train, valid, options, optimizer)
    fabric = launch(options)
    with kept_rng():
        seed_all(options.seed, TRAIN_STREAM, fabric.global_rank)
        run = start(fabric, module, train, valid, folder, options, loss, optimizer, collate)
        try:
            with noticed() as interrupt:
                train_run(run, interrupt)
        finally:
            run.events.close()
        fabric.barrier()
        state = run.state
        best = checkpoint.best_path(folder, state.best_epoch)
        load_model(module, best)
        module.eval()
    return FitResult(
        history=state.history,
        best_epoch=state.best_epoch,
        best_value=state.best_value,
        best_weights=best,
        stopped_early=run.exhausted,
        seconds=state.seconds,
        run_dir=folder,
        rank=fabric.global_rank,
    )


def _check(module: object, train: object, valid: object, options: FitOptions, optimizer: object) -> None:
    if not isinstance(module, nn.Module):
        raise TypeError(f"module must be a torch.nn.Module, got {type(module).__name__}")
    for name, data in (("train", train), ("valid", valid)):
        if data is None and name == "valid":
            continue
        if not hasattr(data, "__len__") or not hasattr(data, "__getitem__"):
            raise TypeError(f"{name} must be a map-style data set (len and [i]), got {type(data).__name__}")
        if len(data) == 0:
            raise ValueError(f"{name} is empty")
        if name == "train" and options.drop_last and len(data) < options.batch_size:
            raise ValueError(
                f"train has {len(data)} items, fewer than batch_size={options.batch_size}, with drop_last"
            )
    own = {id(parameter) for parameter in module.parameters()}
    if not any(parameter.requires_grad for parameter in module.parameters()):
        raise ValueError("module has no trainable parameter")
    if optimizer is None:
        return
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"optimizer must be a torch.optim.Optimizer or None, got {type(optimizer).__name__}")
    if any(id(parameter) not in own for group in optimizer.param_groups for parameter in group["params"]):
        raise ValueError("optimizer holds parameters that are not the module's")

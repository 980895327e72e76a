"""`fit`: one training loop for every system, on Lightning Fabric."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy
from safetensors.torch import load_model
from torch import Generator, nn
from torch.optim import AdamW, Optimizer
from torch.utils.data import DataLoader, Dataset

from medkernels.zoo.engine import checkpoint
from medkernels.zoo.engine.checkpoint import NonFiniteError, TrainState
from medkernels.zoo.engine.files import write_text
from medkernels.zoo.engine.interrupt import noticed
from medkernels.zoo.engine.logs import Events, Row, write_csv
from medkernels.zoo.engine.loop import TRAIN_STREAM, VALID_STREAM, Data, Loss, LossStep, Run
from medkernels.zoo.engine.loop import train as train_run
from medkernels.zoo.engine.options import FitOptions
from medkernels.zoo.engine.randomness import BatchPlan, SeededItems, kept_rng, seed_all, set_rng_state

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
    folder = Path(run_dir)
    _check(module, train, valid, optimizer)
    fabric = _launch(options)
    if options.batch_size < fabric.world_size:
        raise ValueError(f"batch_size is {options.batch_size}, fewer than the {fabric.world_size} processes")
    with kept_rng():
        seed_all(options.seed, TRAIN_STREAM, fabric.global_rank)
        run = _start(fabric, module, train, valid, folder, options, loss, optimizer, collate)
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


def _check(module: object, train: object, valid: object, optimizer: object) -> None:
    if not isinstance(module, nn.Module):
        raise TypeError(f"module must be a torch.nn.Module, got {type(module).__name__}")
    for name, data in (("train", train), ("valid", valid)):
        if data is None and name == "valid":
            continue
        if not hasattr(data, "__len__") or not hasattr(data, "__getitem__"):
            raise TypeError(f"{name} must be a map-style data set (len and [i]), got {type(data).__name__}")
        if len(data) == 0:
            raise ValueError(f"{name} is empty")
    own = {id(parameter) for parameter in module.parameters()}
    if not any(parameter.requires_grad for parameter in module.parameters()):
        raise ValueError("module has no trainable parameter")
    if optimizer is None:
        return
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"optimizer must be a torch.optim.Optimizer or None, got {type(optimizer).__name__}")
    if any(id(parameter) not in own for group in optimizer.param_groups for parameter in group["params"]):
        raise ValueError("optimizer holds parameters that are not the module's")


def _launch(options: FitOptions) -> Fabric:
    """Bring up the processes that take part."""
    devices, nodes = options.devices, options.num_nodes
    if "TORCHELASTIC_RUN_ID" in os.environ:
        devices = int(os.environ["LOCAL_WORLD_SIZE"])
        nodes = int(os.environ["WORLD_SIZE"]) // devices
    several = devices * nodes > 1
    fabric = Fabric(
        accelerator=options.accelerator,
        devices=devices,
        num_nodes=nodes,
        precision=options.precision,
        strategy=DDPStrategy(find_unused_parameters=options.find_unused_parameters) if several else "auto",
    )
    fabric.launch()
    return fabric


def _start(
    fabric: Fabric,
    module: nn.Module,
    train: Dataset[Any],
    valid: Dataset[Any] | None,
    folder: Path,
    options: FitOptions,
    loss: Loss,
    optimizer: Optimizer | None,
    collate: Callable[[list[Any]], Any] | None,
) -> Run:
    """Set a run up, at its beginning or where its last checkpoint left it."""
    if optimizer is None:
        trainable = [parameter for parameter in module.parameters() if parameter.requires_grad]
        optimizer = AdamW(trainable, lr=options.lr, weight_decay=options.weight_decay)
    settings = _settings(fabric, module, train, valid, options, optimizer)
    # Before Fabric wraps anything: what the checkpoint holds must fit first.
    saved = _saved(fabric, folder, settings, options)
    model, wrapped = fabric.setup(LossStep(module, loss), optimizer)
    run = Run(
        fabric=fabric,
        options=options,
        folder=folder,
        module=module,
        model=model,
        optimizer=wrapped,
        rates=[group["lr"] for group in optimizer.param_groups],
        train=_data(fabric, train, options, collate, TRAIN_STREAM),
        valid=_data(fabric, valid, options, collate, VALID_STREAM) if valid is not None else None,
        settings=settings,
        state=saved["state"] if saved else TrainState(),
        events=Events(None, 0),
    )
    if run.train.plan.batches == 0:
        raise ValueError(f"train has fewer items than batch_size={options.batch_size}, and drop_last is set")
    if saved:
        module.load_state_dict(saved["module"])
        optimizer.load_state_dict(saved["optimizer"])
        fabric.strategy.precision.load_state_dict(saved["precision"])
        set_rng_state(saved["rng"][fabric.global_rank])
        run.saved_best = run.state.best_epoch
    if fabric.global_rank == 0:
        _describe(folder, settings, options)
        write_csv(folder / "metrics.csv", run.state.history)
        if options.tensorboard:
            run.events = Events(folder / "tensorboard", run.steps + 1)
    return run


def _data(
    fabric: Fabric, items: Any, options: FitOptions, collate: Callable[[list[Any]], Any] | None, stream: int
) -> Data:
    training = stream == TRAIN_STREAM
    plan = BatchPlan(
        len(items),
        options.batch_size,
        rank=fabric.global_rank,
        world=fabric.world_size,
        seed=options.seed if training else None,
        drop_last=options.drop_last and training,
    )
    loader: DataLoader[Any] = DataLoader(
        SeededItems(items, (options.seed, stream)),
        batch_sampler=plan,
        num_workers=options.num_workers,
        collate_fn=collate,
        pin_memory=fabric.device.type == "cuda",
        persistent_workers=options.num_workers > 0,
        # The loader draws a number for its workers; not from the generator that training uses.
        generator=Generator(),
    )
    return Data(plan, loader)


def _settings(
    fabric: Fabric, module: nn.Module, train: Any, valid: Any, options: FitOptions, optimizer: Optimizer
) -> dict[str, Any]:
    """All that a resumed run must share with the run it goes on from."""
    fixed = options.fixed()
    if options.schedule != "constant":
        fixed["max_epochs"] = options.max_epochs
    # How the processes spread over nodes does not matter, only how many there are.
    del fixed["devices"], fixed["num_nodes"]
    return {
        "option": fixed,
        "processes": fabric.world_size,
        "module": type(module).__qualname__,
        "weight": {
            name: f"{tuple(tensor.shape)} {tensor.dtype}".replace("torch.", "")
            for name, tensor in module.state_dict().items()
        },
        "optimizer": type(optimizer).__qualname__,
        "learning rates": [group["lr"] for group in optimizer.param_groups],
        "train items": len(train),
        "valid items": None if valid is None else len(valid),
    }


def _saved(
    fabric: Fabric, folder: Path, settings: dict[str, Any], options: FitOptions
) -> dict[str, Any] | None:
    """The checkpoint to go on from, if there is one."""
    if not options.resume:
        if fabric.global_rank == 0:
            checkpoint.clear(folder)
        fabric.barrier()
        return None
    saved = checkpoint.load_last(folder)
    if saved is None:
        return None
    changed = checkpoint.differences(saved["settings"], settings)
    if changed:
        more = f"; and {len(changed) - 5} more" if len(changed) > 5 else ""
        raise ValueError(
            f"run_dir {folder} holds a run with other settings ({'; '.join(changed[:5])}{more}). "
            "Give another run_dir, or resume=False to start over, which removes that run"
        )
    return saved


def _describe(folder: Path, settings: dict[str, Any], options: FitOptions) -> None:
    """Write ``config.json``, for people: what was run, and with what."""
    libraries = ("torch", "lightning-fabric", "numpy")
    content = {
        **{name: value for name, value in settings.items() if name not in ("option", "weight")},
        "options": asdict(options),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in libraries}},
    }
    write_text(folder / "config.json", json.dumps(content, indent=2) + "\n")

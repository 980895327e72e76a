"""Setting a training run up, at its beginning or where its last checkpoint left it."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import Generator, nn
from torch.optim import AdamW, Optimizer
from torch.utils.data import DataLoader, Dataset

from medkernels.zoo.engine import checkpoint
from medkernels.zoo.engine.checkpoint import TrainState
from medkernels.zoo.engine.files import write_text
from medkernels.zoo.engine.logs import Events, write_csv
from medkernels.zoo.engine.loop import Data, Loss, LossStep, Run
from medkernels.zoo.engine.options import FitOptions
from medkernels.zoo.engine.randomness import TRAIN_STREAM, VALID_STREAM, BatchPlan, SeededItems, set_rng_state


def launch(options: FitOptions) -> Fabric:
    """Bring up the processes that take part: those of ``torchrun``, or as many as the options ask for.

    Raises
    ------
    ValueError
        If a batch has fewer items than there are processes.
    """
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
    if options.batch_size < fabric.world_size:
        raise ValueError(f"batch_size is {options.batch_size}, fewer than the {fabric.world_size} processes")
    return fabric


def start(
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
    model, stepper = fabric.setup(LossStep(module, loss), optimizer)
    run = Run(
        fabric=fabric,
        options=options,
        folder=folder,
        module=module,
        model=model,
        optimizer=optimizer,
        stepper=stepper,
        rates=[group["lr"] for group in optimizer.param_groups],
        train=_data(fabric, train, options, collate, TRAIN_STREAM),
        valid=_data(fabric, valid, options, collate, VALID_STREAM) if valid is not None else None,
        settings=settings,
        state=saved["state"] if saved else TrainState(),
        events=Events(None, 0),
    )
    if saved:
        module.load_state_dict(saved["module"])
        optimizer.load_state_dict(saved["optimizer"])
        fabric.strategy.precision.load_state_dict(saved["precision"])
        set_rng_state(saved["rng"][fabric.global_rank])
        run.saved_best = run.state.best_epoch
    if fabric.global_rank == 0:
        _describe(folder, settings, options)
        if saved:  # lines that the killed run wrote after this checkpoint come anew
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
    if options.schedule == "cosine":
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

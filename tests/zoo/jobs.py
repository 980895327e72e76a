"""A small training job: imported by the tests, or run as a program that can be killed.

``python -m tests.zoo.jobs RUN_DIR OPTIONS [EPOCHS ...]`` trains once, or once for each number of
epochs given, and leaves its final weights in ``RUN_DIR/weights-<rank>.pt``.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from medkernels.zoo.engine import FitOptions, FitResult, fit


class Noisy(Dataset[tuple[Tensor, Tensor]]):
    """A line with noise drawn anew, from three generators, whenever an item is read."""

    def __init__(self, length: int, *, noise: float = 0.1, delay: float = 0.0) -> None:
        generator = torch.Generator().manual_seed(7)
        self.x = torch.randn(length, 4, generator=generator)
        self.y = self.x @ torch.tensor([[1.0], [-2.0], [3.0], [0.5]])
        self.noise, self.delay = noise, delay

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        time.sleep(self.delay)
        noise = torch.randn(4) + np.random.standard_normal() + random.gauss(0, 1)
        return self.x[index] + self.noise * noise, self.y[index]


def network(*, plain: bool = False) -> nn.Sequential:
    """A small network, the same weights every time; with dropout and batch norm unless `plain`."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        middle = [nn.Tanh()] if plain else [nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2)]
        return nn.Sequential(nn.Linear(4, 8), *middle, nn.Linear(8, 1))


def loss(module: nn.Module, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
    """Squared error, and the absolute error to log."""
    difference = module(batch[0]) - batch[1]
    return {"loss": difference.square().mean(), "absolute": difference.abs().mean()}


def options(**changes: Any) -> FitOptions:
    """Options for a quick, quiet run."""
    return replace(
        FitOptions(max_epochs=3, batch_size=8, lr=1e-2, progress=False, tensorboard=False), **changes
    )


def job(
    run_dir: Path,
    *,
    module: nn.Module | None = None,
    items: int = 37,
    loss: Callable[..., Any] = loss,
    noise: float = 0.1,
    **changes: Any,
) -> tuple[nn.Module, FitResult]:
    """Train `network` on `Noisy` items."""
    module = module or network()
    train, valid = Noisy(items, noise=noise), Noisy(11, noise=0.0)
    return module, fit(module, train, valid, run_dir, options(**changes), loss=loss)


def weights(module: nn.Module) -> dict[str, Tensor]:
    """A copy of all weights and buffers."""
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def assert_same(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    """Bit-identical weights."""
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name


def main(run_dir: str, changes: str, *epochs: str) -> None:
    """Run as a program; see the module's docstring."""
    given = json.loads(changes)
    module = network(plain=given.pop("plain", False))
    train = Noisy(given.pop("items", 37), delay=given.pop("delay", 0.0))
    for count in epochs or [given.get("max_epochs", 3)]:
        chosen = options(**{**given, "max_epochs": int(count)})
        result = fit(module, train, Noisy(11, noise=0.0), run_dir, chosen, loss=loss)
    torch.save(module.state_dict(), Path(run_dir) / f"weights-{result.rank}.pt")


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Random number generators: saved, restored, and drawn so that a resumed run repeats exactly."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

State = dict[str, Any]

# Second word of the seeds, so that training and validation never draw the same numbers.
TRAIN_STREAM, VALID_STREAM = 1, 2


def rng_state(*, devices: bool = True) -> State:
    """State of the global generators of Python, NumPy and torch.

    Parameters
    ----------
    devices : bool
        Include those of CUDA devices.

    Returns
    -------
    dict
        Holds only tensors, numbers, strings and tuples, so ``torch.load(weights_only=True)`` reads it.
    """
    name, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    state: State = {
        "python": random.getstate(),
        "numpy": (str(name), torch.from_numpy(np.asarray(keys, np.int64)), position, has_gauss, gauss),
        "torch": torch.get_rng_state(),
    }
    if devices and torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def set_rng_state(state: State) -> None:
    """Restore what `rng_state` returned; states of CUDA devices that are not here are left out."""
    random.setstate(state["python"])
    name, keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, gauss))
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        for device, cuda_state in zip(range(torch.cuda.device_count()), state["cuda"], strict=False):
            torch.cuda.set_rng_state(cuda_state, device)


def seed_all(*entropy: int) -> None:
    """Seed the global generators of Python, NumPy and torch from whole numbers, mixed well."""
    words = np.random.SeedSequence(entropy).generate_state(4)
    random.seed(int(words[0]))
    np.random.seed(int(words[1]))
    torch.manual_seed((int(words[2]) << 32) | int(words[3]))


@contextmanager
def kept_rng(*, devices: bool = True) -> Iterator[None]:
    """Leave the global generators as they were found; with `devices` those of CUDA too."""
    state = rng_state(devices=devices)
    try:
        yield
    finally:
        set_rng_state(state)


class SeededItems(Dataset[Any]):
    """A map-style data set whose random items depend on (seed, epoch, index) alone.

    Augmentation drawn from the global generators then comes out the same in whichever process the item
    is loaded and whatever was loaded before it, and leaves the generators of the training untouched.
    Indexed by ``(epoch, index)``, or a list of these.
    """

    def __init__(self, items: Any, seed: tuple[int, ...]) -> None:
        self.items = items
        self.seed = seed

    def __getitem__(self, key: tuple[int, int]) -> Any:
        return self.__getitems__([key])[0]

    def __getitems__(self, keys: list[tuple[int, int]]) -> list[Any]:
        # Loading processes must not touch CUDA. Saving NumPy's state takes 0.2 ms: once a batch.
        with kept_rng(devices=False):
            return [self._item(*key) for key in keys]

    def _item(self, epoch: int, index: int) -> Any:
        # A digest takes a twentieth of the time of NumPy's SeedSequence.
        words = hashlib.blake2b(repr((*self.seed, epoch, index)).encode(), digest_size=16).digest()
        random.seed(int.from_bytes(words[:4], "big"))
        np.random.seed(int.from_bytes(words[4:8], "big"))
        torch.default_generator.manual_seed(int.from_bytes(words[8:], "big") >> 1)
        return self.items[index]


class BatchPlan(Sampler[list[tuple[int, int]]]):
    """Which items make up each batch of an epoch, for one of several processes.

    The order is a permutation drawn from (seed, epoch), cut into batches of `batch_size`; process
    ``rank`` of ``world`` takes every ``world``-th item of a batch. A process left without an item by a
    short last batch takes its first one, at weight zero (`share`), so that all take the same steps.

    Parameters
    ----------
    length : int
        Items in the data set.
    batch_size : int
        Items a batch, over all processes.
    rank, world : int
        This process, and how many there are.
    seed : int or None
        None keeps the items in their order.
    drop_last : bool
        Leave out the last batch if it is short.
    """

    def __init__(
        self,
        length: int,
        batch_size: int,
        *,
        rank: int,
        world: int,
        seed: int | None,
        drop_last: bool = False,
    ) -> None:
        self.length, self.batch_size, self.rank, self.world, self.seed = length, batch_size, rank, world, seed
        self.batches = length // batch_size if drop_last else -(-length // batch_size)
        self.epoch, self.start = 0, 0

    def go_to(self, epoch: int, start: int) -> None:
        """Set the epoch to draw, and the batch to begin with."""
        self.epoch, self.start = epoch, start

    def share(self, batch: int) -> tuple[int, int]:
        """Items of batch number `batch` that count in this process, and in all processes together."""
        total = min(self.batch_size, self.length - batch * self.batch_size)
        return len(range(self.rank, total, self.world)), total

    def __len__(self) -> int:
        return self.batches - self.start

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        if self.seed is None:
            order = np.arange(self.length)
        else:
            order = np.random.default_rng((self.seed, self.epoch)).permutation(self.length)
        for number in range(self.start, self.batches):
            batch = order[number * self.batch_size : (number + 1) * self.batch_size]
            mine = batch[self.rank :: self.world]
            yield [(self.epoch, int(i)) for i in (mine if len(mine) else batch[:1])]

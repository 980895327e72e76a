"""The acceptance check on the stand-in: memory against none, and the kernels against brute force.

Run it with ``python -m medkernels.zoo.totalct_sam.acceptance``; it prints one row a seed. ``--scan N``
instead times the small network on a scan of N x N x N voxels.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader

from medkernels.attention import knn_memory
from medkernels.segmentation import upsample_argmax
from medkernels.zoo.engine import FitOptions, fit
from medkernels.zoo.totalct_sam.model import TotalCTSAM, build
from medkernels.zoo.totalct_sam.session import Prompt, Session
from medkernels.zoo.totalct_sam.sizes import SIZES
from medkernels.zoo.totalct_sam.standin import CLASSES, Bodies
from medkernels.zoo.totalct_sam.training import window_loss
from medkernels.zoo.totalct_sam.volume import Volume, prepare

TRAIN, TEST = 1600, 64  # bodies
TEST_SEEDS = 1000  # above those of training
SEEDS = 3
PROCESSES = 2
SIZE = SIZES["crops"]
OPTIONS: dict[str, Any] = {
    "max_epochs": 3,
    "batch_size": 16,
    "lr": 4e-3,
    "weight_decay": 0.01,
    "schedule": "cosine",
    "warmup_steps": 25,
    "clip_norm": 1.0,
    "checkpoint_every_epochs": 3,
    "tensorboard": False,
}


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch work in one thread: for crops this small more of them cost time."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def mean_dice(memory: bool, seed: int, **options: Any) -> float:
    """Mean Dice of the two classes on test bodies, whose markers lie in the first crop alone."""
    network = build(SIZE, len(CLASSES) + 1, memory=memory, seed=seed)
    settings = FitOptions(**(OPTIONS | {"seed": seed} | options))
    with one_thread(), tempfile.TemporaryDirectory() as work:
        fit(network, Bodies(TRAIN, seed), None, Path(work), settings, loss=partial(window_loss, clicks=0))
        return judged(network, Bodies(TEST, TEST_SEEDS + seed, together=0.0))


def judged(network: TotalCTSAM, bodies: Bodies) -> float:
    """Mean over the classes of Dice, over all voxels of the second crops."""
    hits, sizes = torch.zeros(len(CLASSES)), torch.zeros(len(CLASSES))
    with torch.inference_mode():
        for batch in DataLoader(bodies, 32):
            memory = network.new_memory()
            network(batch["windows"][:, 0], memory=memory)
            found = network(batch["windows"][:, 1], memory=memory).argmax(dim=1)
            for number in range(len(CLASSES)):
                one, other = found == number + 1, batch["labels"][:, 1] == number + 1
                hits[number] += 2 * (one & other).sum()
                sizes[number] += one.sum() + other.sum()
    return float((hits / sizes.clamp(min=1)).mean())


def memory_check(seed: int = 0) -> dict[str, bool | float]:
    """Whether `knn_memory` chooses the entries that brute force chooses, and how far its results are off.

    A value that is one-hot in the number of its entry shows in the result which entries were chosen.
    Coordinates are multiples of 1/64, so that products are exact and ties are ties.
    """
    rng = np.random.default_rng(seed)
    q, keys = (
        torch.from_numpy(np.rint(64 * _unit_rows(rng, count)).astype(np.float32) / 64)
        for count in (617, 1024)
    )
    values = torch.eye(1024).expand(1, 8, -1, -1).contiguous()
    out = knn_memory(q, keys, values, k=32, scale=10.0)
    scores = (q.double() @ keys.double().transpose(2, 3)).numpy()
    nearest = np.argsort(-scores, axis=3, kind="stable")[..., :32]
    chosen = np.sort(np.argsort(-out.numpy(), axis=3, kind="stable")[..., :32], axis=3)
    top = np.take_along_axis(scores, nearest, axis=3)
    weights = np.exp(10 * (top - top[..., :1]))
    dense = np.zeros(scores.shape)
    np.put_along_axis(dense, nearest, weights / weights.sum(axis=3, keepdims=True), axis=3)
    return {
        "topk_equal": bool((chosen == np.sort(nearest, axis=3)).all()),
        "memory_gap": float(np.abs(dense - out.numpy()).max()),
    }


def _unit_rows(rng: np.random.Generator, count: int) -> npt.NDArray[np.float64]:
    rows = rng.normal(size=(1, 8, count, 24))
    unit: npt.NDArray[np.float64] = rows / np.linalg.norm(rows, axis=3, keepdims=True)
    return unit


def gradient_check(seed: int = 0) -> bool:
    """Whether the derivatives of a gated look-up are those of finite differences, in double precision."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    q, local, gate = (x.requires_grad_() for x in (drawn(1, 2, 5, 6), drawn(1, 2, 5, 6), drawn(2)))
    keys, values = drawn(1, 2, 40, 6), drawn(1, 2, 40, 6)

    def look_up(q: torch.Tensor, local: torch.Tensor, gate: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = knn_memory(q, keys, values, k=4, scale=3.0, gate=gate, local=local)
        return out

    return bool(torch.autograd.gradcheck(look_up, (q, local, gate)))


def argmax_check(classes: int = 105, low: int = 12, size: int = 48, seed: int = 0) -> bool:
    """Whether labels decided in one step equal those of the interpolated maps, wherever these are clear."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(1, classes, low, low, low, generator=generator)
    dense = F.interpolate(logits, size=(size,) * 3, mode="trilinear")
    top = dense.topk(2, dim=1).values
    clear = top[:, 0] - top[:, 1] > 1e-5
    fused = upsample_argmax(logits, size=(size,) * 3)
    return bool((fused.long() == dense.argmax(dim=1))[clear].all())


def time_scan(side: int) -> dict[str, float]:
    """Processor time and memory that a scan of side^3 voxels of 1.5 mm takes the small network, untrained.

    Windows, labels and one click in s; the peak of memory above that of scan and network in MB.
    """
    values = np.random.default_rng(0).normal(0, 300, (side,) * 3).astype(np.float32)
    scan = prepare(Volume("noise", values, np.diag([1.5, 1.5, 1.5, 1.0])), 1.5)
    network = build(SIZES["small"], 105)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    moments = [time.process_time()]
    session = Session(network, scan)
    moments.append(time.process_time())
    session.labels()
    moments.append(time.process_time())
    session.add(Prompt(1, np.full((1, 3), side / 2)))
    moments.append(time.process_time())
    seconds = dict(zip(("judge", "labels", "click"), np.diff(moments).tolist(), strict=True))
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return {"windows": session.windows, **seconds, "megabytes": peak}


def main() -> None:
    """Compare for three seeds and print the table."""
    parser = argparse.ArgumentParser(description="totalct_sam with and without its memory on the stand-in")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="how many")
    parser.add_argument("--scan", type=int, metavar="N", help="time the small network on N^3 voxels")
    given = parser.parse_args()
    seeds = given.seeds
    if given.scan:
        print("  ".join(f"{name} {value:.4g}" for name, value in time_scan(given.scan).items()))
        return
    started = time.perf_counter()
    found: dict[str, Any] = memory_check() | {"gradcheck": gradient_check(), "argmax_equal": argmax_check()}
    print("  ".join(f"{name} {value}" for name, value in found.items()), flush=True)
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
        jobs = {
            (seed, memory): pool.submit(mean_dice, memory, seed, progress=False)
            for seed in range(seeds)
            for memory in (True, False)
        }
        for seed in range(seeds):
            scores = (jobs[seed, memory].result() for memory in (True, False))
            print(f"seed {seed}  " + "with memory {:.4f}  without {:.4f}".format(*scores), flush=True)
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(
        f"seconds {time.perf_counter() - started:.4g}, "
        f"of processor time {sum(part.ru_utime for part in spent):.4g}"
    )


if __name__ == "__main__":
    main()

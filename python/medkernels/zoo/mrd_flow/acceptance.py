"""The acceptance check on the stand-in: the published network against the baselines, graph and samples exact.

Run it with ``python -m medkernels.zoo.mrd_flow.acceptance``; it prints one row a seed. ``--hidden`` takes the
channels in which blasts differ out of the features and leaves them to the graph, and ``--large N`` instead
times one sample of N events, with an untrained network.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medkernels.zoo.engine import FitOptions
from medkernels.zoo.mrd_flow.apply import infer, judge
from medkernels.zoo.mrd_flow.graph import Floats, Ints, induce, neighbour_table
from medkernels.zoo.mrd_flow.metrics import summarised
from medkernels.zoo.mrd_flow.model import Network, build
from medkernels.zoo.mrd_flow.sample import Sample
from medkernels.zoo.mrd_flow.standin import EVENTS, stand_in
from medkernels.zoo.mrd_flow.training import Structure, train_network

TRAIN, TEST = 48, 24  # samples
TEST_SEEDS = 1000  # above those of training
SEEDS = 3
MODELS = ("mlp", "st", "gin-st-fps")
STRUCTURE = Structure(picks=48)
OPTIONS: dict[str, Any] = {
    "max_epochs": 20,
    "batch_size": 4,
    "lr": 3e-3,
    "weight_decay": 0.01,
    "schedule": "cosine",
    "warmup_steps": 24,
    "clip_norm": 2.5,
    "checkpoint_every_epochs": 20,
    "tensorboard": False,
}
CHECKED = 10_000  # events of the comparison with brute force
PROCESSES = 2


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch work in one thread: for samples this small more of them cost time."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def trained(model: str, samples: list[Sample], seed: int, work: Path, **options: Any) -> Network:
    """A network trained on some samples, the weights of the lowest training loss."""
    network = build(model, samples[0].features.shape[1], seed=seed)
    settings = FitOptions(**(OPTIONS | {"seed": seed} | options))
    train_network(network, STRUCTURE, samples, [], work, settings, events=EVENTS, jitter=0.01, smoothing=0.1)
    return network


def mean_f1(model: str, seed: int, *, hidden: bool = False, **options: Any) -> float:
    """Mean F1 on test samples of a model trained on others."""
    samples = stand_in(TRAIN, seed, hidden=hidden)
    others = stand_in(TEST, TEST_SEEDS + seed, hidden=hidden)
    with one_thread(), tempfile.TemporaryDirectory() as work:
        network = trained(model, samples, seed, Path(work), **options)
        return summarised(judge(network, STRUCTURE, others))["mean_f1"]


def nearest(points: Floats, k: int) -> Ints:
    """The k nearest others of each point, by all distances in float64, ties by index."""
    wide = points.astype(np.float64)
    rows = []
    for number, point in enumerate(wide):
        gaps = np.square(wide - point).sum(axis=1)
        gaps[number] = np.inf
        near = np.flatnonzero(gaps <= np.partition(gaps, k - 1)[k - 1])
        rows.append(near[np.argsort(gaps[near], kind="stable")][:k])
    return np.array(rows)


def farthest(points: Floats, count: int, start: int) -> Ints:
    """Farthest point sampling by its definition, in float64, ties by index."""
    wide = points.astype(np.float64)
    picks = [start]
    gaps = np.full(len(points), np.inf)
    for _ in range(count - 1):
        gaps = np.minimum(gaps, np.square(wide - wide[picks[-1]]).sum(axis=1))
        picks.append(int(gaps.argmax()))
    return np.array(picks)


def structure_check(events: int = CHECKED, seed: int = 0) -> dict[str, bool]:
    """Whether the graph and the samples of random events equal their references."""
    points = np.random.default_rng(seed).normal(size=(events, 11)).astype(np.float32)
    same = np.sort(neighbour_table(points, 10), axis=1) == np.sort(nearest(points, 10), axis=1)
    picks = induce(points, 25, start=3)
    return {"knn_equal": bool(same.all()), "fps_equal": bool((picks == farthest(points, 25, 3)).all())}


def permutation_gap(network: Network, sample: Sample, seed: int = 0) -> float:
    """Greatest change of a probability when events come in another order."""
    order = np.random.default_rng(seed).permutation(len(sample))
    mixed = Sample("mixed", sample.features[order], space=sample.graph_space[order])
    one, other = (infer(network, STRUCTURE, each).probabilities for each in (sample, mixed))
    return float(np.abs(one[order] - other).max())


def time_large(events: int) -> dict[str, float]:
    """Seconds that one sample takes in one pass, and the peak of memory above what it took to make it, MB."""
    sample = stand_in(1, events=events)[0]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter(), time.process_time()
    infer(build("gin-st-fps", sample.features.shape[1]), Structure(), sample)
    return {
        "events": events,
        "seconds": time.perf_counter() - started[0],
        "cpu_seconds": time.process_time() - started[1],
        "megabytes": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024,
    }


def main() -> None:
    """Compare for three seeds and print the table."""
    parser = argparse.ArgumentParser(description="mrd_flow against its baselines on the stand-in")
    parser.add_argument("--hidden", action="store_true", help="leave the telling channels to the graph alone")
    parser.add_argument("--large", type=int, metavar="N", help="time one sample of so many events")
    given = parser.parse_args()
    hidden = given.hidden
    if given.large:
        print("  ".join(f"{name} {value:.4g}" for name, value in time_large(given.large).items()))
        return
    started = time.perf_counter()
    found: dict[str, Any] = structure_check()
    found["permutation_gap"] = permutation_gap(build("gin-st-fps", 10), stand_in(1)[0])
    print("  ".join(f"{name} {value}" for name, value in found.items()), flush=True)
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
        jobs = {
            (seed, model): pool.submit(mean_f1, model, seed, hidden=hidden, progress=False)
            for seed in range(SEEDS)
            for model in reversed(MODELS)
        }
        for seed in range(SEEDS):
            scores = "  ".join(f"{model} {jobs[seed, model].result():.4f}" for model in MODELS)
            print(f"seed {seed}  {scores}", flush=True)
    print(f"total seconds {time.perf_counter() - started:.4g}")


if __name__ == "__main__":
    main()

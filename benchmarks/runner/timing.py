"""Times of several providers, taken in turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

FEWEST, MOST = 5, 31  # timed runs, unless one run alone is beyond the budget
Clock = Callable[[Callable[[], Any]], tuple[float, Any]]
FLUSH_BYTES = 256 << 20  # several times the last-level cache of any GPU so far


@dataclass(frozen=True)
class Times:
    """Seconds a run: median, quartiles, number of runs; not `warm` if the only run was the first."""

    median: float
    lower: float
    upper: float
    runs: int
    warm: bool


def cpu_clock(task: Callable[[], Any]) -> tuple[float, Any]:
    """Wall-clock seconds of a call, and what it returned."""
    start = time.perf_counter()
    result = task()
    return time.perf_counter() - start, result


class CudaClock:
    """Seconds between two events around a call, with a cold second-level cache.

    Writing a large buffer before each call takes the inputs out of the cache: a call within a program
    finds them as cold.
    """

    def __init__(self) -> None:
        self.flush = torch.empty(FLUSH_BYTES, dtype=torch.uint8, device="cuda")

    def __call__(self, task: Callable[[], Any]) -> tuple[float, Any]:
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        self.flush.zero_()
        start.record()
        result = task()
        stop.record()
        stop.synchronize()
        return start.elapsed_time(stop) * 1e-3, result


def time_in_turns(
    tasks: Mapping[str, Callable[[int], Any]], clock: Clock, budget: float
) -> tuple[dict[str, Times], dict[str, Any]]:
    """Time every task, taking turns so that a slow spell of the machine meets all of them.

    Parameters
    ----------
    tasks : by provider; called with the number of the run, from which it picks one of several equal
        sets of inputs.
    clock : times one call.
    budget : seconds for each provider. One whose first run takes longer is not run again; the first run
        of the others is a warm-up that does not count.

    Returns
    -------
    tuple
        The times, and the result of each task's run number 0.
    """
    firsts, results = {}, {}
    for name, task in tasks.items():
        firsts[name], results[name] = clock(lambda task=task: task(0))
    samples: dict[str, list[float]] = {name: [] for name in tasks}
    going = [name for name in tasks if firsts[name] <= budget]
    for run in range(1, MOST + 1):
        for name in going:
            samples[name].append(clock(lambda name=name, run=run: tasks[name](run))[0])
        going = [name for name in going if sum(samples[name]) < budget or len(samples[name]) < FEWEST]
    return {
        name: _times(samples[name] or [firsts[name]], warm=bool(samples[name])) for name in tasks
    }, results


def _times(samples: list[float], *, warm: bool) -> Times:
    if len(samples) == 1:
        return Times(samples[0], samples[0], samples[0], 1, warm)
    lower, median, upper = statistics.quantiles(samples, n=4, method="inclusive")
    return Times(median, lower, upper, len(samples), warm)

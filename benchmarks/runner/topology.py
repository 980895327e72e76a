"""What the benchmarks of topology share: clouds of points, and items spread over processes or threads."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from medkernels.benchmarks.runner.memory import ONE_PROCESS

from medkernels import get_num_threads

WINDOW = 3  # volumes in a window of a series: the dimension of its points
REPETITION = 3.0  # seconds from one volume to the next
BAND = (0.01, 0.1)  # Hz: what is kept of a resting-state series
TORUS_RADII = (2.0, 1.0)
CHUNKS = 4  # that each process gets of a batch, one after the other
IDLE_SECONDS = 600  # for which processes wait for more work: other providers have their turns meanwhile


def fmri_series(count: int, volumes: int, seed: int) -> np.ndarray:
    """Smooth series as of a resting brain, [count, volumes] float64: noise in a band, z-scored.

    Band and repetition time are the usual ones of resting-state studies, so neighbouring volumes are as
    alike as in a preprocessed scan.
    """
    noise = np.random.default_rng(seed).standard_normal((count, volumes))
    frequencies = np.fft.rfftfreq(volumes, REPETITION)
    spectrum = np.fft.rfft(noise) * ((frequencies >= BAND[0]) & (frequencies <= BAND[1]))
    series = np.fft.irfft(spectrum, volumes)
    return (series - series.mean(axis=1, keepdims=True)) / series.std(axis=1, keepdims=True)


def fmri_clouds(count: int, points: int, seed: int) -> np.ndarray:
    """Such series embedded by windows of three volumes: [count, points, 3] float32."""
    series = fmri_series(count, points + WINDOW - 1, seed)
    windows = np.lib.stride_tricks.sliding_window_view(series, WINDOW, axis=1)
    return np.ascontiguousarray(windows, dtype=np.float32)


def torus_clouds(count: int, points: int, seed: int) -> np.ndarray:
    """Points on a torus in space, both angles uniform: [count, points, 3] float32."""
    u, v = np.random.default_rng(seed).random((2, count, points)) * 2 * np.pi
    outer, inner = TORUS_RADII
    ring = outer + inner * np.cos(v)
    return np.stack([ring * np.cos(u), ring * np.sin(u), inner * np.sin(v)], axis=-1).astype(np.float32)


def in_processes(function: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
    """`function` of each item, with as many processes as there are threads to use.

    For libraries that hold the interpreter's lock while they compute. The processes stay for the next call.
    Where memory is measured there is only this one.
    """
    workers = min(get_num_threads(), len(items))
    if workers == 1 or ONE_PROCESS in os.environ:
        return [function(item) for item in items]
    # Comes with scikit-learn, which these libraries need. `joblib.Parallel` would look for answers only every
    # hundredth of a second.
    from joblib.externals.loky import get_reusable_executor

    pool = get_reusable_executor(workers, timeout=IDLE_SECONDS)
    return list(pool.map(function, items, chunksize=max(1, len(items) // (CHUNKS * workers))))


def in_threads(function: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
    """`function` of each item, in threads: for libraries that let go of the interpreter's lock."""
    workers = min(get_num_threads(), len(items))
    if workers == 1:
        return [function(item) for item in items]
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(function, items))

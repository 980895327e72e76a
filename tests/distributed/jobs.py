"""Small cohorts, and readers that count their calls, die, fail or wait; workers import them."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import medkernels as mk

#: Of every test cohort: three chunks and three blocks a side, the last of them not full.
CUT = {"chunk": 2, "tile": 2, "max_dim": 1}


class Subject(NamedTuple):
    """A file of one subject; what its reader does and did is files beside it."""

    path: str

    def beside(self, name: str) -> Path:
        return Path(f"{self.path}.{name}")

    @property
    def reads(self) -> int:
        """How often it was read."""
        return len(self.beside("log").read_text().split()) if self.beside("log").exists() else 0


def make_series(subjects: int = 5, rois: int = 3, samples: int = 24, dtype: str = "float64") -> Any:
    rng = np.random.default_rng(7)
    return rng.normal(size=(subjects, rois, samples)).cumsum(axis=-1).astype(dtype)


def save_subjects(folder: Path, series: Any) -> list[Subject]:
    subjects = [Subject(str(folder / f"{number}.npy")) for number in range(len(series))]
    for subject, array in zip(subjects, series, strict=True):
        np.save(subject.path, array)
    return subjects


def read_subject(subject: Subject) -> Any:
    """Read it and note that; then whatever the files beside it say, once."""
    with subject.beside("log").open("a") as log:
        log.write(f"{os.getpid()}\n")
    for name, act in {"kill": _die, "fail": _fail}.items():
        if subject.beside(name).exists():
            subject.beside(name).unlink()
            act()
    if subject.beside("wait").exists():
        subject.beside("waiting").touch()
        while subject.beside("wait").exists():
            time.sleep(0.02)
    return np.load(subject.path)


def results(cohort: mk.distributed.Cohort) -> dict[str, Any]:
    """Everything a cohort holds, to be compared to the bit."""
    bars = [
        bars for i in range(cohort.subjects) for dims in cohort.diagrams(i) for bars in dims
    ]  # of each series and dimension
    return {
        "bars": [(b.shape, b.tobytes()) for b in bars],
        "roi": cohort.roi_matrices[:].tobytes(),
        "subject": cohort.subject_matrices[:].tobytes(),
    }


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _fail() -> None:
    raise OSError("the file server is busy")


def main() -> None:
    """Compute the cohort in a folder with a cluster of its own."""
    import dask.system

    dask.system.CPU_COUNT = 2
    store, *names = sys.argv[1:]
    subjects = [Subject(name) for name in names]
    mk.distributed.persistence_cohort(subjects, store, load=read_subject, **CUT)


if __name__ == "__main__":
    main()

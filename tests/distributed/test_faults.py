"""A worker, the calling process or the cluster goes in the middle, or a write is cut short."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import zarr
from distributed import Client, Future

from medkernels.distributed import CohortError, _archive, _running, persistence_cohort
from tests.distributed import jobs


def test_a_killed_worker(client: Client, tmp_path: Path, expected: dict[str, Any]) -> None:
    """Only the chunk that it was computing is computed again."""
    subjects = jobs.save_subjects(tmp_path, jobs.make_series())
    subjects[3].beside("kill").touch()
    cohort = persistence_cohort(
        subjects, tmp_path / "c", load=jobs.read_subject, client=client, retries=0, **jobs.CUT
    )
    assert not subjects[3].beside("kill").exists()
    assert jobs.results(cohort) == expected
    readers = [set(subject.beside("log").read_text().split()) for subject in subjects]
    assert len(readers[3]) == 2  # processes: the one that died, and another
    # The first subject is read by this process too, for its shape.
    assert [subject.reads for subject in subjects] == [2, 1, 2, 2, 1]


def test_a_killed_run(tmp_path: Path, expected: dict[str, Any]) -> None:
    """The next one does what was not finished, and leaves the rest as it is."""
    subjects = jobs.save_subjects(tmp_path, jobs.make_series())
    subjects[2].beside("wait").touch()
    store = tmp_path / "c"
    command = [sys.executable, "-m", "tests.distributed.jobs", str(store), *(s.path for s in subjects)]
    run = subprocess.Popen(command, cwd=Path(__file__).parents[2])
    try:
        _wait(lambda: subjects[2].beside("waiting").exists() and _done(store, (0, 4)))
        helpers = psutil.Process(run.pid).children(recursive=True)
        run.send_signal(signal.SIGKILL)
    finally:
        run.kill()
        run.wait()
    assert psutil.wait_procs(helpers, timeout=30)[1] == []  # its workers end with it
    subjects[2].beside("wait").unlink()
    before = {file: file.stat().st_mtime_ns for file in _results(store)}
    assert before
    options: dict[str, Any] = {"load": jobs.read_subject, "client": False, **jobs.CUT}
    cohort = persistence_cohort(subjects, store, verify=False, **options)
    assert jobs.results(cohort) == expected
    assert {file: file.stat().st_mtime_ns for file in before} == before
    assert [subject.reads for subject in subjects] == [3, 1, 2, 1, 1]


def test_stopped_before_any_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever was the last thing written, the next call ends with the same bits."""
    series = jobs.make_series(3, 2)
    write = zarr.Array.__setitem__
    left = 0

    def count_down(array: Any, place: Any, value: Any) -> None:
        nonlocal left
        if not left:
            raise KeyboardInterrupt
        left -= 1
        write(array, place, value)

    whole = jobs.results(persistence_cohort(series, tmp_path / "whole", client=False, **jobs.CUT))
    # Of each of 2 chunks bars, digests, counts and matrices; of 2 regions 3 blocks, one with a mirror.
    for count in range(2 * 4 + 2 * (3 + 1)):
        left = count
        monkeypatch.setattr(zarr.Array, "__setitem__", count_down)
        with pytest.raises(KeyboardInterrupt):
            persistence_cohort(series, tmp_path / str(count), client=False, **jobs.CUT)
        monkeypatch.undo()
        cohort = persistence_cohort(series, tmp_path / str(count), client=False, **jobs.CUT)
        assert jobs.results(cohort) == whole


# The codec of Zarr 2 takes some cut files for whole; Zarr 2 itself only ever moves whole files into place.
@pytest.mark.parametrize("size", [0, 20] if zarr.__version__ >= "3" else [0])
def test_damaged_files_are_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expected: dict[str, Any], size: int
) -> None:
    """Such as the first versions of Zarr 3 may leave when they are killed."""
    series = jobs.make_series()
    with monkeypatch.context() as patch:
        patch.setattr(_archive, "set_complete", lambda plan, name: None)
        persistence_cohort(series, tmp_path / "c", client=False, matrices=("roi",), **jobs.CUT)
    for name in ("counts", "roi_matrices"):
        first = min(file for file in _results(tmp_path / "c") if name in str(file))
        os.truncate(first, size)
    cohort = persistence_cohort(series, tmp_path / "c", client=False, **jobs.CUT)
    assert jobs.results(cohort) == expected


def test_a_cluster_that_gives_up(client: Client) -> None:
    """The call ends with an error instead of waiting for ever."""

    def cancel() -> None:
        _wait(lambda: bool(client.futures))
        client.cancel([Future(key, client=client) for key in list(client.futures)])

    canceller = threading.Thread(target=cancel)
    canceller.start()
    tasks = [_running.Task("subject 0", (2,))]
    with pytest.raises(CohortError, match="the cluster gave up subject 0"):
        _running.run(client, time.sleep, tasks, retries=0, advance=lambda: None)
    canceller.join()


def _wait(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def _done(store: Path, subjects: tuple[int, ...]) -> bool:
    """Whether all that is wanted of each of these subjects, so far, is there."""
    try:
        found = zarr.open_array(store, path="roi_matrices", mode="r")
    except (OSError, ValueError):  # not begun
        return False
    return all(found[subject, 0, 0, 0] >= 0 for subject in subjects)


def _results(store: Path) -> list[Path]:
    """Files of Zarr chunks."""
    names = ("counts", "digests", "bars", "roi_matrices")
    return [
        file
        for name in names
        for file in (store / name).rglob("*")
        if file.is_file() and file.name != "zarr.json" and not file.name.startswith(".")
    ]

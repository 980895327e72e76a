"""Tasks on a Dask client, or one after another in this process."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from distributed import Client

#: Tasks handed out for each thread of the cluster: one that runs, and one so that none idles. The process
#: that hands them out holds the series of no others.
TASKS_OF_A_THREAD = 2

#: After this many chunks have failed no more are begun.
FAILURES = 10


class Task(NamedTuple):
    """One call, and its name in messages."""

    label: str
    arguments: tuple[Any, ...]


Outcome = tuple[str, BaseException | None]


class CohortError(RuntimeError):
    """Some chunks could not be computed. The others are stored; the same call goes on from there.

    ``failures`` holds the exception of each chunk by its name.
    """

    def __init__(self, message: str, failures: dict[str, BaseException] | None = None) -> None:
        super().__init__(message)
        self.failures = failures or {}


def run(
    client: Client | None,
    function: Callable[..., Exception | None],
    tasks: Iterable[Task],
    *,
    retries: int,
    advance: Callable[[], None],
) -> dict[str, BaseException]:
    """Run all tasks and return what went wrong, by the names of the tasks."""
    failures: dict[str, BaseException] = {}
    if client is None:
        outcomes = _serial(function, tasks, retries)
    else:
        outcomes = _spread(client, function, tasks, retries)
    with closing(outcomes):
        for label, error in outcomes:
            advance()
            if error is not None:
                failures[label] = error
            if len(failures) >= FAILURES:
                break
    return failures


def _serial(
    function: Callable[..., Exception | None], tasks: Iterable[Task], retries: int
) -> Generator[Outcome, None, None]:
    for label, arguments in tasks:
        for left in range(retries, -1, -1):
            try:
                error: BaseException | None = function(*arguments)
            except Exception as raised:
                error = raised
                if left:
                    continue
            break
        yield label, error


def _spread(
    client: Client, function: Callable[..., Exception | None], tasks: Iterable[Task], retries: int
) -> Generator[Outcome, None, None]:
    from distributed import as_completed

    waiting = as_completed()
    labels: dict[Any, str] = {}
    left = iter(tasks)
    try:
        while True:
            room = TASKS_OF_A_THREAD * max(1, sum(client.nthreads().values())) - len(labels)
            for label, arguments in islice(left, max(0, room)):
                # Not pure: what an earlier call returned for the same arguments says nothing about the store.
                future = client.submit(function, *arguments, retries=retries, pure=False)
                labels[future] = label
                waiting.add(future)
            if not labels:
                return
            future = next(waiting)
            label = labels.pop(future)
            if future.status == "finished":
                yield label, future.result()
            elif future.status == "error":
                yield label, future.exception()
            else:
                raise CohortError(f"the cluster gave up {label}: it was closed or restarted")
    finally:
        if labels:
            client.cancel(list(labels))


def check_client(client: Any) -> None:
    """Raise TypeError or ValueError unless `client` is one that calls can wait for, None or False."""
    from distributed import Client

    if client is None or client is False:
        return
    if not isinstance(client, Client):
        raise TypeError(f"client must be a dask.distributed.Client, None or False, not {client!r}")
    if client.asynchronous:
        raise ValueError("client must not be asynchronous")


@contextmanager
def environment_kept() -> Iterator[None]:
    """Put environment variables back: a cluster leaves those of its workers, such as one thread for each."""
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


@contextmanager
def cluster(client: Client | bool | None, tasks: int) -> Iterator[Client | None]:
    """The client to use: the caller's, one with a process for each core, or None for none."""
    if client is not None:
        yield None if isinstance(client, bool) else client
        return
    from dask.system import CPU_COUNT
    from distributed import Client, LocalCluster

    workers = max(1, min(CPU_COUNT, tasks))
    with (
        environment_kept(),
        LocalCluster(n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None) as own,
        Client(own) as mine,
    ):
        yield mine


@contextmanager
def progress_bar(enabled: bool, text: str, total: int) -> Iterator[Callable[[], None]]:
    """Show a bar on the error stream, if that is a terminal; yields what moves it by one."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    if not (enabled and console.is_interactive and total):
        yield lambda: None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, expand=True) as bar:
        task = bar.add_task(text, total=total)
        yield lambda: bar.advance(task)

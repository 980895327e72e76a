"""What a run tells while it goes on: a progress bar, ``metrics.csv``, TensorBoard events."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from medkernels.zoo.engine.files import replacing

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

Row = dict[str, float]
Show = Callable[[str, int], None]

console = Console(stderr=True)


def write_csv(path: Path, history: list[Row]) -> None:
    """Write one line an epoch, the whole file anew, so that a resumed run never repeats a line."""
    columns = list(dict.fromkeys(name for row in history for name in row))
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(history)


class Events:
    """TensorBoard events of one run; does nothing without a folder.

    Parameters
    ----------
    folder : Path or None
        Where to write.
    first_step : int
        Events of this and later steps that an earlier, killed run left behind are hidden.
    """

    def __init__(self, folder: Path | None, first_step: int) -> None:
        self._writer: SummaryWriter | None = None
        if folder:
            from torch.utils.tensorboard import SummaryWriter  # half a second, for training only

            self._writer = SummaryWriter(str(folder), purge_step=first_step)

    def add(self, values: Mapping[str, float], step: int) -> None:
        """Log values such as ``{"train/loss": 0.1}`` at a step."""
        if self._writer:
            for name, value in values.items():
                self._writer.add_scalar(name, value, step)

    def flush(self) -> None:
        """Bring the events to disk."""
        if self._writer:
            self._writer.flush()

    def close(self) -> None:
        """Bring the events to disk and end."""
        if self._writer:
            self._writer.close()


@contextmanager
def progress_bar(*, enabled: bool, total: int, done: int) -> Iterator[Show]:
    """Show a bar over all steps of a run on the error stream, if that is a terminal.

    Parameters
    ----------
    enabled : bool
        False shows nothing.
    total, done : int
        Steps of the whole run, and how many of them were done earlier.

    Yields
    ------
    callable
        Called with a line of text and the number of steps done.
    """
    if not (enabled and console.is_interactive):
        yield lambda text, completed: None
        return
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        expand=True,
    )
    with bar:
        task = bar.add_task("", total=total, completed=done)
        yield lambda text, completed: bar.update(task, description=text, completed=completed)

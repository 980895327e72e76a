"""Ctrl-C and a polite kill, noticed between two steps."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupt:
    """Remembers the first SIGINT or SIGTERM; ``signal`` is its number, or 0."""

    signal: int = 0


@contextmanager
def noticed() -> Iterator[Interrupt]:
    """Within the block a first SIGINT or SIGTERM is only noted; a second one acts as it always does.

    A step of training then ends before its state is saved. Python lets only the main thread set signal
    handlers; in another thread the block changes nothing.

    Yields
    ------
    Interrupt
    """
    seen = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield seen
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, frame: FrameType | None) -> None:
        seen.signal = number
        signal.signal(number, before[signal.Signals(number)] or signal.SIG_DFL)

    for number in before:
        signal.signal(number, note)
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)

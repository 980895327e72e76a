"""Work on a row of items by several threads, with the results in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from medkernels import get_num_threads

T = TypeVar("T")
R = TypeVar("R")


def in_order(step: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Yield what `step` makes of each item, in their order, with a few items at a time in memory.

    As many threads as `medkernels.get_num_threads` says take part; `items` is read by the caller's thread.
    An exception of `step` comes up in place of its result, and ends the work.
    """
    threads = get_num_threads()
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[R]] = deque()
        for item in items:
            waiting.append(pool.submit(step, item))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

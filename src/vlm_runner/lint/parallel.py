"""Work on a stream of items in threads, in order, with a bounded number in memory."""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

T = TypeVar("T")
R = TypeVar("R")

AHEAD = 4
"""Items in work or waiting, for each thread."""


def each(items: Iterable[T], work: Callable[[T], R], *, threads: int | None = None) -> Iterator[R]:
    """
    `work` of each item, in the items' order.

    Threads are enough: hashing, decompressing and decoding all let go of Python's lock.
    """
    count = threads or os.cpu_count() or 1
    waiting: deque[Future[R]] = deque()
    with ThreadPoolExecutor(max_workers=count, thread_name_prefix="lint") as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) >= count * AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()

"""What a dataset fetches, counted, for whoever shows it."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

EVERY: Final = 0.5
"""Seconds between two times that a listener is told."""


class _Listener:
    def __init__(self, tell: Callable[[str, int, float], None]) -> None:
        self._tell = tell
        self._told = float("-inf")
        self.began = time.monotonic()
        self.bytes = 0
        self.over = False

    def add(self, file: str, size: int) -> None:
        self.bytes += size
        now = time.monotonic()
        if not self.over and now - self._told >= EVERY:
            self._told = now
            self._tell(file, self.bytes, now - self.began)


_LISTENER: ContextVar[_Listener | None] = ContextVar("downloads", default=None)


@contextmanager
def listening(tell: Callable[[str, int, float], None]) -> Iterator[None]:
    """
    Call `tell` for what datasets fetch meanwhile: the file, all bytes until now, and seconds.

    It is called in the thread that fetches, now and then. Of a dataset that is opened meanwhile all threads
    are heard, of others the ones that are started from here.
    """
    listener = _Listener(tell)
    token = _LISTENER.set(listener)
    try:
        yield
    finally:
        listener.over = True
        _LISTENER.reset(token)


class Downloads:
    """Of one dataset; any thread may add."""

    def __init__(self) -> None:
        self.bytes = 0
        self._opened_by = _LISTENER.get()
        self._lock = threading.Lock()

    def add(self, file: str, size: int) -> None:
        with self._lock:
            self.bytes += size
            # Threads of a pool know nothing of who opened the dataset.
            if (listener := _LISTENER.get() or self._opened_by) is not None:
                listener.add(file, size)

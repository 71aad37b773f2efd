"""What reading a stranger's file may take: a file of some kilobytes can unpack to more than a machine has."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Final

MOST: Final = 2 * 1024**3
"""Bytes beyond what the process has, for files that are small themselves."""
AGAIN: Final = 0.1
"""Seconds until the process is asked again what it has: for each row, that took as long as reading it."""
TIMES: Final = 8
"""Bytes for each byte of a file that is read whole, such as a list in JSON."""

_lock = threading.Lock()
_inside = 0
_before = (0, 0)
_asked: tuple[float, int | None] = (float("-inf"), None)


class LimitedMemory:
    """
    Within, this process gets MOST bytes more and TIMES the size of the file, and then a MemoryError.

    Of all its threads; files that are mapped to be read do not count. Only Linux knows such a limit
    (RLIMIT_DATA: setrlimit(2)); elsewhere nothing is limited.
    """

    # A class and not a generator: it is entered for each row, and this takes half the time.
    __slots__ = ("_limited", "_more")

    def __init__(self, file_size: int = 0) -> None:
        self._more = MOST + TIMES * file_size
        self._limited = False

    def __enter__(self) -> None:
        if (taken := _lately_taken()) is not None:
            _enter(taken + self._more)
            self._limited = True

    def __exit__(self, *_: object) -> None:
        if self._limited:
            _leave()


def _lately_taken() -> int | None:
    global _asked  # noqa: PLW0603 - see `_enter`
    at, taken = _asked
    if (now := time.monotonic()) - at >= AGAIN:
        taken = _private_memory()
        _asked = (now, taken)
    return taken


def _private_memory() -> int | None:
    import resource  # noqa: PLC0415 - not on every system, and the next line tells

    try:
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[5]
    except (OSError, IndexError):
        return None
    return int(pages) * resource.getpagesize()


def _enter(limit: int) -> None:
    import resource  # noqa: PLC0415 - see `_private_memory`

    global _inside, _before  # noqa: PLW0603 - as the limit, it is the process's
    with _lock:
        soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
        if not _inside:
            _before = (soft, hard)
        elif soft != resource.RLIM_INFINITY:
            limit = max(limit, soft)
        if hard != resource.RLIM_INFINITY:
            limit = min(limit, hard)
        if _before[0] != resource.RLIM_INFINITY:
            limit = min(limit, _before[0])
        _inside += 1
        if limit != soft:
            resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


def _leave() -> None:
    import resource  # noqa: PLC0415 - see `_private_memory`

    global _inside  # noqa: PLW0603 - see `_enter`
    with _lock:
        _inside -= 1
        if not _inside:
            resource.setrlimit(resource.RLIMIT_DATA, _before)

"""What reading a stranger's file may take: a file of some kilobytes can unpack to more than a machine has."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

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


@contextmanager
def limited_memory(file_size: int = 0) -> Iterator[None]:
    """
    Within, this process gets MOST bytes more and TIMES the size of the file, and then a MemoryError.

    Of all its threads; files that are mapped to be read do not count. Only Linux knows such a limit
    (RLIMIT_DATA: setrlimit(2)); elsewhere nothing is limited.
    """
    if (taken := _lately_taken()) is None:
        yield
        return
    _enter(taken + MOST + TIMES * file_size)
    try:
        yield
    finally:
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
        resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


def _leave() -> None:
    import resource  # noqa: PLC0415 - see `_private_memory`

    global _inside  # noqa: PLW0603 - see `_enter`
    with _lock:
        _inside -= 1
        if not _inside:
            resource.setrlimit(resource.RLIMIT_DATA, _before)

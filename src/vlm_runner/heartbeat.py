"""A file that shows that the process is alive and its event loop runs, for container health checks."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Final

import anyio

if TYPE_CHECKING:
    from pathlib import Path

BEAT_EVERY: Final = 10.0
"""Seconds."""


async def beat(path: Path) -> None:
    """Touch `path` periodically. If the loop blocks or the disk is gone, the file grows old."""
    where = anyio.Path(path)
    while True:
        # A full disk must not end a run; the health check reports it.
        with contextlib.suppress(OSError):
            await where.parent.mkdir(parents=True, exist_ok=True)
            await where.touch()
        await anyio.sleep(BEAT_EVERY)


def age(path: Path) -> float | None:
    """Seconds since the last beat; None if there was none."""
    try:
        touched = path.stat().st_mtime
    except OSError:
        return None
    return max(0.0, time.time() - touched)

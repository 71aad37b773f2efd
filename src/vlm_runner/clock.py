"""Time as something that is passed in."""

from __future__ import annotations

import random
import time
from datetime import UTC, datetime
from typing import Protocol

import anyio


class Clock(Protocol):
    """What the runner knows of time and chance."""

    def now(self) -> datetime:
        """UTC; shown to people, never compared between machines."""

    def elapsed(self) -> float:
        """Seconds that only grow, also while the machine sleeps; leases are measured with it."""

    async def sleep(self, seconds: float) -> None: ...

    def chance(self) -> float:
        """Between 0 and 1."""


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def elapsed(self) -> float:
        # CLOCK_MONOTONIC stands still while a laptop sleeps; a lease does not.
        if hasattr(time, "CLOCK_BOOTTIME"):
            return time.clock_gettime(time.CLOCK_BOOTTIME)
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)

    def chance(self) -> float:
        return random.random()  # noqa: S311 - spreads load, keeps no secret

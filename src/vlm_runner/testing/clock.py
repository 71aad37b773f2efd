"""A clock over the loop's time: on a virtual loop, hours are free."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta

import anyio

EPOCH = datetime(2026, 11, 22, 12, tzinfo=UTC)


class FakeClock:
    """
    `chance` is seeded, so that a test is the same every time.

    `rate` makes this clock run faster or slower than the world's, `offset` (seconds) makes it wrong.
    """

    def __init__(self, *, seed: int = 0, rate: float = 1.0, offset: float = 0.0) -> None:
        self._random = random.Random(seed)  # noqa: S311 - repeatable on purpose
        self._rate, self._offset, self._set_forward = rate, offset, 0.0
        self._loop: asyncio.AbstractEventLoop | None = None

    def now(self) -> datetime:
        return EPOCH + timedelta(seconds=self.elapsed() + self._set_forward)

    def set_forward(self, seconds: float) -> None:
        """Somebody sets it (back, if negative): what it shows jumps, what it counts does not."""
        self._set_forward += seconds

    def elapsed(self) -> float:
        # A worker thread has no loop of its own; it is asked after the loop that sent it was.
        try:
            self._loop = asyncio.get_running_loop()
        except RuntimeError:
            if self._loop is None:
                raise RuntimeError("this clock has never been on a loop") from None
        return self._loop.time() * self._rate + self._offset

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds / self._rate)

    def chance(self) -> float:
        return self._random.random()

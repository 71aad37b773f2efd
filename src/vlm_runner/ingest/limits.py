"""How much is under way at once: in requests, which S3 has a say in, and in bytes, which memory has."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

import anyio

if TYPE_CHECKING:
    from vlm_runner.clock import Clock

START: Final = 16
CUT_EVERY: Final = 1.0
"""Seconds. Requests that were sent together are refused together, and shall halve the limit once."""


class AdaptiveLimit:
    """
    A semaphore whose limit adapts to S3's throttling, as TCP's window does.

    It grows by one with each success until the first refusal; a refusal halves it; from then on it grows
    by one with each round of successes.
    """

    def __init__(self, most: int, clock: Clock) -> None:
        self._most = most
        self._limit = float(min(START, most))
        self._clock = clock
        self._held = 0
        self._cut_at: float | None = None
        self._waiting: deque[anyio.Event] = deque()

    @property
    def limit(self) -> int:
        return int(self._limit)

    @property
    def held(self) -> int:
        return self._held

    async def acquire(self) -> None:
        while self._held >= self.limit:
            turn = anyio.Event()
            self._waiting.append(turn)
            try:
                await turn.wait()
            except BaseException:
                if turn.is_set():
                    self._wake()
                else:
                    self._waiting.remove(turn)
                raise
        self._held += 1

    def release(self) -> None:
        self._held -= 1
        self._wake()

    def succeeded(self) -> None:
        self._limit = min(self._most, self._limit + (1.0 if self._cut_at is None else 1.0 / self._limit))
        self._wake()

    def refused(self) -> None:
        now = self._clock.elapsed()
        if self._cut_at is None or now - self._cut_at >= CUT_EVERY:
            self._cut_at = now
            self._limit = max(1.0, self._limit / 2)

    def _wake(self) -> None:
        for _ in range(min(len(self._waiting), self.limit - self._held)):
            self._waiting.popleft().set()


class ByteBudget:
    """At most so many bytes at once; one piece that is larger than all of it goes alone."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._used = 0
        self._waiting: deque[tuple[int, anyio.Event]] = deque()

    async def acquire(self, size: int) -> None:
        if not self._waiting and self._fits(size):
            self._used += size
            return
        turn = anyio.Event()
        self._waiting.append((size, turn))
        try:
            await turn.wait()
        except BaseException:
            if turn.is_set():
                self.release(size)
            else:
                self._waiting.remove((size, turn))
            raise

    def release(self, size: int) -> None:
        self._used -= size
        while self._waiting and self._fits(self._waiting[0][0]):
            next_size, turn = self._waiting.popleft()
            self._used += next_size
            turn.set()

    def _fits(self, size: int) -> bool:
        return self._used == 0 or self._used + size <= self._limit

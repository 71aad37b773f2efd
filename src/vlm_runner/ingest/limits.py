"""How much is under way at once: in requests, which S3 has a say in, and in bytes, which memory has."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

import anyio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from anyio.abc import TaskGroup

    from vlm_runner.clock import Clock

START: Final = 16
CUT_EVERY: Final = 1.0
"""Seconds. Requests that were sent together are refused together, and shall halve the limit once."""
FEW: Final = 16
"""Uploads that wait while more are made ready: the work of 64 connections for some milliseconds."""


class AdaptiveLimit:
    """
    How many requests at once S3 takes, found out as TCP finds its window.

    It grows by one with each success until the first refusal; a refusal halves it; from then on it grows
    by one with each round of successes.
    """

    def __init__(self, most: int, clock: Clock) -> None:
        self._most = most
        self._limit = float(min(START, most))
        self._clock = clock
        self._cut_at: float | None = None

    @property
    def limit(self) -> int:
        return int(self._limit)

    def succeeded(self) -> None:
        self._limit = min(self._most, self._limit + (1.0 if self._cut_at is None else 1.0 / self._limit))

    def refused(self) -> None:
        now = self._clock.elapsed()
        if self._cut_at is None or now - self._cut_at >= CUT_EVERY:
            self._cut_at = now
            self._limit = max(1.0, self._limit / 2)


class UploadQueue:
    """
    Uploads that wait, and the tasks that do them: as many at once as the limit allows.

    A task that has done one upload begins the next in the same step. To wake another task, or to start one,
    takes turns of the event loop, in which a connection is idle.
    """

    def __init__(self, limit: AdaptiveLimit, group: TaskGroup) -> None:
        self._limit, self._group = limit, group
        self._waiting: deque[Callable[[], Awaitable[None]]] = deque()
        self._tasks = 0
        self._few: anyio.Event | None = None

    def add(self, upload: Callable[[], Awaitable[None]]) -> None:
        self._waiting.append(upload)
        self._begin_one()

    async def until_few(self) -> None:
        """Wait until so few are waiting that more should be made ready."""
        while len(self._waiting) > FEW:
            if self._few is None:
                self._few = anyio.Event()
            await self._few.wait()

    def _begin_one(self) -> None:
        if self._waiting and self._tasks < self._limit.limit:
            self._tasks += 1
            self._group.start_soon(self._work)

    async def _work(self) -> None:
        while self._waiting and self._tasks <= self._limit.limit:
            upload = self._waiting.popleft()
            if self._few is not None and len(self._waiting) <= FEW:
                self._few.set()
                self._few = None
            limit = self._limit.limit
            await upload()
            if self._limit.limit > limit:
                self._begin_one()
        self._tasks -= 1


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

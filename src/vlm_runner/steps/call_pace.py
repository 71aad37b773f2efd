"""How fast test calls are sent: as fast as the endpoint was seen to take them."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from vlm_runner.clock import Clock

SLOWEST: Final = 0.2
"""Calls a second: however often it throttles, one is tried every five seconds."""

CUT_EVERY: Final = 1.0
"""Seconds. Calls that were sent together are throttled together, and shall count once."""

GROWTH: Final = 0.02
"""Of the rate, for each second without throttling."""


class CallPace:
    """
    Unlimited until the first call is throttled; then calls are spaced by the rate that was taken last.

    AWS publishes no rate for a model unit, and tells none when it throttles. So the rate is measured: the
    calls of the last second that were not throttled. From there it grows slowly, to find a higher one.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rate: float | None = None
        self._next = 0.0
        self._grown_at = 0.0
        self._cut_at: float | None = None
        self._sent: deque[float] = deque()

    @property
    def rate(self) -> float | None:
        """Calls a second; None: nothing was throttled yet."""
        return self._rate

    async def take(self) -> float:
        """Wait for a call's turn; returns when it was sent, for `refused`."""
        if self._rate is not None:
            self._grow()
            now = self._clock.elapsed()
            at = max(now, self._next)
            self._next = at + 1 / self._rate
            await self._clock.sleep(at - now)
        sent = self._clock.elapsed()
        self._sent.append(sent)
        while self._sent[0] < sent - 2 * CUT_EVERY:
            self._sent.popleft()
        return sent

    def refused(self, sent: float) -> None:
        """The call that was sent then was throttled."""
        if sent in self._sent:
            self._sent.remove(sent)
        now = self._clock.elapsed()
        if self._cut_at is not None and now - self._cut_at < CUT_EVERY:
            return
        self._cut_at = self._grown_at = now
        taken = sum(each > now - CUT_EVERY for each in self._sent) / CUT_EVERY
        if self._rate is not None:
            taken = min(self._rate, max(taken, self._rate / 2))
        self._rate = max(SLOWEST, taken)
        self._next = max(self._next, now + 1 / self._rate)

    def _grow(self) -> None:
        now = self._clock.elapsed()
        if self._rate is not None:
            self._rate *= (1 + GROWTH) ** (now - self._grown_at)
        self._grown_at = now

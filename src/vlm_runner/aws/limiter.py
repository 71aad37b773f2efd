"""How fast one process may ask AWS's control plane, however many runs it drives."""

from __future__ import annotations

from typing import Final

import anyio
from anyio.lowlevel import RunVar

RATE: Final = 20.0
"""
Calls a second of Bedrock's control plane, for one account and region.

AWS publishes no rates for these operations. So this is what a few hundred runs need, and where AWS finds it
too much, its refusals set the pace.
"""

BURST: Final = 60.0
"""Calls that may come at once after a rest."""

SLOWEST: Final = 1 / 16
"""Of the rate: however often AWS refuses, about a call a second is tried."""

CUT_EVERY: Final = 1.0
"""Seconds. Calls that were sent together are refused together, and shall halve the rate once."""

RECOVERY: Final = 60.0
"""Seconds in which a rate of nothing would grow to the full one."""

IN_A_ROW: Final = 3
"""Urgent calls that go before one that is not urgent and waits."""

DUST: Final = 1e-6
"""Of a call: what a sum of fractions may lack of a whole one."""


class Limiter:
    """
    A bucket of calls that fills with time; each kind of call is first come, first served.

    Urgent calls, those that rent, stop and delete, go before the reads of hundreds of runs, but for every
    fourth: looking goes on, too.
    """

    def __init__(self, rate: float = RATE, burst: float = BURST) -> None:
        self._most = self._rate = rate
        self._burst = self._left = burst
        self._filled_at: float | None = None
        self._cut_at: float | None = None
        self._lanes = {urgent: anyio.Lock() for urgent in (True, False)}
        self._at_front = {True: False, False: False}
        self._in_a_row = 0

    @property
    def rate(self) -> float:
        """Calls a second, at present."""
        return self._rate

    async def take(self, *, urgent: bool = False) -> None:
        """Wait for a call's turn. A wait that is cancelled has taken nothing."""
        async with self._lanes[urgent]:
            self._at_front[urgent] = True
            try:
                while (seconds := self._until(urgent=urgent)) > 0:  # noqa: ASYNC110 - time is what it waits for
                    await anyio.sleep(seconds)
                self._left -= 1
                self._in_a_row = self._in_a_row + 1 if urgent and self._at_front[False] else 0
            finally:
                self._at_front[urgent] = False

    def refused(self) -> None:
        """AWS throttled a call: half as fast, for every run, until calls have succeeded for a while."""
        self._fill()
        now = anyio.current_time()
        if self._cut_at is None or now - self._cut_at >= CUT_EVERY:
            self._cut_at = now
            self._rate = max(self._most * SLOWEST, self._rate / 2)
            self._left = min(self._left, 0.0)

    def _until(self, *, urgent: bool) -> float:
        """Seconds to wait before it is worth asking again; 0: go."""
        self._fill()
        others_turn = self._at_front[not urgent] and urgent == (self._in_a_row >= IN_A_ROW)
        missing = (2.0 if others_turn else 1.0) - self._left
        return missing / self._rate if missing > DUST else 0.0

    def _fill(self) -> None:
        now = anyio.current_time()
        passed = 0.0 if self._filled_at is None else now - self._filled_at
        self._filled_at = now
        self._rate = min(self._most, self._rate + self._most * passed / RECOVERY)
        self._left = min(self._burst, self._left + passed * self._rate)


_shared: RunVar[dict[tuple[str | None, ...], Limiter]] = RunVar("limiters")


def limiter_of(*account_and_region: str | None) -> Limiter:
    """The one that all sessions of this event loop share, runs of other runners included."""
    limiters = _shared.get({})
    _shared.set(limiters)
    return limiters.setdefault(account_and_region, Limiter())

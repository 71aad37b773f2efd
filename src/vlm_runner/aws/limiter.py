"""How fast one process may ask AWS's control plane, however many runs it drives."""

from __future__ import annotations

import anyio


class Limiter:
    """A bucket of calls that fills at `rate` a second, up to `burst`; first come, first served."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst = rate, burst
        self._left, self._since = burst, 0.0
        self._lock = anyio.Lock()

    async def take(self) -> None:
        async with self._lock:
            now = anyio.current_time()
            self._left = min(self._burst, self._left + (now - (self._since or now)) * self._rate)
            self._since = now
            if self._left < 1:
                await anyio.sleep((1 - self._left) / self._rate)
                self._left, self._since = 1.0, anyio.current_time()
            self._left -= 1

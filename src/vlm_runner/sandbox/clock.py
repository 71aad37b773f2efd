"""Simulated time: all timestamps, progress and costs in the sandbox are computed from it."""

import threading
import time
from datetime import UTC, datetime, timedelta


class SimulatedClock:
    """Starts at `as_of` and runs `speed` times as fast as the wall clock; it can jump ahead, never back."""

    def __init__(self, as_of: datetime | None = None, speed: float = 1.0) -> None:
        self._lock = threading.Lock()
        self._set_base(as_of or datetime.now(UTC))
        self._speed = speed

    def _set_base(self, moment: datetime) -> None:
        self._base = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        self._since = time.monotonic()

    def _now(self) -> datetime:
        return self._base + timedelta(seconds=(time.monotonic() - self._since) * self._speed)

    def now(self) -> datetime:
        with self._lock:
            return self._now()

    @property
    def speed(self) -> float:
        return self._speed

    def advance(self, seconds: float) -> None:
        with self._lock:
            self._set_base(self._now() + timedelta(seconds=max(0.0, seconds)))

    def run_at(self, speed: float) -> None:
        with self._lock:
            self._set_base(self._now())
            self._speed = max(0.0, speed)

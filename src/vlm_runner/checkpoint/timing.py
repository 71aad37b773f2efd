"""The times by which a lease is kept, and lost."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LeaseTiming:
    """
    Seconds. `time_to_live` must be at least ten times a slow write to the store, and `guard` longer than
    the longest single call that pays.
    """

    time_to_live: float = 90.0
    renew_every: float = 20.0
    guard: float = 30.0
    clock_rate_error: float = 0.10
    margin: float = 5.0
    look_every: float = 2.0
    persistence: float = 900.0
    """For how long a save is tried while the store does not answer; nothing is paid for meanwhile."""

    @property
    def paying(self) -> float:
        """For how long after a save began whatever pays may leave."""
        return self.time_to_live - self.guard

    @property
    def patience(self) -> float:
        """For how long a document must be seen unchanged before its holder counts as gone."""
        return self.time_to_live * (1 + self.clock_rate_error) + self.margin

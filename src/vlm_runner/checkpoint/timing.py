"""The times by which a lease is kept, and lost."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class LeaseSettings(BaseModel):
    """
    Seconds. `time_to_live` must be at least ten times a slow write to the store, and `guard` longer than
    the longest single call that pays.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    time_to_live: float = Field(default=90.0, ge=5)
    """For how long one save keeps the run for this process."""
    renew_every: float = Field(default=20.0, ge=0.5)
    """How often the lease is renewed."""
    guard: float = Field(default=30.0, ge=1)
    """How long before its end nothing is bought any more."""
    clock_rate_error: float = Field(default=0.10, ge=0, le=1)
    """How much faster or slower another machine's clock may run, as a fraction."""
    margin: float = Field(default=5.0, ge=0)
    """Added to the wait before a run is taken over."""
    look_every: float = Field(default=2.0, ge=0.1)
    """How often a process that waits for another one's run looks whether it may take over."""

    @property
    def spend_until(self) -> float:
        """How long after a save began a request that costs money may still be sent."""
        return self.time_to_live - self.guard

    @property
    def takeover_after(self) -> float:
        """How long a checkpoint must be seen unchanged before its holder counts as gone."""
        return self.time_to_live * (1 + self.clock_rate_error) + self.margin

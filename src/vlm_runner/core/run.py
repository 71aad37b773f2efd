"""The run: a frozen record, folded from its history."""

from __future__ import annotations

from datetime import datetime
from typing import Self, TypeVar

from vlm_runner.core.events import Entry, Facts, RunCreated
from vlm_runner.core.phases import Phase
from vlm_runner.core.run_status import Outcome, RunStatus

__all__ = ["Outcome", "Phase", "Run", "known"]

T = TypeVar("T")


class Run(Facts, RunStatus, frozen=True):
    """A run after the last event of its history."""

    phase: Phase
    created_at: datetime
    updated_at: datetime
    sequence: int

    created: RunCreated

    @classmethod
    def begin(cls, entry: Entry) -> Self:
        if not isinstance(entry.event, RunCreated):
            raise TypeError(f"a history begins with run_created, not {entry.event.kind}")
        return cls(
            phase=Phase.STAGING,
            created_at=entry.at,
            updated_at=entry.at,
            sequence=entry.sequence,
            created=entry.event,
        )


def known(value: T | None) -> T:
    """A fact that is there in the run's phase."""
    if value is None:
        raise ValueError("the checkpoint's phase and facts contradict each other")
    return value

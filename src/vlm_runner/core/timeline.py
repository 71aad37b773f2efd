"""When a run was in which phase, by the kinds and times of its events. Pure, and light to import."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vlm_runner.core.phases import Phase, Route

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class PhaseSpan:
    """One stay in a phase."""

    phase: Phase
    since: datetime
    until: datetime | None
    """None: the run is in it."""

    def seconds(self, now: datetime) -> float:
        return max(0.0, ((self.until or now) - self.since).total_seconds())


def phase_spans(events: Iterable[tuple[str, datetime]], route: Route) -> list[PhaseSpan]:
    """
    Each phase that the run was in; DONE is none of them.

    `events` are kind and time of each event of the history.

    Raises:
        KeyError: the history is impossible.
    """
    begun: list[tuple[Phase, datetime]] = []
    for kind, at in events:
        phase = route.table[begun[-1][0], kind] if begun else route.first
        if not begun or begun[-1][0] is not phase:
            begun.append((phase, at))
    if not begun:
        return []
    ends: list[datetime | None] = [*(since for _, since in begun[1:]), None]
    return [
        PhaseSpan(phase, since, until)
        for (phase, since), until in zip(begun, ends, strict=True)
        if phase is not Phase.DONE
    ]


def spelled(seconds: float, *, precise: bool = False) -> str:
    """`1 h 05 min`, `12 min`, `3 min 10 s`, `4 s`; `precise`: `12 min 07 s` and `4.2 s` too."""
    if seconds < 60:
        return f"{seconds:.1f} s" if precise else f"{seconds:.0f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s" if precise or minutes < 10 else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes:02d} min"
    return f"{hours // 24} d {hours % 24} h"

"""When a run was in which phase, by the kinds and times of its events. Pure, and light to import."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Final, Literal

from vlm_runner.core.phases import Phase, Route

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime


PAST_RUNS: Final = 20
"""Runs that are read to tell how long phases take: their files together take hundredths of a second."""


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


@dataclass(frozen=True, slots=True)
class PhaseState:
    """One phase in the list that fills while a run goes on."""

    phase: Phase
    state: Literal["done", "now", "next"]
    seconds: float | None
    """In it, all stays together; None: it is to come."""


def phase_states(spans: Sequence[PhaseSpan], now: datetime, route: Route, *, over: bool) -> list[PhaseState]:
    """The phases of `route`: done, doing, to come; of a run that is over only those that it was in."""
    been: dict[Phase, float] = {}
    for span in spans:
        been[span.phase] = been.get(span.phase, 0.0) + span.seconds(now)
    here = spans[-1].phase if spans and not over else None
    return [
        PhaseState(phase, "now" if phase is here else "done" if phase in been else "next", been.get(phase))
        for phase in route.phases
        if phase in been or not over
    ]


def usual_seconds(past: Iterable[Iterable[PhaseSpan]]) -> dict[Phase, float]:
    """How long each phase took as a rule: the median over what `past` runs have left behind."""
    from statistics import median  # noqa: PLC0415 - slow to import, and few ask

    taken: dict[Phase, list[float]] = {}
    for span in chain.from_iterable(past):
        if span.until is not None:
            taken.setdefault(span.phase, []).append((span.until - span.since).total_seconds())
    return {phase: median(seconds) for phase, seconds in taken.items()}


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

"""The state machine as a picture: phases from top to bottom, what leads past others at the right."""

from __future__ import annotations

from html import escape
from typing import Final

from vlm_runner.core.phases import SERVING_ONLY, TRANSITIONS, Phase

LEFT_OUT: Final = {"cancel_requested", "run_failed"}
"""They lead from almost everywhere to RELEASING or REPORTING, as a sentence says better."""
WIDTH: Final = 640
LEFT, BOX, HEIGHT, STEP = 20, 150, 34, 78
"""Of a phase: its left edge, its width and height, and the distance to the next; in pixels."""


def svg() -> str:
    """The edges that change the phase of a run, but for failures and cancels, from the table that a run follows."""
    places = {phase: number for number, phase in enumerate(Phase)}
    parts = [_phase(phase, number) for phase, number in places.items()]
    edges = [(places[start], event, places[after]) for start, event, after in _edges()]
    parts += [_down(first, event) for first, event, last in edges if last == first + 1]
    past = [edge for edge in edges if edge[2] != edge[0] + 1]
    # The longer an arrow, the further out: so it crosses few others.
    lanes = sorted(past, key=lambda edge: abs(edge[2] - edge[0]))
    for number, edge in enumerate(past):
        before = sum(one[0] == edge[0] for one in past[:number])
        parts.append(_past(*edge, lane=lanes.index(edge), before=before))
    height = STEP * len(places)
    return (
        f'<svg class="phases" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="The phases of a run; the table below has the same">{"".join(parts)}</svg>\n'
    )


def _edges() -> list[tuple[Phase, str, Phase]]:
    rows = [*TRANSITIONS.items(), *(row for row in SERVING_ONLY.items() if row not in TRANSITIONS.items())]
    edges: dict[tuple[Phase, Phase], list[str]] = {}
    for (start, event), after in rows:
        if start is not after and event not in LEFT_OUT:
            edges.setdefault((start, after), []).append(event)
    return [(start, ", ".join(events), after) for (start, after), events in edges.items()]


def _phase(phase: Phase, number: int) -> str:
    top = number * STEP + 2
    return (
        f'<rect x="{LEFT}" y="{top}" width="{BOX}" height="{HEIGHT}" rx="6"/>'
        f'<text class="phase" x="{LEFT + BOX / 2}" y="{top + HEIGHT / 2 + 5}">{escape(phase)}</text>'
    )


def _down(number: int, event: str) -> str:
    middle, top = LEFT + BOX / 2, number * STEP + 2 + HEIGHT
    bottom = top + STEP - HEIGHT
    return (
        f'<path d="M{middle} {top}V{bottom - 7}"/><path class="head" d="M{middle - 5} {bottom - 8}l5 8 5-8z"/>'
        f'<text x="{middle + 12}" y="{(top + bottom) / 2 + 4}">{escape(event)}</text>'
    )


def _past(first: int, event: str, last: int, *, lane: int, before: int) -> str:
    """
    An arrow that leaves at the right, passes other phases in a lane of its own, and comes back.

    `before`: how many others leave the same phase above it.
    """
    edge, across = LEFT + BOX, LEFT + BOX + 240 + 24 * lane
    start = first * STEP + 2 + HEIGHT * (0.45 + 0.5 * before)
    end, down = last * STEP + 2 + HEIGHT * 0.2, 1 if last > first else -1
    return (
        f'<path d="M{edge} {start}H{across - 8}q8 0 8 {8 * down}V{end - 8 * down}q0 {8 * down} -8 {8 * down}'
        f'H{edge + 7}"/><path class="head" d="M{edge + 8} {end - 5}l-8 5 8 5z"/>'
        f'<text x="{edge + 14}" y="{start - 4}">{escape(event)}</text>'
    )

"""The geometry of charts: numbers in, coordinates out; a template draws them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from statistics import fmean
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDTH: Final = 752
HEIGHT: Final = 300
LEFT, RIGHT, TOP, BOTTOM = 52, 124, 16, 40
MOST_POINTS: Final = 240
LEAST: Final = 1e-300
"""Between two ticks; of smaller numbers the logarithm is not one any more."""
LONG: Final = 40
"""Points above which a line is too dense for a mark on each."""


@dataclass(frozen=True, slots=True)
class Tick:
    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Line:
    """One series: told apart by dash and mark as well as by colour (`style`, from 0)."""

    name: str
    style: int
    path: str
    marks: tuple[tuple[float, float], ...]
    label_x: float
    label_y: float
    label: str
    first: float
    last: float
    lowest: float


@dataclass(frozen=True, slots=True)
class Chart:
    lines: tuple[Line, ...]
    xs: tuple[Tick, ...]
    ys: tuple[Tick, ...]
    epochs: tuple[float, ...]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


def chart(
    series: Sequence[tuple[str, Sequence[tuple[float, float]]]], epochs: Sequence[float] = ()
) -> Chart | None:
    """Lines over a common scale; None where there is nothing to draw."""
    drawn = [(name, points) for name, points in series if points]
    if not drawn:
        return None
    steps = [x for _, points in drawn for x, _ in points]
    values = [y for _, points in drawn for _, y in points]
    low, high = min(steps), max(steps)
    ys = ticks(min(0.0, *values) if min(values) < max(values) / 2 else min(values), max(values))
    bottom, top = ys[0], ys[-1]

    def x_of(step: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (step - low) / ((high - low) or 1.0)

    def y_of(value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - bottom) / ((top - bottom) or 1.0)

    lines = []
    for style, (name, points) in enumerate(drawn):
        shown = [(round(x_of(x), 1), round(y_of(y), 1)) for x, y in thinned(points)]
        every = max(1, len(shown) // 8) if len(shown) > LONG else 1
        marks = tuple(point for i, point in enumerate(shown) if i % every == 0 or i == len(shown) - 1)
        path = "M" + " L".join(f"{x} {y}" for x, y in shown)
        numbers = [y for _, y in points]
        label = f"{name} {numbers[-1]:.3f}"
        x, y = shown[-1]
        lines.append(
            Line(name, style % 4, path, marks, x + 9, y + 4, label, numbers[0], numbers[-1], min(numbers))
        )
    return Chart(
        lines=_apart(lines),
        xs=tuple(Tick(round(x_of(x), 1), f"{x:,.0f}") for x in ticks(low, high) if low <= x <= high),
        ys=tuple(Tick(round(y_of(y), 1), f"{y:g}") for y in ys),
        epochs=tuple(round(x_of(step), 1) for step in epochs if low < step <= high),
    )


def thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most MOST_POINTS, each the mean of its neighbours; first and last stay."""
    if len(points) <= MOST_POINTS:
        return list(points)
    size = math.ceil(len(points) / MOST_POINTS)
    groups = [points[at : at + size] for at in range(0, len(points), size)]
    means = [(fmean(x for x, _ in group), fmean(y for _, y in group)) for group in groups]
    return [points[0], *means[1:-1], points[-1]]


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers that enclose `low` to `high`."""
    span = (high - low) or abs(high) or 1.0
    rough = max(span / about, LEAST)
    power = 10 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(number * step, 10) for number in range(first, max(last, first + 1) + 1)]


def _apart(lines: list[Line]) -> tuple[Line, ...]:
    """Labels at the ends of lines, moved so that none covers another."""
    placed: list[Line] = []
    lowest = -math.inf
    for line in sorted(lines, key=lambda one: one.label_y):
        y = max(line.label_y, lowest + 15)
        lowest = y
        placed.append(replace(line, label_y=round(y, 1)))
    order = [line.name for line in lines]
    return tuple(sorted(placed, key=lambda line: order.index(line.name)))

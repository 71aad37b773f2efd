"""
How sure a score is: percentile bootstrap over rows (Efron and Tibshirani, 1993, chapter 13).

A few test rows tell little, and the mean alone does not show that. The rows are drawn again, with
replacement, as often as there are rows; where the middle 95 % of 1,000 such scores lie is the interval. The
draw is seeded: the same answers have the same interval, on any machine. Pure.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from vlm_runner.evaluate.evaluation import resampled, statistic
from vlm_runner.evaluate.metrics import COUNTS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vlm_runner.evaluate.evaluation import Scores

SAMPLES: Final = 1000
LEVEL: Final = 0.95
SEED: Final = 0


@dataclass(frozen=True, slots=True)
class Interval:
    """A score or a difference of two, and where it lies with 95 % confidence."""

    value: float
    """Of the rows as they are."""
    low: float
    high: float
    rows: int
    """That it was measured on; of two sets, the smaller one."""

    @property
    def within_noise(self) -> bool:
        """Of a difference: it may as well be none."""
        return self.low <= 0 <= self.high


def score_interval(tables: Sequence[Scores], metric: str) -> Interval | None:
    """
    The score `metric` over rows, each with its scores by name; None where no row has it.

    One row has no spread to show: its interval is its value, with `rows` = 1.
    """
    having = _having(tables, metric)
    value = statistic(having, metric)
    if value is None:
        return None
    draw = random.Random(SEED)  # noqa: S311 - a statistic, not a secret
    rows, score = range(len(having)), resampled(having, metric)
    alike = _alike(having, metric)
    return _interval(value, len(having), lambda: score(draw.choices(rows, k=len(rows))), alike=alike)


def score_difference(
    one: Sequence[Scores], other: Sequence[Scores], metric: str, *, paired: bool
) -> Interval | None:
    """
    `one` less `other`; None where either has no row with `metric`.

    `paired`: both are about the same rows, in the same order, and only those that both have are compared. The
    same rows are then drawn for both, so that a row that is hard for both adds no noise.
    """
    draw = random.Random(SEED)  # noqa: S311 - as above
    if paired:
        both = [pair for pair in zip(one, other, strict=True) if len(_having(pair, metric)) == len(pair)]
        one, other = [pair[0] for pair in both], [pair[1] for pair in both]
    else:
        one, other = _having(one, metric), _having(other, metric)
    value = _less(statistic(one, metric), statistic(other, metric))
    if value is None:
        return None

    score_of_one, score_of_other = resampled(one, metric), resampled(other, metric)

    def again() -> float:
        first = draw.choices(range(len(one)), k=len(one))
        second = first if paired else draw.choices(range(len(other)), k=len(other))
        return score_of_one(first) - score_of_other(second)

    alike = _alike(one, metric) and _alike(other, metric)
    return _interval(value, min(len(one), len(other)), again, alike=alike)


def _alike(tables: Sequence[Scores], metric: str) -> bool:
    """Whether all rows have the same score: then all draws of them have."""
    return len({tuple(map(table.get, (metric, *COUNTS))) for table in tables}) == 1


def _having(tables: Sequence[Scores], metric: str) -> list[Scores]:
    return [table for table in tables if statistic([table], metric) is not None]


def _less(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other


def _interval(value: float, rows: int, again: Callable[[], float], *, alike: bool) -> Interval:
    drawn = sorted(again() for _ in range(1 if alike else SAMPLES))
    outside = round(len(drawn) * (1 - LEVEL) / 2)
    return Interval(value, drawn[outside], drawn[-1 - outside], rows)

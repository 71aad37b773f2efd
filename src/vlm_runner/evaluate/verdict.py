"""
Whether the tuned model is better than its base model, by how much, and how sure that is; pure.

The difference is taken row by row and resampled over rows; see `vlm_runner.evaluate.intervals`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from vlm_runner.evaluate.intervals import score_difference, score_interval

if TYPE_CHECKING:
    from vlm_runner.evaluate.evaluation import Evaluation
    from vlm_runner.evaluate.intervals import Interval

Kind = Literal["better", "worse", "within_noise", "too_few_rows", "not_compared"]

FEWEST_ROWS: Final = 6
"""
With fewer, no result can be 95 % sure: of five rows, all change in one direction by chance in 6 % of cases
(two-sided sign test: 2 x 0.5 ** 5), of six in 3 %. A bootstrap over so few rows claims more than it knows.
"""


@dataclass(frozen=True, slots=True)
class Verdict:
    metric: str
    kind: Kind
    tuned: Interval
    base: Interval | None
    """None: the base model was not asked."""
    change: Interval | None
    """Tuned less base, on the rows that both answered."""

    @property
    def sentence(self) -> str:
        """`similarity 0.31 -> 0.84, better by 0.53 (95 % between 0.41 and 0.62, 20 rows)`."""
        tuned, base, change = self.tuned, self.base, self.change
        if base is None or change is None:
            return f"{self.metric} {tuned.value:.2f}{_between(tuned)}; the base model was not compared"
        head = f"{self.metric} {base.value:.2f} -> {tuned.value:.2f}"
        match self.kind:
            case "too_few_rows":
                return f"{head}, {_rows(change)}: too few to tell"
            case "within_noise":
                return f"{head}, within noise{_between(change)}"
            case _:
                return f"{head}, {self.kind} by {abs(change.value):.2f}{_between(change)}"


def verdict(evaluation: Evaluation) -> Verdict | None:
    """By the metric that says most: how well findings are found, else how like the references answers are."""
    tables = {
        who: [row.get(who) or {} for row in evaluation.rows] if who in evaluation.models else []
        for who in ("tuned", "base")
    }
    tuned_scores = evaluation.models["tuned"]["scores"] if "tuned" in evaluation.models else {}
    metric = "findings.f1" if "findings.f1" in tuned_scores else "similarity"
    tuned = score_interval(tables["tuned"], metric)
    if tuned is None:
        return None
    base = score_interval(tables["base"], metric)
    change = score_difference(tables["tuned"], tables["base"], metric, paired=True) if base else None
    return Verdict(metric, _kind(change), tuned, base, change)


def _kind(change: Interval | None) -> Kind:
    if change is None:
        return "not_compared"
    if change.rows < FEWEST_ROWS:
        return "too_few_rows"
    if change.within_noise:
        return "within_noise"
    return "better" if change.value > 0 else "worse"


def _between(interval: Interval) -> str:
    if interval.rows < FEWEST_ROWS:
        return f" ({_rows(interval)})"
    return f" (95 % between {interval.low:.2f} and {interval.high:.2f}, {_rows(interval)})"


def _rows(interval: Interval) -> str:
    return f"{interval.rows} row{'s' if interval.rows != 1 else ''}"

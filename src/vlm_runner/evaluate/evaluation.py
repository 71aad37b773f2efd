"""From answers to numbers: of each row, and of all."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import TYPE_CHECKING, Any, Final

from vlm_runner.evaluate.metrics import COUNTS, nearest, scores

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vlm_runner.evaluate.answers import AnsweredRow, ModelAnswer
    from vlm_runner.evaluate.metrics import Metric
    from vlm_runner.json_output import ModelScoresJson

WHO: Final = ("tuned", "base")
PRECISION: Final = ("findings.precision", "findings.recall", "findings.f1")
Scores = Mapping[str, float]
"""Of one row, by the metrics' names."""
LARGEST: Final = 1e300
"""Of a stored score; the sum of many must still be a number."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """
    `rows` has a table for each row: its number, and for each model its scores.

    `models` has for each model the means of all scores, and what its calls took.
    """

    rows: tuple[dict[str, Any], ...] = ()
    models: dict[str, ModelScoresJson] = field(default_factory=dict[str, "ModelScoresJson"])
    troubles: tuple[str, ...] = ()
    """Metrics that failed, each once."""

    def headline(self) -> dict[str, dict[str, float]]:
        """The means alone: small enough for a checkpoint."""
        return {who: dict(table["scores"]) for who, table in self.models.items()}


def evaluate(
    answered: Sequence[AnsweredRow],
    metrics: Mapping[str, Metric] | None = None,
    costs: Mapping[str, Callable[[int, int], float | None]] | None = None,
    stored: Mapping[int, Mapping[str, Mapping[str, float]]] | None = None,
) -> Evaluation:
    """
    Measure all answers. `costs` gives for each model the price of its calls, where they are billed.

    `stored` are scores by row and model that were measured before, for what this process does not measure.

    A metric that fails for a row has no value there; nothing else is affected.
    """
    troubles: dict[str, str] = {}
    rows = []
    for row in answered:
        table: dict[str, Any] = {"row": row.row}
        for who in WHO:
            reply: ModelAnswer | None = getattr(row, who)
            if reply is not None:
                before = (stored or {}).get(row.row, {}).get(who, {})
                table[who] = (
                    {}
                    if reply.error
                    else {
                        **before,
                        **_scored(closest(row, reply.answer), reply.answer, metrics or {}, troubles),
                    }
                )
        rows.append(table)
    models: dict[str, ModelScoresJson] = {}
    for who in WHO:
        replies = [(one, getattr(one, who)) for one in answered if getattr(one, who) is not None]
        if replies:
            tables = [table[who] for table in rows if who in table]
            models[who] = _whole(
                tables, [reply for _, reply in replies], (costs or {}).get(who, lambda *_: None)
            )
    return Evaluation(tuple(rows), models, tuple(troubles.values()))


def closest(row: AnsweredRow, answer: str) -> str:
    """Of the right answers the one that `answer` comes closest to."""
    return nearest((row.reference, *row.accepted), answer) if row.accepted else row.reference


def _scored(
    reference: str, answer: str, metrics: Mapping[str, Metric], troubles: dict[str, str]
) -> dict[str, float]:
    found = scores(reference, answer)
    for path, metric in metrics.items():
        name = path.replace(":", ".").rpartition(".")[2]
        try:
            value = metric(reference, answer)
            named = value if isinstance(value, Mapping) else {"": value}
            own = {f"{name}.{key}" if key else name: float(number) for key, number in named.items()}
        except Exception as error:  # noqa: BLE001 - a stranger's code: its failure is a fact of the report
            troubles.setdefault(path, f"The metric '{path}' failed: {type(error).__name__}: {error}")
        else:
            found |= {key: number for key, number in own.items() if math.isfinite(number)}
    return found


def numbers(table: Mapping[str, Any]) -> dict[str, float]:
    """What of `table`, from outside, is a score."""
    return {
        name: float(value)
        for name, value in table.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST
    }


def _whole(
    tables: Sequence[Scores],
    replies: Sequence[ModelAnswer],
    cost: Callable[[int, int], float | None],
) -> ModelScoresJson:
    answered = [reply for reply in replies if not reply.error]
    seconds = [reply.seconds for reply in answered if reply.seconds is not None]
    tokens_in = sum(reply.input_tokens for reply in answered)
    tokens_out = sum(reply.output_tokens for reply in answered)
    return {
        "answered": len(answered),
        "failed": len(replies) - len(answered),
        "cut_off": sum(reply.stop_reason in {"max_tokens", "length"} for reply in answered),
        "scores": _means(tables),
        "characters": fmean(len(reply.answer) for reply in answered) if answered else None,
        "seconds_median": median(seconds) if seconds else None,
        "seconds_longest": max(seconds) if seconds else None,
        "input_tokens": tokens_in,
        "output_tokens": tokens_out,
        "cost_usd": cost(tokens_in, tokens_out),
    }


def statistic(tables: Sequence[Scores], name: str) -> float | None:
    """
    The score `name` over rows: the mean of those that have it; precision and recall over all rows at once.

    None where no row has it.
    """
    if name in PRECISION:
        having = [table for table in tables if any(count in table for count in COUNTS)]
        hits, said, expected = (sum(table.get(count, 0.0) for table in having) for count in COUNTS)
        return _precision(hits, said, expected)[name] if having else None
    values = [table[name] for table in tables if name in table]
    return fmean(values) if values else None


def resampled(tables: Sequence[Scores], name: str) -> Callable[[Sequence[int]], float]:
    """`statistic` of the rows whose places it is given, where all `tables` have the score; for many draws."""
    if name not in PRECISION:
        values = [table[name] for table in tables]
        return lambda rows: fmean(map(values.__getitem__, rows))
    hits, said, expected = ([table.get(count, 0.0) for table in tables] for count in COUNTS)

    def score(rows: Sequence[int]) -> float:
        sums = (sum(map(counts.__getitem__, rows)) for counts in (hits, said, expected))
        return _precision(*sums)[name]

    return score


def _means(tables: Sequence[Scores]) -> dict[str, float]:
    names = dict.fromkeys(name for table in tables for name in table if name not in COUNTS)
    found = {name: statistic(tables, name) for name in (*names, *PRECISION)}
    return {name: round(value, 6) for name, value in found.items() if value is not None}


def _precision(hits: float, said: float, expected: float) -> dict[str, float]:
    # Nothing expected and nothing reported is a perfect answer.
    precision = hits / said if said else float(not expected)
    recall = hits / expected if expected else float(not said)
    both = precision + recall
    f1 = 2 * precision * recall / both if both else 0.0
    return dict(zip(PRECISION, (precision, recall, f1), strict=True))

"""Which run of a sweep is best, and how sure that is; pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vlm_runner.core.run import known
from vlm_runner.evaluate import score_difference, score_interval
from vlm_runner.sweep.plan import LOSSES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vlm_runner.core.run import Run
    from vlm_runner.evaluate import Interval
    from vlm_runner.json_output import MoneyJson
    from vlm_runner.sweep.plan import Planned


@dataclass(slots=True)
class Result:
    """How one run of a sweep ended: the run, the error that halted it, or both."""

    planned: Planned
    run: Run | None = None
    error: Exception | None = None
    scores: dict[int, dict[str, float]] = field(default_factory=dict[int, dict[str, float]])
    """Of the fine-tuned model's answers, by row."""
    money: MoneyJson | None = None
    """What it has cost; None where it does not exist."""
    skipped: bool = False
    """It was not begun: see `SweepSpec.stop_after`."""

    @property
    def succeeded(self) -> bool:
        return self.error is None and self.run is not None and self.run.outcome == "succeeded"


@dataclass(frozen=True, slots=True)
class Standing:
    """One run of a sweep in the comparison."""

    result: Result
    value: float | None
    """Of the metric that is ranked by; None where the run has none."""
    interval: Interval | None = None
    """Of a score of the answers; a loss is one number, and tells nothing of its spread."""
    best: bool = False
    behind: Interval | None = None
    """The best run's score less this one's; None for a loss, and for the best."""

    @property
    def within_noise(self) -> bool:
        """Whether the difference to the best run may be chance."""
        return self.behind is not None and self.behind.within_noise


def ranked_by(metric: str | None, results: Sequence[Result]) -> str:
    """What the sweep asks for; else the validation loss, or the training loss where no run has that."""
    validation, training = LOSSES
    if metric is not None:
        return metric
    return validation if any(_loss(one.run, validation) is not None for one in results) else training


def standings(results: Sequence[Result], metric: str) -> list[Standing]:
    """The best first; those without a value last, as they stand in the sweep's file."""
    found = sorted((_standing(result, metric) for result in results), key=lambda one: _order(one, metric))
    best = next((one for one in found if one.value is not None and one.result.succeeded), None)
    return [_against(one, best, metric) for one in found]


def since_best(finished: Sequence[Result], metric: str) -> int:
    """How many runs have ended after the best of them, in the order in which they ended."""
    best = next((one.result for one in standings(finished, metric) if one.best), None)
    return len(finished) if best is None else len(finished) - 1 - [*finished].index(best)


def verdict(found: Sequence[Standing], metric: str) -> list[str]:
    """What a person should know of the comparison, a sentence each."""
    best = next((one for one in found if one.best), None)
    if best is None:
        return [_nothing(found, metric)]
    run_id, value = best.result.planned.run_id, best.value
    sure = ""
    if best.interval is not None:
        sure = (
            f" (95 % between {best.interval.low:.3f} and {best.interval.high:.3f}, {best.interval.rows} rows)"
        )
    lines = [f"Best by {metric}: {run_id}, {value:.4f}{sure}. Serve it with: vlm-runner serve {run_id}"]
    if close := [one.result.planned.run_id for one in found if one.within_noise]:
        lines.append(
            f"Within noise of it: {', '.join(close)}. More test rows would tell: set rows under [test]."
        )
    return lines


def _nothing(found: Sequence[Standing], metric: str) -> str:
    names = sorted({name for one in found for table in one.result.scores.values() for name in table})
    there = f"; there are {', '.join(names)}" if names else ""
    return f"No run has succeeded with a value of {metric}{there}."


def _standing(result: Result, metric: str) -> Standing:
    if metric in LOSSES:
        return Standing(result, _loss(result.run, metric))
    interval = score_interval([*result.scores.values()], metric)
    return Standing(result, None if interval is None else interval.value, interval)


def _order(one: Standing, metric: str) -> tuple[float, float]:
    value = one.value
    if value is not None and metric not in LOSSES:
        value = -value
    return (_last(value), _last(_loss(one.result.run, "training_loss")))


def _last(value: float | None) -> float:
    return float("inf") if value is None else value


def _loss(run: Run | None, name: str) -> float | None:
    model = run.model if run is not None else None
    if model is None:
        return None
    return model.validation_loss if name == "validation_loss" else model.training_loss


def _against(one: Standing, best: Standing | None, metric: str) -> Standing:
    if best is None or one.value is None:
        return one
    if one is best:
        return Standing(one.result, one.value, one.interval, best=True)
    if metric in LOSSES:
        return one
    first, other = best.result, one.result
    if paired := _same_rows(first, other):
        rows = sorted(first.scores)
        tables = [[result.scores[row] for row in rows] for result in (first, other)]
    else:
        tables = [[*result.scores.values()] for result in (first, other)]
    return Standing(
        other, one.value, one.interval, behind=score_difference(tables[0], tables[1], metric, paired=paired)
    )


def _same_rows(one: Result, other: Result) -> bool:
    """Whether both were asked about the same rows: the same numbers, in a place that holds one dataset's."""
    first, second = one.run, other.run
    if first is None or second is None or one.scores.keys() != other.scores.keys():
        return False
    return _asked(first) is not None and _asked(first) == _asked(second)


def _asked(run: Run) -> tuple[str, str] | None:
    """Bucket and folder of the images that the run was asked about."""
    if run.tests is None or run.places is None:
        return None
    place = run.places.validation if run.tests.held_out else run.places.train
    return run.bucket, known(place).images

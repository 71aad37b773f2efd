"""Which run of a sweep is best, and how sure that is."""

from __future__ import annotations

import random
from typing import Any

from tests.histories import happy_runs
from vlm_runner.core.phases import Phase
from vlm_runner.report.money import money
from vlm_runner.sweep.compare import Result, ranked_by, since_best, standings, verdict
from vlm_runner.sweep.plan import Planned
from vlm_runner.sweep.table import rows, table_text

DONE = next(run for run, _ in happy_runs() if run.phase is Phase.DONE)
ROWS = 40


def result(name: str, scores: dict[int, dict[str, float]] | None = None, **losses: float) -> Result:
    model = DONE.model.model_copy(update=losses) if DONE.model is not None else None
    planned = Planned(name, DONE.spec, {"prompt.user": {"file": f"{name}.txt"}}, (), "group")
    return Result(planned, DONE.model_copy(update={"model": model}), scores=scores or {})


def scored(name: str, mean: float, seed: int = 0) -> Result:
    """Answers whose rows are as hard for every run, but for a little chance."""
    hard, chance = random.Random("rows"), random.Random(seed)
    return result(
        name,
        {
            row: {"similarity": mean + hard.uniform(-0.3, 0.3) + chance.uniform(-0.05, 0.05)}
            for row in range(ROWS)
        },
    )


def test_the_best_score_comes_first_and_what_may_be_chance_is_called_so() -> None:
    results = [scored("poor", 0.4, 1), scored("good", 0.605, 2), scored("best", 0.61, 3), result("silent")]

    found = standings(results, "similarity")

    assert [one.result.planned.run_id for one in found] == ["best", "good", "poor", "silent"]
    assert [one.best for one in found] == [True, False, False, False]
    assert [one.within_noise for one in found] == [False, True, False, False]
    first, second = verdict(found, "similarity")
    assert first.startswith("Best by similarity: best, 0.5")
    assert first.endswith(f"{ROWS} rows). Serve it with: vlm-runner serve best")
    assert second.startswith("Within noise of it: good.")


def test_only_runs_on_the_same_images_are_compared_row_by_row() -> None:
    """A small difference, the same for each row: certain on the same rows, chance on others."""
    best, near = scored("best", 0.60), scored("near", 0.58)
    assert near.run is not None
    assert near.run.places is not None
    elsewhere = near.run.places.train.model_copy(update={"images": "images/content-1/train/"})
    places = near.run.places.model_copy(update={"train": elsewhere})
    other = Result(near.planned, near.run.model_copy(update={"places": places}), scores=near.scores)

    assert [one.within_noise for one in standings([best, near], "similarity")] == [False, False]
    assert [one.within_noise for one in standings([best, other], "similarity")] == [False, True]


def test_a_loss_is_better_the_less_it_is_and_claims_nothing_about_noise() -> None:
    results = [result("a", validation_loss=0.5), result("b", validation_loss=0.3), result("c")]

    found = standings(results, ranked_by(None, results))

    assert [one.result.planned.run_id for one in found] == ["b", "a", "c"]
    assert verdict(found, "validation_loss") == [
        "Best by validation_loss: b, 0.3000. Serve it with: vlm-runner serve b"
    ]
    assert ranked_by(None, [result("c")]) == "training_loss"


def test_a_run_that_did_not_succeed_is_never_the_best() -> None:
    broken = result("broken", validation_loss=0.1)
    broken.error = RuntimeError("halted")

    found = standings([broken, result("whole", validation_loss=0.9)], "validation_loss")

    assert [one.best for one in found] == [False, True]


def test_a_metric_that_nothing_has_is_answered_with_those_that_there_are() -> None:
    (line,) = verdict(standings([scored("a", 0.5)], "findings.f1"), "findings.f1")

    assert line == "No run has succeeded with a value of findings.f1; there are similarity."


def test_counts_how_many_runs_were_no_better() -> None:
    results = [result("a", validation_loss=0.5), result("b", validation_loss=0.3)]

    assert since_best([], "validation_loss") == 0
    assert since_best(results, "validation_loss") == 0
    assert since_best([*results, result("c", validation_loss=0.4)], "validation_loss") == 1


def test_the_table_shows_score_interval_and_verdict() -> None:
    best = scored("best", 0.61, 3)
    best.money = {
        **money(DONE, (), None, DONE.updated_at),
        "known_usd": 4.2,
        "complete": False,
        "about": False,
    }
    table = rows(standings([scored("poor", 0.4, 1), best], "similarity"), "similarity")
    head, first, second = table_text(table).splitlines()

    assert head.split()[-6:] == ["VALIDATION", "SIMILARITY", "95", "%", "ROWS", "VERDICT"]
    assert first.split()[:2] == ["best", "best.txt"]
    assert "  $4.20 + ?  " in first
    assert first.endswith("best")
    assert second.endswith("worse")
    facts: dict[str, Any] = dict(table[0])
    assert facts["low"] < facts["value"] < facts["high"]
    assert (facts["metric"], facts["rows"], facts["best"]) == ("similarity", ROWS, True)
    assert (facts["cost_usd"], facts["cost_complete"], table[1]["cost_usd"]) == (4.2, False, None)

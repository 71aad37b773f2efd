"""From answers to a model's numbers, by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest

from vlm_runner.evaluate import AnsweredRow, ModelAnswer, evaluate

from .test_metrics import accessible


def rows_of(*replies: ModelAnswer | None, reference: str = "cat") -> list[AnsweredRow]:
    return [AnsweredRow(row=n, reference=reference, tuned=reply) for n, reply in enumerate(replies)]


def test_what_a_models_calls_took() -> None:
    found = evaluate(
        rows_of(
            ModelAnswer(answer="cat", input_tokens=10, output_tokens=1, seconds=1.0, stop_reason="end_turn"),
            ModelAnswer(answer="a cat", input_tokens=20, output_tokens=2, seconds=2.0, stop_reason="length"),
            ModelAnswer(
                answer="cats", input_tokens=30, output_tokens=3, seconds=9.0, stop_reason="max_tokens"
            ),
            ModelAnswer(answer="dog", input_tokens=40, output_tokens=4, stop_reason="stop"),
            ModelAnswer(error="refused", input_tokens=99, output_tokens=99, seconds=99.0),
        ),
        costs={"tuned": lambda given, made: given * 100.0 + made},
    ).models["tuned"]

    assert (found["answered"], found["failed"], found["cut_off"]) == (4, 1, 2)
    assert (found["seconds_median"], found["seconds_longest"]) == (2.0, 9.0)
    assert (found["input_tokens"], found["output_tokens"]) == (100, 10)
    assert found["cost_usd"] == 100 * 100.0 + 10
    assert found["characters"] == (3 + 5 + 4 + 3) / 4
    assert found["scores"]["exact"] == 0.25


def test_a_model_that_answered_nothing_has_no_means() -> None:
    found = evaluate(rows_of(ModelAnswer(error="away"))).models["tuned"]

    assert (found["answered"], found["failed"], found["scores"]) == (0, 1, {})
    assert (found["characters"], found["seconds_median"], found["seconds_longest"]) == (None, None, None)
    assert found["cost_usd"] is None


def test_each_model_is_measured_by_the_rows_that_it_was_asked() -> None:
    rows = [
        AnsweredRow(row=4, reference="cat", tuned=ModelAnswer(answer="cat"), base=ModelAnswer(answer="dog")),
        AnsweredRow(row=7, reference="cat", tuned=ModelAnswer(answer="CAT ")),
    ]

    found = evaluate(rows)

    assert [table["row"] for table in found.rows] == [4, 7]
    assert [set(table) for table in found.rows] == [{"row", "tuned", "base"}, {"row", "tuned"}]
    assert found.models["base"]["answered"] == 1
    assert {who: means["exact"] for who, means in found.headline().items()} == {"tuned": 1.0, "base": 0.0}


def test_a_metric_of_ones_own_goes_by_its_name_and_what_is_no_number_is_left_out() -> None:
    def parts(_reference: str, answer: str) -> dict[str, float]:
        return {"letters": len(answer), "odd": math.nan, "endless": math.inf}

    found = evaluate(
        rows_of(ModelAnswer(answer="cat"), ModelAnswer(answer="horse")),
        {"mine.metrics:parts": parts, "mine.metrics.half": lambda *_: 0.5},
    )

    own = {k: v for k, v in found.models["tuned"]["scores"].items() if k not in {"exact", "similarity"}}
    assert own == {"parts.letters": 4.0, "half": 0.5}
    assert found.troubles == ()


def test_a_metric_that_fails_once_is_told_once_and_keeps_its_other_rows() -> None:
    def picky(_reference: str, answer: str) -> Any:
        if answer != "cat":
            raise KeyError(answer)
        return 1

    found = evaluate(
        rows_of(ModelAnswer(answer="a"), ModelAnswer(answer="b"), ModelAnswer(answer="cat")),
        {"m:picky": picky},
    )

    assert found.troubles == ("The metric 'm:picky' failed: KeyError: 'a'",)
    assert found.models["tuned"]["scores"]["picky"] == 1.0


@pytest.mark.parametrize(
    ("expected", "said", "precision", "recall", "f1"),
    [
        (("1", "2", "3"), ("1", "2", "8", "9"), 2 / 4, 2 / 3, 4 / 7),
        ((), ("1",), 0.0, 0.0, 0.0),
        (("1",), (), 0.0, 0.0, 0.0),
        (("1", "2"), ("1",), 1.0, 0.5, 2 / 3),
        (("1",), ("9",), 0.0, 0.0, 0.0),
    ],
)
def test_precision_recall_and_f1(
    expected: tuple[str, ...], said: tuple[str, ...], precision: float, recall: float, f1: float
) -> None:
    """F1 is the harmonic mean; without hits all three are 0."""
    row = AnsweredRow(row=0, reference=accessible(*expected), tuned=ModelAnswer(answer=accessible(*said)))

    found = evaluate([row]).models["tuned"]["scores"]

    assert found["findings.precision"] == pytest.approx(precision, abs=1e-6)
    assert found["findings.recall"] == pytest.approx(recall, abs=1e-6)
    assert found["findings.f1"] == pytest.approx(f1, abs=1e-6)

"""How sure a score is."""

from __future__ import annotations

import random
from typing import Any

import pytest

from vlm_runner.evaluate import intervals, score_difference, score_interval

alike = intervals._alike


def rows(*values: float) -> list[dict[str, float]]:
    return [{"exact": value} for value in values]


def test_the_same_rows_have_the_same_interval() -> None:
    tables = rows(0.1, 0.9, 0.4, 0.6)

    assert score_interval(tables, "exact") == score_interval(tables, "exact")


def test_a_mean_lies_in_its_interval_and_more_rows_narrow_it() -> None:
    draw = random.Random(3)
    few, many = (score_interval(rows(*(draw.random() for _ in range(count))), "exact") for count in (10, 400))

    assert few is not None
    assert many is not None
    for found in (few, many):
        assert found.low < found.value < found.high
    # The standard error of a uniform mean over 400 rows is 0.0144; 95 % lie within 1.96 of them.
    assert many.high - many.low == pytest.approx(2 * 1.96 * 0.0144, rel=0.15)
    assert few.high - few.low > 3 * (many.high - many.low)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """Forty experiments of 30 rows, whose true mean is 0.5."""
    draw = random.Random(1)
    found = [score_interval(rows(*(draw.random() for _ in range(30))), "exact") for _ in range(40)]

    assert 34 <= sum(each is not None and each.low <= 0.5 <= each.high for each in found) <= 40


def test_a_small_difference_on_few_rows_is_noise_and_on_the_same_rows_it_need_not_be() -> None:
    draw = random.Random(2)
    hard = [draw.random() for _ in range(40)]
    one, other = rows(*hard), rows(*(value - 0.05 for value in hard))

    paired = score_difference(one, other, "exact", paired=True)
    apart = score_difference(one, other, "exact", paired=False)

    assert paired is not None
    assert apart is not None
    assert paired.value == apart.value == pytest.approx(0.05)
    assert not paired.within_noise
    assert apart.within_noise


def test_precision_is_taken_over_all_drawn_rows_at_once() -> None:
    table = {"findings.hits": 1.0, "findings.said": 2.0, "findings.expected": 4.0}
    found = score_interval([table] * 5, "findings.recall")

    assert found is not None
    assert (found.value, found.low, found.high, found.rows) == (0.25, 0.25, 0.25, 5)


@pytest.mark.parametrize("metric", ["exact", "findings.f1"])
def test_rows_that_are_alike_are_drawn_once_and_have_the_interval_of_all_draws(
    monkeypatch: pytest.MonkeyPatch, metric: str
) -> None:
    drawn: list[int] = []

    class Counted(random.Random):
        def choices(self, population: Any, **how: Any) -> Any:  # type: ignore[override]
            drawn.append(how["k"])
            return super().choices(population, **how)

    monkeypatch.setattr(random, "Random", Counted)
    one, other = (
        {"exact": value, "findings.hits": 1.0, "findings.said": value, "findings.expected": 7.0}
        for value in (0.1, 3.7)
    )
    for count in (1, 2, 3, 7, 11):
        tables, others = [one] * count, [other] * count
        drawn.clear()
        found = [
            score_interval(tables, metric),
            *(score_difference(tables, others, metric, paired=paired) for paired in (True, False)),
        ]
        assert drawn == [count] * 4
        monkeypatch.setattr(intervals, "_alike", lambda *_: False)
        assert found == [
            score_interval(tables, metric),
            *(score_difference(tables, others, metric, paired=paired) for paired in (True, False)),
        ]
        monkeypatch.setattr(intervals, "_alike", alike)


def test_rows_without_the_score_do_not_count() -> None:
    some = score_interval([{"exact": 1.0}, {}, {"similarity": 0.2}], "exact")

    assert some is not None
    assert (some.value, some.rows) == (1.0, 1)
    assert score_interval([{}, {}], "exact") is None
    assert score_difference(rows(1.0), [{}], "exact", paired=True) is None

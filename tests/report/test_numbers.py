"""What the numbers of a page look like, and which of its rows are shown first."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from vlm_runner.core.events import BudgetFacts, PlannedCost, RunCreated, TestsAnswered
from vlm_runner.core.signals import TestAnswered
from vlm_runner.core.transitions import fold
from vlm_runner.evaluate import AnsweredRow, ModelAnswer
from vlm_runner.models import find
from vlm_runner.report import render
from vlm_runner.report.assemble import RunReport, assemble
from vlm_runner.report.collect import Curve, JobOutput, ReportInputs
from vlm_runner.report.money import TRAINING_NOTE, money, together
from vlm_runner.report.render import NONE, Cell, RowView
from vlm_runner.report.summary import summary

from .runs import LLAMA, NOW, history, report

if TYPE_CHECKING:
    from vlm_runner.json_output import MoneyJson

NOVA = "amazon.nova-2-lite-v1:0:256k"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "unknown"),
        (0, "$0.00"),
        (0.0099, "$0.0099"),
        (0.01, "$0.01"),
        (0.5, "$0.50"),
        (1234.5, "$1,234.50"),
    ],
)
def test_money_below_a_cent_has_four_decimals(value: float | None, text: str) -> None:
    assert render._usd(value) == text


@pytest.mark.parametrize(
    ("value", "before", "cell"),
    [
        (None, 0.5, Cell(NONE, None)),
        (0.5, None, Cell("0.500", 50.0)),
        (0.0, None, Cell("0.000", 0.0)),
        (1.0, None, Cell("1.000", 100.0)),
        (1.5, None, Cell("1.500", None)),
        (-0.5, None, Cell("-0.500", None)),
        (0.75, 0.5, Cell("0.750", 75.0, "▲ +0.250", better=True)),
        (0.25, 0.5, Cell("0.250", 25.0, "▼ \N{MINUS SIGN}0.250", better=False)),
        (0.5, 0.5004, Cell("0.500", 50.0, "= 0")),
        (0.5, 0.5006, Cell("0.500", 50.0, "▼ \N{MINUS SIGN}0.001", better=False)),
    ],
)
def test_a_score_tells_its_change_and_has_a_bar_only_from_nought_to_one(
    value: float | None, before: float | None, cell: Cell
) -> None:
    assert render._cell(value, before) == cell


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": 1, "b": None, "c": "x"}, "a = 1, c = x"),
        ({"a": None}, NONE),
        ([1, "two"], "1, two"),
        ((), ""),
        (True, "true"),
        ("True", "True"),
        (3, "3"),
    ],
)
def test_a_value_of_a_spec_is_written_plainly(value: Any, text: str) -> None:
    assert render._plain(value) == text


def test_a_specs_section_shows_what_is_set() -> None:
    table = {"dataset": {"source": "s", "name": None, "columns": {}, "rows": 0}, "empty": {"a": None}, "v": 1}

    assert render._spec_lines(table) == [("dataset", [("source", "s"), ("rows", "0")]), ("v", [("", "1")])]


def view(number: int, score: float | None, change: float | None = None) -> RowView:
    return RowView(number, f"row-{number}", (), (), None, "", "", (), score, change)


@pytest.mark.parametrize(
    ("changes", "choices"),
    [
        ((0.2, 0.0, -0.1, 0.3), [("worse", 1), ("same", 1), ("better", 2)]),
        ((0.0005, -0.0005, 0.0004), [("worse", 1), ("same", 1), ("better", 1)]),
        ((0.2, None, -0.1), [("worse", 1), ("better", 1)]),
        ((0.2, 0.3, None), []),
        ((None, None), []),
    ],
    ids=["of each kind", "by what the shown digits show", "two kinds", "all alike", "no base model"],
)
def test_rows_are_chosen_by_their_change_where_there_is_a_choice(
    changes: tuple[float | None, ...], choices: list[tuple[str, int]]
) -> None:
    assert render._turns([view(n, 0.5, change) for n, change in enumerate(changes)]) == choices


def test_few_rows_need_no_guide() -> None:
    assert render._extremes([view(n, n / 10, -1.0) for n in range(5)] + [view(9, None)]) == {}


def test_the_five_worst_the_five_best_and_the_five_that_lost_most_come_first() -> None:
    changes = [0.0, -0.1, -0.6, 0.3, -0.2, -0.3, None, -0.5, -0.4]

    found = render._extremes([view(n, n / 10, change) for n, change in enumerate(changes)])

    assert {name: [row.number for row in rows] for name, rows in found.items()} == {
        "Least like the reference": [0, 1, 2, 3, 4],
        "Most like the reference": [8, 7, 6, 5, 4],
        "Worse than the base model": [2, 7, 8, 5, 4],
        "Better than the base model": [3],
    }


def test_where_no_row_became_worse_none_is_called_so() -> None:
    found = render._extremes([view(n, n / 10, 0.0) for n in range(6)])

    assert list(found) == ["Least like the reference", "Most like the reference"]


def test_a_long_text_says_how_much_is_left_out() -> None:
    assert render.cut("x" * 10, 10) == "x" * 10
    assert render.cut("x" * 1244, 10) == "x" * 10 + "\n… (1,234 more characters in answers.jsonl)"


def test_phases_fill_a_bar_of_a_thousand_in_their_proportions() -> None:
    """Phases of an hour each, but the one with two events."""
    shown = render._run_view(report())["phases"]
    whole = sum(phase["seconds"] for phase in shown)

    assert [phase["width"] for phase in shown] == [round(p["seconds"] * 1000 / whole, 1) for p in shown]
    assert shown[0]["x"] == 0
    assert [phase["x"] for phase in shown[1:]] == [
        round(sum(p["seconds"] for p in shown[:n]) * 1000 / whole, 1) for n in range(1, len(shown))
    ]
    assert {p["phase"] for p in shown if p["longest"]} == {
        p["phase"] for p in shown if p["seconds"] == max(each["seconds"] for each in shown)
    }


def test_the_verdict_is_by_the_findings_of_both_models_else_by_their_likeness() -> None:
    one = render._verdict(report())
    plain = render._verdict(_measured(AnsweredRow(row=0, reference="cat", tuned=ModelAnswer(answer="cat"))))

    assert one is not None
    assert plain is not None
    assert (one["name"], one["explained"]) == ("Findings: F1", "precision and recall in one number")
    assert (one["base"]["value"], one["change"]["value"]) == (0.0, one["tuned"]["value"])
    assert (plain["name"], plain["tuned"]["value"], plain["base"]) == ("Answer: similarity", 1.0, None)
    assert render._verdict(_measured(AnsweredRow(row=0, tuned=ModelAnswer(error="no")))) is None


def _measured(*rows: AnsweredRow, missing: tuple[str, ...] = (), **named: Any) -> RunReport:
    entries = history(**named)
    return assemble(
        fold(entries), entries, ReportInputs(rows=rows, missing=missing), find(LLAMA), entries[-1].at
    )


def test_effort_of_a_model_is_told_line_by_line() -> None:
    answers = [
        ModelAnswer(answer="ab", seconds=1.0, input_tokens=1000, output_tokens=3, stop_reason="max_tokens"),
        ModelAnswer(answer="abcd", seconds=2.5, input_tokens=500),
        ModelAnswer(error="refused"),
    ]
    one = _measured(*(AnsweredRow(row=n, tuned=reply) for n, reply in enumerate(answers)))

    assert render._effort(render._columns([one])) == [
        ("Rows answered", ["2"]),
        ("Rows refused", ["1"]),
        ("Cut off at max_tokens", ["1"]),
        ("Characters, mean", ["3"]),
        ("Seconds, median", ["1.75 s"]),
        ("Seconds, longest", ["2.50 s"]),
        ("Tokens in", ["1,500"]),
        ("Tokens out", ["3"]),
        ("Cost of the calls", ["not by the token"]),
    ]
    none = render._effort(render._columns([_measured(AnsweredRow(row=0, tuned=ModelAnswer(error="no")))]))
    assert [line for line in none if line[1] == [NONE]] == [
        (name, [NONE]) for name in ("Characters, mean", "Seconds, median", "Seconds, longest")
    ]


def test_columns_are_of_models_in_one_run_and_of_runs_in_several() -> None:
    one, other = report(), report(run_id="pages-2", base=False)

    assert [column.label for column in render._columns([one])] == ["Base model", "Tuned model"]
    assert [column.label for column in render._columns([one, other])] == [
        "pages-1: base",
        "pages-1: tuned",
        "pages-2: tuned",
    ]


def test_scores_stand_in_their_order_and_ones_own_metrics_after_them() -> None:
    rows = render._metrics(render._columns([report()]))

    assert [row.name for row in rows] == [name for name in render.NAMES.values() if "JSON" not in name]
    assert [len(row.cells) for row in rows] == [2] * len(rows)
    assert all(row.cells[0].change == "" for row in rows)
    assert {row.name: row.cells[1].better for row in rows}["Findings: F1"] is True


def test_several_runs_answers_to_one_question_are_one_row_and_the_base_answers_once() -> None:
    one, other = report(2), report(2, run_id="pages-2")

    alone, both = render._rows([one], 10**6), render._rows([one, other], 10**6)

    assert [[view.label for view in row.answers] for row in alone] == [["Tuned model", "Base model"]] * 2
    assert [[view.label for view in row.answers] for row in both] == [
        ["pages-1", "pages-2", "Base model"]
    ] * 2
    tables = one.evaluation.rows
    assert [row.score for row in alone] == [table["tuned"]["similarity"] for table in tables]
    assert [row.change for row in alone] == [
        table["tuned"]["similarity"] - table["base"]["similarity"] for table in tables
    ]
    assert [row.change for row in render._rows([report(2, base=False)], 10**6)] == [None, None]


def test_equal_rows_of_one_run_stay_two() -> None:
    rows = [AnsweredRow(row=n, prompt="?", reference="!", tuned=ModelAnswer(answer="!")) for n in range(2)]

    assert [row.number for row in render._rows([_measured(*rows)], 10**6)] == [0, 1]


def test_losses_of_several_runs_are_drawn_together_and_without_epochs() -> None:
    one, other = report(), report(run_id="pages-2")

    alone, both = render._loss([one]), render._loss([one, other])

    assert alone is not None
    assert both is not None
    assert [line.name for line in alone["chart"].lines] == ["training", "validation"]
    assert (alone["points"], both["points"]) == (62, 124)
    assert len(alone["chart"].epochs) == 1
    assert both["chart"].epochs == ()
    assert [line.name for line in both["chart"].lines] == [
        "pages-1 training", "pages-1 validation", "pages-2 training", "pages-2 validation",
    ]  # fmt: skip
    assert render._loss([_measured()]) is None


def test_what_a_run_has_cost_line_by_line() -> None:
    one = report(2, until=12)

    assert one.facts["money"] == {
        "lines": [
            {
                "item": "Training",
                "detail": "98 records, 2 epochs",
                "usd": None,
                "about": True,
                "note": f"{TRAINING_NOTE}; $3.50 a million",
            },
            {
                "item": "Provisioned throughput",
                "detail": "1 model unit for 3 h 00 min",
                "usd": 69.0,
                "about": True,
                "note": "$23.00 an hour",
            },
            {
                "item": "Calls of the base model",
                "detail": "1,800 tokens in, 18 out",
                "usd": None,
                "about": False,
                "note": "by the token",
            },
        ],
        "known_usd": 69.0,
        "complete": False,
        "about": True,
        "per_hour_usd": None,
        "storage_per_month_usd": one.facts["money"]["storage_per_month_usd"],
        "per_month_usd": one.facts["money"]["storage_per_month_usd"],
        "prices_from": f"{find(LLAMA).prices.source} ({find(LLAMA).prices.date})",
        "planned_usd": None,
        "planned_at_most_usd": None,
    }


def test_what_was_planned_stands_beside_what_it_came_to() -> None:
    entries = history(until=5)
    created = entries[0].event
    assert isinstance(created, RunCreated)
    planned = PlannedCost(tokens_trained=1_200, training=3.5, expected=9.0, worst=12.25)
    entries[0] = entries[0].model_copy(update={"event": created.model_copy(update={"planned": planned})})

    found = money(fold(entries), entries, find(LLAMA), NOW)

    assert (found["planned_usd"], found["planned_at_most_usd"]) == (9.0, 12.25)
    assert found["lines"][0]["usd"] == 3.5
    assert "1,200 tokens" in (found["lines"][0]["note"] or "")


def test_training_costs_what_was_estimated_before_the_start() -> None:
    entries = history(until=5)
    created = entries[0].event
    assert isinstance(created, RunCreated)
    budget = BudgetFacts(max_cost=100.0, training=12.5, calls=0.0, per_hour=23.0, rent_seconds=60.0)
    entries[0] = entries[0].model_copy(update={"event": created.model_copy(update={"budget": budget})})

    found = money(fold(entries), entries, find(LLAMA), NOW)

    assert [(line["usd"], line["note"]) for line in found["lines"]] == [(12.5, "estimated before the start")]
    assert (found["known_usd"], found["complete"]) == (12.5, True)


def test_calls_are_counted_as_they_are_answered_and_a_throughputs_own_cost_nothing_more() -> None:
    so_far = TestAnswered(
        done=3, asked=10, input_tokens=10**6, output_tokens=0, base_input_tokens=0, base_output_tokens=10**6
    )
    lent, rented = history(until=9, serving={"mode": "on-demand"}, model={"base": NOVA}), history(until=9)
    priced = find(NOVA).prices

    calls = money(fold(lent), lent, find(NOVA), NOW, asked=so_far)["lines"][1:]
    by_the_hour = money(fold(rented), rented, find(LLAMA), NOW, asked=so_far)["lines"][1:]

    assert [line["item"] for line in calls] == ["Calls of the tuned model", "Calls of the base model"]
    assert [line["usd"] for line in calls] == [
        float(priced.custom_input_per_million_tokens or 0),
        float(priced.output_per_million_tokens or 0),
    ]
    assert [line["item"] for line in by_the_hour] == ["Provisioned throughput", "Calls of the base model"]


def test_several_runs_are_told_with_what_they_leave() -> None:
    renting, ended = history(until=9), history()
    unknown = money(fold(renting), renting, None, NOW)
    bill = [money(fold(one), one, find(LLAMA), renting[-1].at) for one in (renting, ended)]
    month = 2 * float(find(LLAMA).prices.storage_per_month or 0) + 23 * 720

    assert together(bill).endswith(
        f"What they leave costs ${month:,.2f} a month until it is deleted, with $23.00 an hour for endpoints."
    )
    assert together([unknown]).endswith("What it leaves costs unknown a month until it is deleted.")
    assert together([money(fold(ended[:3]), ended[:3], None, NOW)]) == (
        "1 run has cost $0.00. Nothing goes on to cost."
    )


@pytest.mark.parametrize(
    ("told", "other", "spent"),
    [
        ((True, False), (True, False), "$3.00"),
        ((True, True), (True, False), "about $3.00"),
        ((True, True), (True, True), "about $3.00"),
        ((False, False), (True, False), "$3.00 and what has no known price"),
    ],
    ids=["all are known", "one is an estimate", "both are estimates", "a price of one is not known"],
)
def test_a_sum_of_runs_is_no_more_certain_than_each(
    told: tuple[bool, bool], other: tuple[bool, bool], spent: str
) -> None:
    ended = history()
    bill = money(fold(ended), ended, find(LLAMA), NOW)
    bills: list[MoneyJson] = [
        {**bill, "known_usd": 1.5, "complete": complete, "about": about} for complete, about in (told, other)
    ]

    assert f"2 runs have cost {spent}." in together(bills)


def test_before_a_job_nothing_was_spent_and_without_a_profile_nothing_is_known() -> None:
    before, without = history(until=4), history(until=10)

    nothing = money(fold(before), before, find(LLAMA), NOW)
    unknown = money(fold(without), without, None, without[-1].at + timedelta(hours=1))

    assert (nothing["lines"], nothing["known_usd"], nothing["complete"]) == ([], 0, True)
    assert [line["usd"] for line in unknown["lines"]] == [None, None]
    assert [line["note"] for line in unknown["lines"]] == [TRAINING_NOTE, "price not in the catalogue"]
    assert (unknown["per_hour_usd"], unknown["storage_per_month_usd"], unknown["prices_from"]) == (None,) * 3


def test_a_metric_that_fails_and_a_base_that_cannot_be_called_are_told_as_missing() -> None:
    def broken(*_: str) -> float:
        raise ValueError("no")

    entries = history()
    for n, entry in enumerate(entries):
        if isinstance(entry.event, TestsAnswered):
            told = entry.event.model_copy(update={"base_error": "The base model said no."})
            entries[n] = entry.model_copy(update={"event": told})
    material = ReportInputs(rows=(AnsweredRow(row=0, tuned=ModelAnswer(answer="x")),), missing=("gone",))

    found = assemble(fold(entries), entries, material, find(LLAMA), entries[-1].at, {"m:broken": broken})

    assert found.facts["missing"] == [
        "gone",
        "The metric 'm:broken' failed: ValueError: no",
        "The base model said no.",
    ]
    assert found.facts["losses"] == {"training": [], "validation": []}


def test_losses_are_those_of_the_model_and_null_before_it_exists() -> None:
    done, before = history(), history(until=5)

    assert summary(fold(done))["training_loss"] == 0.4
    assert summary(fold(done))["validation_loss"] is None
    assert summary(fold(before))["validation_loss"] is None
    assert summary(fold(before))["model_arn"] is None


def test_a_curve_goes_into_the_report_point_by_point() -> None:
    entries = history()
    material = ReportInputs(output=JobOutput(Curve(((0.0, 2.0), (1.0, 1.5))), Curve(((1.0, 1.7),))))

    found = assemble(fold(entries), entries, material, find(LLAMA), entries[-1].at).facts["losses"]

    assert found == {"training": [[0.0, 2.0], [1.0, 1.5]], "validation": [[1.0, 1.7]]}

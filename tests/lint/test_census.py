"""What is counted of rows, and the rules about counts: each at its limit and one beyond."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from vlm_runner.lint.dataset import TEST_ROWS, Checked, _advice, count
from vlm_runner.lint.finding import LintReport, Location, Severity, SubsetStats
from vlm_runner.lint.rows import Identity, Relations, check_counts, digest, order
from vlm_runner.lint.rules import rule
from vlm_runner.lint.texts import check_text
from vlm_runner.models import find

from .test_dataset import spec_of

NOVA = find("amazon.nova-lite-v1:0:300k")
LLAMA = find("meta.llama3-2-11b-instruct-v1:0:128k")
LLAMA_WITHOUT_WORDS = LLAMA.model_copy(update={"text": LLAMA.text.model_copy(update={"reserved": ()})})


def checked(**facts: Any) -> Checked:
    return Checked(row=0, findings=facts.pop("findings", ()), **facts)


def test_a_census_adds_up_its_usable_rows() -> None:
    stats = SubsetStats()
    first = {
        "images": 2,
        "size": 100,
        "converted": 1,
        "in_place": 1,
        "in_place_bytes": 60,
        "text_tokens": 10,
        "image_tokens": 40,
        "prompt_tokens": 45,
    }
    second = {
        "images": 1,
        "size": 50,
        "converted": 1,
        "text_tokens": 30,
        "image_tokens": 5,
        "prompt_tokens": 7,
    }
    broken = rule("I120").found("broken", Location("train", 2))
    noted = rule("I143").found("animated", Location("train", 3))

    count(stats, checked(**first))
    count(stats, checked(**second, findings=(noted,)))
    count(stats, checked(**first, findings=(noted, broken)))

    assert stats.as_json() == {
        "rows": 3, "usable": 2, "images": 3, "image_bytes": 150, "converted": 2, "in_place": 1,
        "in_place_bytes": 60, "text_tokens": 40, "image_tokens": 45, "longest": 50, "tokens": 85,
    }  # fmt: skip
    assert stats.prompt_tokens == [45, 7]


def test_an_empty_census_is_all_noughts() -> None:
    assert set(SubsetStats().as_json().values()) == {0}


def test_prompts_are_counted_of_as_many_rows_as_a_test_may_ask() -> None:
    stats = SubsetStats()

    for number in range(TEST_ROWS + 5):
        count(stats, checked(prompt_tokens=number))

    assert stats.prompt_tokens == list(range(64))


def codes_of(rows: int, held_out: int | None, profile: Any = NOVA) -> list[str]:
    census = {"train": SubsetStats(rows=rows, usable=rows)}
    if held_out is not None:
        census["held"] = SubsetStats(rows=held_out, usable=held_out)
    found = check_counts(
        LintReport("model", "source", census=census),
        profile, train="train", validation=None if held_out is None else "held", skip=False,
    )  # fmt: skip
    return [each.code for each in found]


def test_the_recommended_number_of_records_is_enough() -> None:
    least = NOVA.records.recommended_minimum
    assert least is not None
    alone = NOVA.records.counted(1, 1) == 1

    assert "D404" in codes_of(least - 1, 0)
    assert "D404" not in codes_of(least, 0)
    assert ("D404" in codes_of(least - 1, 1)) is alone


def test_without_a_recommendation_there_is_none() -> None:
    silent = NOVA.model_copy(
        update={"records": NOVA.records.model_copy(update={"recommended_minimum": None})}
    )

    assert "D404" not in codes_of(NOVA.records.minimum, 0, silent)


def test_no_held_out_rows_are_told_and_so_are_those_that_the_model_does_not_take() -> None:
    def taking(validation: bool) -> Any:
        records = NOVA.records.model_copy(update={"validation": validation})
        return NOVA.model_copy(update={"records": records})

    assert "D409" in codes_of(500, None)
    assert "D409" not in codes_of(500, 5)
    assert "D413" in codes_of(500, 5, taking(validation=False))
    assert "D413" not in codes_of(500, 5, taking(validation=True))
    assert "D413" not in codes_of(500, 0, taking(validation=False))


def test_findings_come_by_severity_and_then_by_row() -> None:
    rows = (None, 0, 7)
    wanted = [
        replace(rule(code).found("x", Location("train", row)))
        for code in ("I120", "D405", "I143")
        for row in rows
    ]
    assert [finding.severity for finding in wanted[::3]] == [Severity.ERROR, Severity.WARNING, Severity.NOTE]
    mixed = random.Random(1).sample(wanted, len(wanted))

    assert sorted(mixed, key=order) == wanted


@pytest.mark.parametrize(("rows", "told"), [(4, False), (5, True)])
def test_one_answer_to_everything_is_told_from_five_rows_on(rows: int, told: bool) -> None:
    relations = Relations()
    for number in range(rows):
        picture = digest(bytes([number]))
        identity = Identity((picture,), digest(picture, "?"), digest("yes"))
        list(relations.check(identity, subset="train", row=number, held_out=False))

    assert [each.code for each in relations.check_answers("train")] == (["D410"] if told else [])


@pytest.mark.parametrize(
    ("epochs", "rows", "told"),
    [
        ("3", "below", False),  # too few rows for any advice
        ("3", "least", True),
        ("2", "least", False),
        ("2", "two", False),
        ("3", "two", True),
        ("2", "more", True),
        ("1", "more", False),
        ("", "more", False),
        ("many", "more", False),
    ],
)
def test_epochs_are_advised_by_the_number_of_records(epochs: str, rows: str, told: bool) -> None:
    advice = NOVA.advice
    assert advice is not None
    number = {
        "below": advice.duplicate_below_records - 1,
        "least": advice.duplicate_below_records,
        "two": advice.two_epochs_up_to_records,
        "more": advice.two_epochs_up_to_records + 1,
    }[rows]
    given = {"epochCount": epochs} if epochs else {}
    training = {"role_arn": "arn:aws:iam::123456789012:role/sft", "hyperparameters": given}

    found = list(_advice(spec_of("x", training=training), NOVA, number))  # type: ignore[arg-type]

    assert [each.code for each in found] == (["S508"] if told else [])
    assert list(_advice(spec_of("x", training=training), LLAMA, number)) == []  # type: ignore[arg-type]


TAGS = (
    "begin_of_text",
    "end_of_text",
    "start_header_id",
    "end_header_id",
    "eot_id",
    "eom_id",
    "python_tag",
    "image",
)
"""Llama 3.2's (Meta's model card, prompt format)."""


@pytest.mark.parametrize("word", [*(f"<|{tag}|>" for tag in TAGS), "<image>", "<video>"])
def test_each_word_that_a_model_may_take_for_a_mark_is_found_unless_it_is_reserved(word: str) -> None:
    free = NOVA.model_copy(update={"text": NOVA.text.model_copy(update={"reserved": ()})})
    text = f"0123456789 abcdef {word.upper()} uvwxyz 0123456789"

    (found,) = check_text(text, free, Location())

    assert found.code == ("T221" if "|" in word else "T222")
    assert f"'{word}' at character 18: …6789 abcdef {word.upper()} uvwxyz 0123…" in found.message
    assert (found.value, found.fixes) == (word, "strip")


def test_a_word_at_the_very_beginning_is_shown_whole() -> None:
    (found,) = check_text("<|eot_id|> and more of the text", LLAMA_WITHOUT_WORDS, Location())

    assert found.message == "'<|eot_id|>' at character 0: …<|eot_id|> and more of…"


@pytest.mark.parametrize(
    ("text", "told"),
    [("a\r\nb\nc", True), ("a\r\nb\r\n", False), ("a\nb", False), ("\n\r\n", True), ("a\rb\n", False)],
)
def test_line_ends_of_two_kinds_are_told(text: str, told: bool) -> None:
    assert [each.code for each in check_text(text, NOVA, Location())] == (["T210"] if told else [])

"""What is measured about an answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlm_runner.errors import ConfigurationError
from vlm_runner.evaluate import AnsweredRow, ModelAnswer, evaluate, from_line, load_metrics, scores, to_line
from vlm_runner.evaluate.metrics import differences

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)


def accessible(*items: str, thought: str = "I looked.") -> str:
    listed = "\n".join(
        f"{n}. Items: {item}\n   Reason: because of {item}\n   Plan: mend {item}"
        for n, item in enumerate(items, 1)
    )
    return f"<thought>\n{thought}\n</thought>\n<solution>\n{listed or 'Nothing.'}\n</solution>"


def measured(*pairs: tuple[str, str]) -> dict[str, float]:
    rows = [
        AnsweredRow(row=n, reference=reference, tuned=ModelAnswer(answer=said))
        for n, (reference, said) in enumerate(pairs)
    ]
    found: dict[str, float] = evaluate(rows).models["tuned"]["scores"]
    return found


def test_an_answer_is_measured_against_the_right_one_that_it_comes_closest_to() -> None:
    asked = {"reference": "net", "accepted": ("a tennis net", "mesh")}
    rows = [
        AnsweredRow(row=0, tuned=ModelAnswer(answer="A tennis  net"), **asked),
        AnsweredRow(row=1, tuned=ModelAnswer(answer="net"), **asked),
        AnsweredRow(row=2, tuned=ModelAnswer(answer="rope"), **asked),
    ]

    assert [table["tuned"]["exact"] for table in evaluate(rows).rows] == [1.0, 1.0, 0.0]


def test_findings_count_over_all_rows() -> None:
    found = measured(
        (accessible("1.1.1", "1.4.3"), accessible("1.4.3")),
        (accessible("2.4.4"), accessible("2.4.4", "9.9.9", "8.8.8")),
    )

    assert found["findings.precision"] == pytest.approx(2 / 4)
    assert found["findings.recall"] == pytest.approx(2 / 3, abs=1e-6)


def test_nothing_to_find_and_nothing_found_is_as_good_as_it_gets() -> None:
    found = measured((accessible(), accessible()))

    assert (found["findings.precision"], found["findings.recall"], found["findings.f1"]) == (1.0, 1.0, 1.0)


def test_findings_are_compared_with_those_that_they_are_like() -> None:
    found = scores(accessible("1.1.1", "1.4.3"), accessible("1.4.3", "1.1.1"))

    assert (found["eval_items.exact"], found["plan.exact"]) == (1.0, 1.0)


def test_a_missing_finding_counts_against_every_field() -> None:
    found = scores(accessible("1.1.1", "1.4.3"), accessible("1.1.1"))

    assert found["eval_items.exact"] == 0.5
    assert found["plan.similarity"] == 0.5


def test_an_answer_without_sections_is_seen_as_such() -> None:
    assert scores(accessible("1.1.1"), "It is fine.")["sections"] == 0.0


def test_json_is_compared_field_by_field() -> None:
    found = scores('{"title": "Cats", "pages": 3}', '{"title": "Cats", "pages": 4}')

    assert (found["json"], found["title.exact"], found["pages.exact"]) == (1.0, 1.0, 0.0)


@given(TEXT, TEXT)
def test_scores_lie_between_nought_and_one_for_any_text(reference: str, answer: str) -> None:
    found = scores(reference, answer)

    assert all(0.0 <= value <= 1.0 for name, value in found.items() if not name.startswith("findings."))


@given(TEXT, TEXT)
def test_marks_make_up_both_texts(reference: str, answer: str) -> None:
    pieces = differences(reference, answer)

    assert "".join(text for kind, text in pieces if kind != "missing") == answer
    assert "".join(text for kind, text in pieces if kind != "added") == reference


@given(
    st.builds(
        AnsweredRow,
        row=st.integers(0),
        prompt=TEXT,
        tuned=st.builds(ModelAnswer, answer=TEXT),
        base=st.none(),
    )
)
def test_a_row_survives_its_line(row: AnsweredRow) -> None:
    assert from_line(to_line(row)) == row


def test_a_line_of_the_first_version_is_read() -> None:
    row = from_line(
        '{"row": 3, "image": "s3://b/i.png", "reference": "r", "answer": "a", "base_answer": "b"}'
    )

    assert row.tuned is not None
    assert row.base is not None
    assert (row.row, row.tuned.answer, row.base.answer) == (3, "a", "b")


@pytest.mark.parametrize("path", ["nowhere.at.all:f", "json:nothing", "json:__name__", "json"])
def test_a_metric_that_cannot_be_loaded_is_named(path: str) -> None:
    with pytest.raises(ConfigurationError, match=path):
        load_metrics([path], ["nowhere", "json"])


def answer_of(*items: tuple[str, str]) -> str:
    listed = "\n".join(f"{n}. Items: {item}\n   Reason: {why}" for n, (item, why) in enumerate(items, 1))
    return f"<thought>\nI looked.\n</thought>\n<solution>\n{listed}\n</solution>"


def test_findings_that_share_nothing_are_not_compared_with_each_other() -> None:
    """
    The reference's second finding is missing, and the answer's second is one too many: two faults, not one.
    """
    found = scores(answer_of(("a", "eee"), ("b", "fff")), answer_of(("a", "eee"), ("z", "www")))

    assert found["eval_items.exact"] == pytest.approx(1 / 3)
    assert found["eval_reason.exact"] == pytest.approx(1 / 3)


def test_the_same_items_count_more_than_the_same_reason() -> None:
    found = scores(answer_of(("alt", "eee")), answer_of(("lang", "eee"), ("alt", "www")))

    assert found["eval_items.exact"] == 0.5


@pytest.mark.parametrize(
    ("reference", "answer", "pieces"),
    [
        (
            "red cat sat down the long road",
            "blue cat stood down the long road",
            [("missing", "red cat sat"), ("added", "blue cat stood"), ("same", " down the long road")],
        ),
        (
            "red labels for screens sat",
            "blue labels for screens stood",
            [
                ("missing", "red"),
                ("added", "blue"),
                ("same", " labels for screens "),
                ("missing", "sat"),
                ("added", "stood"),
            ],
        ),
        (
            "red label for a cat",
            "blue label for a dog",
            [("missing", "red label for a cat"), ("added", "blue label for a dog")],
        ),
        (
            "red labels for a cat",
            "blue labels for a dog",
            [
                ("missing", "red"),
                ("added", "blue"),
                ("same", " labels for a "),
                ("missing", "cat"),
                ("added", "dog"),
            ],
        ),
    ],
    ids=["a short word", "a phrase", "eleven characters", "twelve characters"],
)
def test_only_a_phrase_in_common_separates_two_changes(
    reference: str, answer: str, pieces: list[tuple[str, str]]
) -> None:
    assert differences(reference, answer) == pieces


@pytest.mark.timeout(20)
def test_a_thousand_right_answers_are_compared_with_a_long_one_at_once() -> None:
    row = AnsweredRow(row=0, reference="x", accepted=("a",) * 1000, tuned=ModelAnswer(answer="b " * 500_000))

    assert evaluate([row]).models["tuned"]["answered"] == 1

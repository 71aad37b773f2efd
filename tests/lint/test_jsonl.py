from __future__ import annotations

import io
from typing import Any

import pytest

from vlm_runner.core.text import LONGEST_REASON
from vlm_runner.lint import LintReport, Severity, lint_jsonl
from vlm_runner.lint.jsonl import Lines
from vlm_runner.models import find

from .pictures import BAD as PICTURES
from .pictures import png
from .records import ANSWER, BAD, BUCKET, KEY, LLAMA, NOVA, TURN, USER, bent, good, line, lint

NOVA_2 = "amazon.nova-2-lite-v1:0:256k"


@pytest.fixture(scope="module")
def report() -> LintReport:
    """All defects in one file, each followed by a good record."""
    lines = [each for bad, _ in BAD.values() for each in (bad, line(good()))]
    return lint(*lines)


@pytest.mark.parametrize("name", BAD)
def test_a_defect_is_found_on_its_line(report: LintReport, name: str) -> None:
    row = 2 * list(BAD).index(name)

    assert BAD[name][1] in {finding.code for finding in report.findings if finding.row == row}


@pytest.mark.parametrize("member", ["schemaVersion", "system", "messages"])
def test_a_finding_does_not_repeat_what_is_long(member: str) -> None:
    report = lint(line(bent(member, ["long"] * 100_000)), line(good()))

    assert any(finding.row == 0 for finding in report.findings)
    assert max(len(finding.message) for finding in report.findings) < 1000


def test_nor_does_it_repeat_the_name_of_a_key_that_is_long() -> None:
    report = lint(line(good() | {"k" * 100_000: 1}), line(good()))

    assert [finding.code for finding in report.findings if finding.row == 0] == ["J339"]
    assert max(len(finding.message) for finding in report.findings) <= LONGEST_REASON


def test_the_good_lines_between_are_good(report: LintReport) -> None:
    odd = {f.row: f.code for f in report.findings if f.row is not None and f.row % 2 and f.code != "D405"}

    assert odd == {}


@pytest.mark.parametrize("name", PICTURES)
def test_a_bad_image_is_found_on_its_line(name: str) -> None:
    body, code = PICTURES[name]

    report = lint(line(good()), read=lambda _bucket, _key: body)

    found = [finding for finding in report.findings if finding.row == 0]
    assert code in {finding.code for finding in found}
    assert all(finding.fixes is None for finding in found if finding.code.startswith("I"))


@pytest.mark.parametrize(
    ("model", "pictures", "found"),
    [
        (NOVA, True, Severity.WARNING),
        (NOVA_2, True, Severity.ERROR),
        (NOVA_2, False, Severity.WARNING),
    ],
)
def test_nova_2_wants_an_image_in_all_records_or_in_none(model: str, pictures: bool, found: Severity) -> None:
    """Its page: a dataset must be homogeneous. All of it without images is a dataset of texts."""
    text = line(bent(TURN, [{"text": "Judge."}]))
    lines = [text, line(good()) if pictures else text]

    report = lint_jsonl(
        [Lines("train.jsonl", BUCKET, io.BytesIO(b"\n".join(lines)), "train")],
        find(model),
        fetch=lambda _bucket, _key: png(),
    )

    assert {
        (each.row, each.severity) for each in report.findings if each.code == "J342" and each.row == 0
    } == {(0, found)}


@pytest.mark.parametrize(
    ("turns", "code", "field"),
    [
        ([USER, ANSWER, USER], "J322", "messages[2]"),
        ([USER], "J322", "messages[0]"),
        ([USER, USER, ANSWER], "J320", "messages[1]"),
        ([ANSWER, USER, ANSWER], "J319", "messages[0]"),
    ],
)
def test_a_turn_out_of_order_is_named_by_its_place(turns: list[Any], code: str, field: str) -> None:
    report = lint(line(bent("messages", turns)))

    assert [finding.field for finding in report.findings if finding.code == code] == [field]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "'content' is missing"),
        ("Judge.", "'content' is a string"),
        ([], "'content' is an empty list"),
        ({}, "'content' is an object with no keys"),
        ({"text": "Judge.", "b": 1}, "'content' is an object with 'text', 'b'"),
        (True, "'content' is true or false"),
        (7, "'content' is a number"),
        (0.5, "'content' is a number"),
    ],
)
def test_what_stands_where_content_should_is_told(content: Any, said: str) -> None:
    (finding,) = [each for each in lint(line(bent(TURN, content))).findings if each.code == "J323"]

    assert finding.message == said


def test_every_finding_says_why_and_what_to_do(report: LintReport) -> None:
    for finding in report.findings:
        assert finding.message
        assert finding.why.endswith("]")
        assert "[" in finding.why
        assert finding.fix


def test_an_empty_file_has_no_records() -> None:
    assert lint(end=b"").codes["J305"] == 1


def test_a_last_line_may_end_or_not() -> None:
    rows = [line(good(number)) for number in range(100)]

    assert not lint(*rows, end=b"\n").failed
    assert not lint(*rows, end=b"").failed
    assert lint(*rows, end=b"\n\n").codes["J306"] == 1


@pytest.mark.parametrize(
    ("name", "code"),
    [
        (f"s3://{BUCKET}/data/train.json", "J301"),
        (f"s3://{BUCKET}/data/my train.jsonl", "J302"),
        (f"s3://{BUCKET}/data/run=1/train.jsonl", "J302"),
    ],
)
def test_names_are_looked_at(name: str, code: str) -> None:
    assert lint(line(good()), name=name).codes[code] == 1


def test_records_are_counted_against_the_model() -> None:
    assert lint(*[line(good(number)) for number in range(7)]).codes["D401"] == 1
    assert lint(*[line(good(number)) for number in range(8)]).codes["D401"] == 0
    assert lint(*[line(good(number)) for number in range(99)], model=LLAMA).codes["D401"] == 1


def test_duplicates_contradictions_and_leaks_are_found_with_their_rows() -> None:
    other_answer = bent("messages/1/content/0/text", "Another finding.")
    report = lint(line(good(0)), line(good(0)), line(other_answer), validation=(line(good(0)), line(good(9))))

    found = {(f.code, f.subset, f.row) for f in report.findings}
    assert {("D405", "train", 1), ("D406", "train", 2)} <= found
    assert {("D407", "validation", 0), ("D408", "validation", 1)} <= found


def test_llama_takes_one_image_and_any_bucket() -> None:
    two = bent("messages/0/content", [{"text": "a"}, *[good()["messages"][0]["content"][1]] * 2])
    elsewhere = bent("messages/0/content/1/image/source/s3Location/uri", f"s3://another-bucket/{KEY}")

    report = lint(line(two), line(elsewhere), line(bent("system", ...)), model=LLAMA)

    assert [f.row for f in report.findings if f.code == "J329"] == [0]
    assert report.codes["J332"] == 0
    assert [f.row for f in report.findings if f.code == "J347"] == [2]


def test_without_images_it_says_that_none_was_looked_at() -> None:
    report = lint(*[line(good(number)) for number in range(100)], read=None)

    assert report.codes["J348"] == 1
    assert not report.failed


def test_a_line_too_long_to_read_is_one_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vlm_runner.lint.jsonl.LONGEST_LINE", 2000)
    body = b"x" * 9000 + b"\n" + line(good()) + b"\n"

    report = lint_jsonl([Lines("a.jsonl", None, io.BytesIO(body), "a")], find(NOVA), fetch=None)

    assert [
        (f.row, f.code) for f in report.findings if f.severity is Severity.ERROR and f.row is not None
    ] == [(0, "J307")]
    assert report.census["a"].rows == 2


@pytest.mark.parametrize(
    ("text", "found"),
    [("Thought: none", True), ("an afterthought: none", False), ("<unk>", True), ("<UNK>", False)],
)
def test_words_of_the_validator_alone_are_reserved_as_it_spells_them(text: str, found: bool) -> None:
    report = lint(line(bent("messages/0/content/0/text", text)))

    assert ("T220" in {finding.code for finding in report.findings}) is found

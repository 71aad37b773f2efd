from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlm_runner.column_path import ColumnPath, parse
from vlm_runner.dataset import findings
from vlm_runner.dataset.columns import KEYS, Layout, choose, output_value
from vlm_runner.errors import DataError
from vlm_runner.spec import Columns

ONE = {"rationale": "r", "eval_items": "e", "eval_reason": "why", "plan": "p"}
NOTHING = dict.fromkeys(KEYS, "")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([ONE, ONE], [ONE, ONE]),
        (ONE, [ONE]),
        ((ONE,), [ONE]),
        (json.dumps([ONE]), [ONE]),
        (json.dumps(ONE), [ONE]),
        ([json.dumps(ONE), ONE], [ONE, ONE]),
        ([], []),
        (None, []),
        ("", []),
        (" \n", []),
        ("[]", []),
        ({"plan": "p"}, [NOTHING | {"plan": "p"}]),
        ({"plan": None, "rationale": ""}, [NOTHING]),
        ("no labels", [NOTHING | {"eval_reason": "no labels"}]),
        ("{not json", [NOTHING | {"eval_reason": "{not json"}]),
        ('["see above"]', [NOTHING | {"eval_reason": '["see above"]'}]),
        (
            {"eval_items": ["1.1.1", "1.4.3"], "plan": ["a", "b"]},
            [NOTHING | {"eval_items": "1.1.1, 1.4.3", "plan": "a\nb"}],
        ),
        ({"eval_items": 3, "more": 1}, [NOTHING | {"eval_items": "3"}]),
        ([None, ONE], [ONE]),
        (
            [ONE, 3, {"other": 1}],
            [ONE, NOTHING | {"eval_reason": "3"}, NOTHING | {"eval_reason": '{"other": 1}'}],
        ),
    ],
)
def test_findings_come_in_one_form(value: object, expected: list[dict[str, str]]) -> None:
    assert findings(value) == expected


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*KEYS, "x"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(json_values)
def test_whatever_a_cell_holds_its_findings_are_four_texts_each(value: object) -> None:
    for found in (findings(value), findings(json.dumps(value))):
        assert all(tuple(finding) == KEYS for finding in found)
        assert all(isinstance(text, str) for finding in found for text in finding.values())


@pytest.mark.parametrize("text", ["an answer", "[1] see above", "", '{"question": "x"}', "[1, 2]"])
def test_a_plain_answer_stays_as_it_is(text: str) -> None:
    assert output_value(text) == text


@pytest.mark.parametrize("value", [{"answer": "x"}, [{"answer": "x"}], 3, [1, 2]])
def test_what_is_no_finding_stays_as_it_is(value: object) -> None:
    assert output_value(value) == value


def test_deep_json_is_no_trap() -> None:
    assert output_value("[" * 100_000) == "[" * 100_000


def layout(*names: str | None) -> Layout:
    return Layout(*(None if name is None else ColumnPath(name, name) for name in names))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (("image", "html", "output"), layout("image", "html", "output")),
        (("id", "screenshot", "source", "findings"), layout("screenshot", "source", "findings")),
        (("Image", "HTML", "Outputs"), layout("Image", "HTML", "Outputs")),
        (("images", "code", "image", "html", "output", "outputs"), layout("image", "html", "output")),
    ],
)
def test_columns_are_found_by_their_usual_names(columns: tuple[str, ...], expected: Layout) -> None:
    assert choose(columns, Columns(), required=("html", "output"), where="x") == expected


@pytest.mark.parametrize(
    ("role", "name"),
    [
        (role, name)
        for role, names in {
            "image": "image screenshot img images picture image_path file_name",
            "html": "html source code html_code source_code",
            "output": "output outputs findings finding result results",
        }.items()
        for name in names.split()
    ],
)
def test_each_usual_name_is_found(role: str, name: str) -> None:
    """Datasets in the wild name them so; taking one off the list breaks a spec that names no columns."""
    names = {"image": "image", "html": "html", "output": "output"} | {role: name}

    chosen = choose(("id", *names.values()), Columns(), required=("html", "output"), where="x")

    assert chosen == layout(*names.values())


def test_a_given_name_wins() -> None:
    chosen = choose(
        ("image", "photo", "html", "output"), Columns(image="photo"), required=("html", "output"), where="x"
    )

    assert chosen.image.column == "photo"


def test_what_is_not_required_may_be_missing() -> None:
    assert choose(("image", "question"), Columns(), required=(), where="x") == layout("image", None, None)


@pytest.mark.parametrize(
    ("columns", "given_ones", "role"),
    [
        (("html", "output"), Columns(), "image"),
        (("image", "output"), Columns(), "html"),
        (("image", "html"), Columns(), "output"),
        (("image", "html", "output"), Columns(html="dom"), "html"),
    ],
)
def test_a_missing_column_is_named_with_those_there_are(columns: Any, given_ones: Columns, role: str) -> None:
    with pytest.raises(DataError) as caught:
        choose(columns, given_ones, required=("html", "output"), where="Split 'train' of x")

    assert ", ".join(columns) in caught.value.message
    assert f"columns = {{ {role} = " in str(caught.value)


def test_of_columns_that_differ_in_case_alone_the_first_is_taken() -> None:
    for columns in (("Image", "image"), ("image", "Image")):
        assert choose(columns, Columns(), required=(), where="x").image.column == columns[0]


PAGE = {"shot": "a", "more": [{"image": "b"}, {"image": "c"}, {}], "dots.in": "d"}
TURNS = [{"content": [{"image": "a"}, {"text": "x"}]}, {"content": "y"}, {"content": [{"image": "b"}]}]


@pytest.mark.parametrize(
    ("text", "cell", "found"),
    [
        ("page", PAGE, PAGE),
        ("page.shot", PAGE, "a"),
        ("page.more[0].image", PAGE, "b"),
        ("page.more[9].image", PAGE, None),
        ("page.more[].image", PAGE, ["b", "c"]),
        ("page.none.at.all", PAGE, None),
        ("page[0]", PAGE, None),
        ("page[].content[].image", TURNS, ["a", "b"]),
    ],
)
def test_a_place_within_a_column(text: str, cell: Any, found: Any) -> None:
    path = parse(text, ("id", "page"))
    assert path is not None

    assert (path.column, path.of(cell)) == ("page", found)


def test_a_column_with_dots_in_its_name_is_that_column() -> None:
    path = parse("page.shot", ("page", "page.shot"))
    assert path is not None

    assert path.of("whole") == "whole"


@pytest.mark.parametrize("text", ["other.shot", "page.", "page[x]", "page..shot", "page[0", ""])
def test_what_is_no_place(text: str) -> None:
    assert parse(text, ("page",)) is None

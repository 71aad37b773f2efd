from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vlm_runner.errors import ConfigurationError, RowError
from vlm_runner.prompts import compile_prompt, preset, preset_names
from vlm_runner.prompts.templates import HANG, hang
from vlm_runner.spec import PromptSpec

NOVA_RESERVED = ["User:", "Bot:", "Assistant:", "System:", "<image>", "<video>", "[EOS]"]
FINDING = {
    "rationale": "The picture has no text.",
    "eval_items": "1.1.1 Non-text content",
    "eval_reason": "Blind people get nothing.",
    "plan": 'Add alt="Chart of sales".',
}
ROW: dict[str, Any] = {"html": "<img src='sales.png'>", "output": [FINDING]}


def accessibility(**fields: Any) -> str:
    return (
        compile_prompt(PromptSpec(preset="accessibility"))
        .render(ROW | fields, subset="train", row=0)
        .assistant
    )


def mine(user: str, assistant: str = "ok", system: str | None = None) -> Any:
    return compile_prompt(PromptSpec(system=system, user=user, assistant=assistant))


def test_the_whole_html_is_in_the_question() -> None:
    html = "<p>{{ 7 * 7 }} & <b>한국어</b>\n" * 500 + "<!-- end -->"

    rendered = compile_prompt(PromptSpec(preset="accessibility")).render(
        ROW | {"html": html}, subset="t", row=0
    )

    assert html in rendered.user


def test_the_answer_holds_all_parts_of_the_finding() -> None:
    answer = accessibility()

    assert answer == (
        "<thought>\nThe picture has no text.\n</thought>\n<solution>\n"
        "1. Items: 1.1.1 Non-text content\n   Reason: Blind people get nothing.\n"
        '   Plan: Add alt="Chart of sales".\n</solution>'
    )


def test_the_preset_names_the_columns_that_it_needs() -> None:
    assert compile_prompt(PromptSpec(preset="accessibility")).columns == {"html", "output"}


def test_findings_are_numbered_and_empty_parts_left_out() -> None:
    answer = accessibility(output=[FINDING, FINDING | {"eval_items": "", "plan": ""}])

    assert "\n2. Reason: Blind people get nothing.\n</solution>" in answer
    assert answer.count("Plan:") == 1


@pytest.mark.parametrize(
    ("output", "thought", "solution"),
    [
        ([], "found no accessibility problem", "There is no accessibility problem to repair."),
        ("", "found no accessibility problem", "There is no accessibility problem to repair."),
        ("No labels.", "problems that I found are listed below", "1. Reason: No labels."),
        ([FINDING | {"rationale": ""}], "problems that I found are listed below", "1. Items: 1.1.1"),
        (
            [{"rationale": "All good?", "eval_items": "", "eval_reason": "", "plan": ""}],
            "All good?",
            "No change",
        ),
    ],
)
def test_sparse_findings_still_make_a_whole_answer(output: Any, thought: str, solution: str) -> None:
    answer = accessibility(output=output)

    assert thought in answer
    assert solution in answer


@pytest.mark.parametrize("tag", ["<thought>", "</thought>", "<solution>", "</solution>"])
def test_the_system_prompt_and_the_answers_spell_the_tags_alike(tag: str) -> None:
    system = compile_prompt(PromptSpec(preset="accessibility")).render(ROW, subset="train", row=0).system

    assert tag in str(system)
    assert tag in accessibility()
    assert tag in accessibility(output=[])


@pytest.mark.parametrize("name", preset_names())
def test_no_preset_says_a_word_that_nova_reserves(name: str) -> None:
    text = "\n".join(preset(name).values()).lower()

    assert [word for word in NOVA_RESERVED if word.lower() in text] == []


def test_the_qa_preset_asks_and_answers() -> None:
    qa = compile_prompt(PromptSpec(preset="qa"))

    rendered = qa.render({"question": "How many?", "answer": "Two."}, subset="train", row=0)

    assert (rendered.user, rendered.assistant) == ("How many?", "Two.")
    assert qa.columns == {"question", "answer"}


def test_an_unknown_preset_is_answered_with_those_there_are() -> None:
    with pytest.raises(
        ConfigurationError,
        match="accessibility, accessibility-regions, bedrock, caption, messages, openai-vision, qa",
    ):
        compile_prompt(PromptSpec(preset="accesibility"))


@pytest.mark.parametrize(
    ("count", "said"), [(1, "The image is"), (2, "the second one shows a region"), (4, "the 3 others show")]
)
def test_the_preset_of_regions_says_which_image_is_the_page(count: int, said: str) -> None:
    pages = compile_prompt(PromptSpec(preset="accessibility"))
    regions = compile_prompt(PromptSpec(preset="accessibility-regions"))

    rendered = regions.render(ROW | {"image_count": count}, subset="train", row=0)

    assert said in rendered.user.splitlines()[0]
    assert "<img src='sales.png'>" in rendered.user
    assert rendered.assistant == pages.render(ROW, subset="train", row=0).assistant


def test_a_template_beside_a_preset_replaces_its_part() -> None:
    prompt = compile_prompt(PromptSpec(preset="accessibility", user="Judge: {{ html }}"))

    assert prompt.render(ROW, subset="train", row=0).user == "Judge: <img src='sales.png'>"
    assert "<thought>" in prompt.render(ROW, subset="train", row=0).assistant


def test_no_system_template_no_system_prompt() -> None:
    assert mine("{{ html }}").render(ROW, subset="train", row=0).system is None


def test_a_missing_column_is_named_with_those_there_are() -> None:
    with pytest.raises(ConfigurationError) as caught:
        mine("{{ htm }}").render(ROW, subset="train", row=7)

    assert "user template" in str(caught.value)
    assert "'htm' is undefined" in str(caught.value)
    assert "train row 7" in str(caught.value)
    assert "html, output" in str(caught.value)


def test_a_column_with_an_odd_name_is_reached_by_row() -> None:
    rendered = mine("{{ row['the page'] }}").render({"the page": "<p>"}, subset="train", row=0)

    assert rendered.user == "<p>"


def test_a_syntax_error_names_its_line() -> None:
    with pytest.raises(ConfigurationError, match=r"user template.*line 2"):
        mine("fine\n{% if %}")


@pytest.mark.parametrize(
    "text", ["{{ 1 / 0 }}", "{{ html + 1 }}", "{{ html | nofilter }}", "{{ html[::0] }}"]
)
def test_a_template_that_fails_is_a_clear_error(text: str) -> None:
    with pytest.raises(ConfigurationError, match="user template"):
        mine(text).render(ROW, subset="train", row=0)


@pytest.mark.parametrize(
    "text",
    [
        "{{ html.__class__.__mro__ }}",
        "{{ ''.__class__.__base__.__subclasses__() }}",
        "{{ row.update({'html': 'x'}) }}",
        "{{ range(10000000) | list }}",
        "{% include '/etc/passwd' %}",
    ],
)
def test_a_template_stays_in_its_sandbox(text: str) -> None:
    with pytest.raises(ConfigurationError):
        mine(text).render(ROW, subset="train", row=0)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(st.characters(exclude_categories=["Cs"])).filter(str.strip))
def test_data_is_printed_as_it_is(text: str) -> None:
    rendered = mine("{{ html }}", "{{ html }}").render({"html": text}, subset="train", row=0)

    assert rendered.user == rendered.assistant == text


@pytest.mark.parametrize(
    "attack", ["{{ 7*7 }}", "{% raw %}", "{# x #}", "{{ config }}", "${7*7}", "</thought>"]
)
def test_data_is_never_a_template(attack: str) -> None:
    assert mine("{{ html }}").render({"html": attack}, subset="train", row=0).user == attack


@pytest.mark.parametrize("part", ["user", "assistant"])
def test_an_empty_part_is_an_error_of_its_row(part: str) -> None:
    templates = {"user": "q", "assistant": "a", part: "{{ html }}"}

    with pytest.raises(RowError) as caught:
        mine(**templates).render({"html": " \n"}, subset="train", row=3)

    assert (caught.value.subset, caught.value.row, caught.value.field) == ("train", 3, part)


def test_a_missing_value_is_never_printed_as_none() -> None:
    with pytest.raises(RowError) as caught:
        mine("{{ html }}").render({"html": None}, subset="train", row=3)

    assert caught.value.field == "html"


def test_half_a_character_is_an_error_of_its_row() -> None:
    with pytest.raises(RowError, match="surrogate"):
        mine("{{ html }}").render({"html": "\ud83d"}, subset="train", row=0)


def test_equal_templates_have_equal_fingerprints() -> None:
    assert mine("{{ html }}").fingerprint == mine("{{ html }}").fingerprint
    assert mine("{{ html }}").fingerprint != mine("{{ html }}!").fingerprint
    assert mine("{{ html }}").fingerprint != mine("{{ html }}", system="s").fingerprint


def test_words_are_stripped_in_any_case_and_none_is_left_behind() -> None:
    spec = PromptSpec(user="{{ text }}", assistant="{{ text }} ok", strip=("<image>", "User:"))

    rendered = compile_prompt(spec).render(
        {"text": "<IMAGE>\nuser: what is <im<image>age>this?"}, subset="train", row=0
    )

    assert rendered.user == "\n what is this?"
    assert rendered.assistant == "\n what is this? ok"
    plain = spec.model_copy(update={"strip": ()})
    assert compile_prompt(plain).fingerprint != compile_prompt(spec).fingerprint


def test_a_word_to_strip_must_be_one() -> None:
    with pytest.raises(ValueError, match="empty word"):
        PromptSpec(preset="qa", strip=(" ",))


@pytest.mark.parametrize(
    "content",
    [
        "What is it?",
        [{"type": "image_url", "image_url": {"url": "x"}}, {"type": "text", "text": "What is it?"}],
    ],
)
def test_the_messages_preset_takes_openai_style_turns(content: object) -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": content},
        {"role": "assistant", "content": "A cat."},
    ]

    rendered = compile_prompt(PromptSpec(preset="messages")).render(
        {"messages": messages}, subset="train", row=0
    )

    assert (rendered.system, rendered.user, rendered.assistant) == (
        "Be brief.",
        "What is it?",
        "A cat.",
    )
    assert compile_prompt(PromptSpec(preset="messages")).columns == {"messages"}


def test_the_later_lines_of_a_part_hang_and_empty_ones_stay_empty() -> None:
    """What a model is trained on holds no white space at the ends of lines."""
    assert hang("first\n\nsecond\n") == f"first\n\n{' ' * HANG}second\n"


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (True, ["a truth value, which is written as True"]),
        (math.nan, ["no number, which is written as nan"]),
        (-math.inf, ["no number, which is written as -inf"]),
        (["yes", "no"], ["a list, which is written as in Python"]),
        ({"a": 1}, ["a dict, which is written as in Python"]),
        ("text", []),
        (5, []),
        (1.5, []),
        (None, []),
    ],
)
def test_what_is_printed_as_python_writes_it_is_told(value: object, told: list[str]) -> None:
    """Of any column that stands alone between braces; what a loop or a filter reads may be no text."""
    spec = PromptSpec(user="{{ asked }}{{ used|length }}", assistant="{{ x }}")
    prompt = compile_prompt(spec)

    assert prompt.not_texts({"asked": "q", "used": [True], "x": value}) == [("x", what) for what in told]


def test_one_of_several_right_answers_is_looked_at_and_not_their_list() -> None:
    prompt = compile_prompt(PromptSpec(preset="qa"))

    assert prompt.not_texts({"question": "q", "answer": ["yes", "no"]}) == []
    assert prompt.not_texts({"question": "q", "answer": False}) == [
        ("answer", "a truth value, which is written as False")
    ]

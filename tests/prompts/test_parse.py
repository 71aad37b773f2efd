from __future__ import annotations

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from vlm_runner.prompts import Item, compile_prompt, parse_answer
from vlm_runner.prompts.parse import SOLUTION, THOUGHT
from vlm_runner.spec import PromptSpec

PROMPT = compile_prompt(PromptSpec(preset="accessibility"))
NASTY = [
    "2. Items: no item",
    "first\n3. Plan: still the first",
    "a\n   Plan: b",
    "a\n     deeper",
    "</solution>",
    "\n</solution>\n",
    "<thought>",
    "\n\n",
    "\r\n\x85\u2028",
    "Plan:",
]
texts = st.lists(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.sampled_from(NASTY), max_size=3
).map("".join)
findings = st.lists(
    st.fixed_dictionaries({"rationale": texts, "eval_items": texts, "eval_reason": texts, "plan": texts}),
    max_size=4,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(findings)
@example([{"rationale": "\u0130" * 9, "eval_items": "", "eval_reason": "\u0130" * 9, "plan": ""}])
@example([{"rationale": "</thought>", "eval_items": "", "eval_reason": " ", "plan": "x\n"}])
def test_an_answer_comes_back_as_it_went(made: list[dict[str, str]]) -> None:
    answer = PROMPT.render({"html": "<p>", "output": made}, subset="train", row=0).assistant

    parsed = parse_answer(answer)

    names = ("eval_items", "eval_reason", "plan")
    listed = [finding for finding in made if any(finding[name] for name in names)]
    assert parsed.items == tuple(
        Item(**{name: finding[name].strip() for name in names}) for finding in listed
    )
    assert parsed.complete
    if any(finding["rationale"] for finding in made):
        assert parsed.thought == "\n".join(f["rationale"] for f in made if f["rationale"]).strip()


def test_the_tags_are_the_presets() -> None:
    answer = PROMPT.render({"html": "<p>", "output": []}, subset="train", row=0).assistant

    assert all(tag in answer for tag in (*THOUGHT, *SOLUTION))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text())
def test_any_text_is_read(text: str) -> None:
    parse_answer(text)
    parse_answer(f"<thought>{text}</thought>\n<solution>{text}")


def test_an_untagged_answer_is_all_solution() -> None:
    parsed = parse_answer("1. The button has no name.\n2. Plan: add one")

    assert not parsed.complete
    assert parsed.thought == ""
    assert parsed.items == (Item(eval_reason="The button has no name."), Item(plan="add one"))


def test_an_answer_cut_off_keeps_what_it_has() -> None:
    parsed = parse_answer(
        "<thought>\nlow contrast\n</thought>\n<solution>\n1. Items: 1.4.3\n   Reason: grey on wh"
    )

    assert not parsed.complete
    assert parsed.thought == "low contrast"
    assert parsed.items == (Item("1.4.3", "grey on wh"),)


@pytest.mark.parametrize(
    "text",
    [
        "<Thought>\nt\n</Thought>\n\n<Solution>\n1) items: a\nreason: b\n\nPLAN: c\n</Solution>\nBye.",
        "Sure!\n<thought>t</thought><solution>\n1. Items: a\n  Reason: b\n  Plan: c\n\n</solution>",
    ],
)
def test_a_models_own_spelling_is_understood(text: str) -> None:
    parsed = parse_answer(text)

    assert parsed.complete
    assert parsed.thought == "t"
    assert parsed.items == (Item("a", "b", "c"),)


def test_an_answer_cut_off_in_its_thought() -> None:
    parsed = parse_answer("<thought>\nI see")

    assert (parsed.thought, parsed.solution, parsed.items) == ("I see", "", ())


def test_a_label_that_comes_again_begins_a_new_item() -> None:
    parsed = parse_answer("Items: a\nReason: b\nItems: c\nPlan: d")

    assert parsed.items == (Item(eval_items="a", eval_reason="b"), Item(eval_items="c", plan="d"))

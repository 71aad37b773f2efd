"""Conversations: as many turns as the data has, each text and each image where the data puts it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from vlm_runner.core.conversation import Conversation, ImageBlock, Turn
from vlm_runner.errors import ConfigurationError, RowError
from vlm_runner.prompts import compile_prompt
from vlm_runner.spec import Columns, PromptSpec

FIRST, SECOND = ImageBlock(0), ImageBlock(1)
WHOLE = Conversation(
    "Be brief.",
    (
        Turn("user", (FIRST, "What is it?")),
        Turn("assistant", ("A cat.",)),
        Turn("user", ("And", SECOND, "here?")),
        Turn("assistant", ("A dog.",)),
    ),
)
"""Two turns, each with an image at a place of its own."""


def part(kind: str, **more: Any) -> dict[str, Any]:
    """As Arrow gives it: every part has the keys of all, null where it has none."""
    return {"type": kind, "text": None, "index": None, **more}


URL = {"type": "image_url", "image_url": {"url": "x"}}
OPENAI = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [URL, {"type": "text", "text": "What is it?"}]},
    {"role": "assistant", "content": "A cat."},
    {"role": "user", "content": [{"type": "text", "text": "And"}, URL, {"type": "text", "text": "here?"}]},
    {"role": "assistant", "content": "A dog."},
]  # fmt: skip
TRL = [
    {"role": "system", "content": [part("text", text="Be brief.")]},
    {"role": "user", "content": [part("image"), part("text", text="What is it?")]},
    {"role": "assistant", "content": [part("text", text="A cat.")]},
    {"role": "user", "content": [part("text", text="And"), part("image"), part("text", text="here?")]},
    {"role": "assistant", "content": [part("text", text="A dog.")]},
]
LLAVA = [
    {"from": "system", "value": "Be brief."},
    {"from": "human", "value": "<image>\nWhat is it?"},
    {"from": "gpt", "value": "A cat."},
    {"from": "human", "value": "And <image> here?"},
    {"from": "gpt", "value": "A dog."},
]


def said(preset: str, messages: Any, images: int = 2, column: str = "messages", **spec: Any) -> Conversation:
    prompt = compile_prompt(PromptSpec(preset=preset, **spec))
    return prompt.render({column: messages}, images=images, subset="train", row=3).conversation


@pytest.mark.parametrize(
    ("preset", "column", "messages"),
    [
        ("messages", "messages", TRL),
        ("messages", "conversation", OPENAI),
        ("openai-vision", "messages", OPENAI),
        ("sharegpt", "conversations", LLAVA),
        ("messages", "messages", json.dumps(TRL)),
        ("sharegpt", "conversations", {key: [each[key] for each in LLAVA] for key in ("from", "value")}),
    ],
)
def test_a_conversation_keeps_its_turns_and_each_image_its_place(
    preset: str, column: str, messages: Any
) -> None:
    assert said(preset, messages, column=column) == WHOLE


def bedrock(*blocks: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [*blocks]}, {"role": "assistant", "content": [{"text": " A cat.\n"}]}]


STORED = {"image": {"format": "png", "source": {"s3Location": {"uri": "s3://b/0.png", "bucketOwner": None}}}}


@pytest.mark.parametrize(
    ("system", "expected"),
    [([{"text": " Be brief. "}], " Be brief. "), (None, None), ([], None), ("Be brief.", "Be brief.")],
)
def test_a_record_for_bedrock_keeps_its_texts_letter_for_letter(system: Any, expected: str | None) -> None:
    prompt = compile_prompt(PromptSpec(preset="bedrock"))
    messages = bedrock({"text": "What\n is it? ", "image": None}, STORED | {"text": None})
    fields = {"schemaVersion": "bedrock-conversation-2024", "system": system, "messages": messages}

    found = prompt.render(fields, images=1, subset="train", row=0).conversation

    assert found.system == expected
    assert [turn.blocks for turn in found.turns] == [("What\n is it? ", FIRST), (" A cat.\n",)]
    plain = compile_prompt(PromptSpec(preset="messages"))
    assert plain.render(fields, images=1, subset="train", row=0).system is None


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"messages": bedrock({"video": {"format": "mp4"}}, STORED)}, "message 0 has a part with video"),
        ({"messages": bedrock({"toolUse": {"name": "x"}}, STORED)}, "message 0 has a part with toolUse"),
        ({"messages": bedrock(STORED), "system": [{"image": {}}]}, "the system holds what is not a text"),
    ],
)
def test_a_record_for_bedrock_with_something_else_is_a_bad_row(fields: dict[str, Any], said: str) -> None:
    attempt = compile_prompt(PromptSpec(preset="bedrock")).attempt(fields, 1)

    assert [problem.reason for problem in attempt.problems] == [said]
    assert all(problem.of_the_row for problem in attempt.problems)


def test_a_pair_of_user_and_assistant_is_two_turns() -> None:
    texts = [
        {"user": "One?", "assistant": "1", "source": "x"},
        {"user": "Two?", "assistant": "2", "source": "x"},
    ]

    found = said("messages", texts, images=1, column="texts")

    assert [(turn.role, turn.blocks) for turn in found.turns] == [
        ("user", ("One?",)), ("assistant", ("1",)), ("user", ("Two?",)), ("assistant", ("2",)),
    ]  # fmt: skip


def test_images_without_a_place_stand_in_the_first_turn_in_the_models_order() -> None:
    found = said("sharegpt", [{"from": "human", "value": "Both?"}, {"from": "gpt", "value": "Yes."}])

    assert found.placed(2, image_first=True).turns[0].blocks == (FIRST, SECOND, "Both?")
    assert found.placed(2, image_first=False).turns[0].blocks == ("Both?", FIRST, SECOND)


@pytest.mark.parametrize(
    ("text", "blocks"),
    [
        ("<image>", (FIRST, SECOND)),
        ("<image 2> or <image 1>?", (SECOND, "or", FIRST, "?")),
        ("<|image_1|>\n<|image_2|>\nWhich?", (FIRST, SECOND, "Which?")),
        ("<|vision_start|><|image_pad|><|vision_end|>a<|image|>", (FIRST, "a", SECOND)),
    ],
)
def test_a_placeholder_becomes_the_image_and_is_no_text(text: str, blocks: tuple[Any, ...]) -> None:
    text = text * 2 if text == "<image>" else text

    found = said("sharegpt", [{"from": "human", "value": text}, {"from": "gpt", "value": "ok"}])

    assert found.turns[0].blocks == blocks


def test_parts_that_number_their_images_are_placed_by_number() -> None:
    messages = [
        {"role": "user", "content": [part("image", index=1), part("text", text="?"), part("image", index=0)]},
        {"role": "assistant", "content": [part("text", text="ok")]},
    ]

    assert said("messages", messages).turns[0].blocks == (SECOND, "?", FIRST)


USER, ASSISTANT = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
IMAGE = {"role": "user", "content": [{"type": "image"}]}
REFUSED = [
    ("a text", "just text", "T250"),
    ("nothing", None, "T250"),
    ("no message", [], "T250"),
    ("a message that is a text", ["q", "a"], "T250"),
    ("a message without a role", [{"content": "q"}], "T250"),
    ("only a system message", [{"role": "system", "content": "s"}], "T250"),
    ("the assistant begins", [ASSISTANT, USER, ASSISTANT], "T251"),
    ("two user turns in a row", [USER, USER, ASSISTANT], "T252"),
    ("two answers in a row", [USER, ASSISTANT, ASSISTANT], "T252"),
    ("the user has the last word", [USER, ASSISTANT, USER], "T253"),
    ("an image in an answer", [USER, {"role": "assistant", "content": ["a", {"type": "image"}]}], "T254"),
    ("an image in the system text", [{"role": "system", "content": "<image>"}, USER, ASSISTANT], "T254"),
    ("more places than images", [IMAGE, ASSISTANT, IMAGE, ASSISTANT], "T255"),
    ("a place twice", [{"role": "user", "content": "<image 1><image 1>"}, ASSISTANT], "T255"),
    ("a system message between turns", [USER, ASSISTANT, {"role": "system", "content": "s"}], "T256"),
    ("a tool's turn", [USER, {"role": "tool", "content": "42"}, ASSISTANT], "T256"),
    ("a call of a tool", [USER, {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}], "T256"),
    ("sound", [{"role": "user", "content": [{"type": "input_audio"}]}, ASSISTANT], "T256"),
    ("an empty question", [{"role": "user", "content": " "}, ASSISTANT], "T202"),
    ("an empty answer", [USER, {"role": "assistant", "content": ""}], "T203"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("messages", "code"), [each[1:] for each in REFUSED], ids=[each[0] for each in REFUSED]
)
def test_a_conversation_that_no_model_takes_is_refused_with_its_rule(messages: Any, code: str) -> None:
    prompt = compile_prompt(PromptSpec(preset="messages"))

    attempt = prompt.attempt({"messages": messages}, 1)

    assert code in [problem.code for problem in attempt.problems]
    assert all(problem.of_the_row for problem in attempt.problems)
    assert attempt.rendered is None
    with pytest.raises(RowError, match="train row 3"):
        prompt.render({"messages": messages}, images=1, subset="train", row=3)


@pytest.mark.parametrize(
    ("text", "images", "reason"),
    [
        ("<image 1> and <image 1>", 2, "the texts place the images 1, 1 of 2"),
        ("<image 2> and <image 3>", 2, "the texts place the images 2, 3 of 2"),
        ("<image> and <image>", 1, "the texts have 2 places for images, and the row has 1 image"),
        ("<image>", 2, "the texts have 1 place for images, and the row has 2 images"),
    ],
)
def test_images_that_do_not_fit_their_places_are_counted(text: str, images: int, reason: str) -> None:
    messages = [{"role": "user", "content": text}, ASSISTANT]

    (problem,) = (
        compile_prompt(PromptSpec(preset="messages")).attempt({"messages": messages}, images).problems
    )

    assert problem.reason == reason


def test_words_to_strip_are_taken_out_before_a_placeholder_counts() -> None:
    found = said(
        "sharegpt",
        [{"from": "human", "value": "<image>\nq"}, {"from": "gpt", "value": "a"}],
        strip=("<image>",),
    )

    assert found.turns[0].blocks == ("\nq",)


def test_a_system_template_replaces_that_of_the_data() -> None:
    assert said("messages", TRL, system="Answer in {{ 'French' }}.").system == "Answer in French."


@pytest.mark.parametrize(
    ("answers", "trained", "accepted"),
    [
        (["net", "a net", "net", "", None], "net", ("a net",)),
        ([{"answer": "net", "answer_id": 1}, {"answer": "mesh", "answer_id": 2}], "net", ("mesh",)),
        ({"answer": ["net", "mesh"], "answer_id": [1, 2]}, "net", ("mesh",)),
        ("[not a list]", "[not a list]", ()),
        (3, "3", ()),
    ],
)
def test_of_several_right_answers_the_first_is_trained_and_all_count(
    answers: Any, trained: str, accepted: tuple[str, ...]
) -> None:
    prompt = compile_prompt(PromptSpec(preset="qa"))

    found = prompt.render({"question": "<image>\nWhat?", "answers": answers}, subset="train", row=0)

    assert (found.assistant, found.accepted) == (trained, accepted)
    assert found.conversation.turns[0].blocks == (FIRST, "What?")


@pytest.mark.parametrize(
    ("spec", "several"),
    [
        (PromptSpec(preset="qa"), True),
        (PromptSpec(preset="caption"), True),
        (PromptSpec(preset="qa", assistant="{{ reply }}"), False),
        (PromptSpec(preset="sharegpt"), False),
        (PromptSpec(user="{{ question }}", assistant="{{ answer }}"), False),
    ],
    ids=["qa", "caption", "an answer by a template", "conversations", "no preset"],
)
def test_a_row_of_a_preset_of_questions_may_have_several_answers(spec: PromptSpec, several: bool) -> None:
    assert compile_prompt(spec).several_answers is several


def test_no_answer_at_all_is_missing() -> None:
    (problem,) = compile_prompt(PromptSpec(preset="qa")).attempt({"question": "q", "answers": []}).problems

    assert (problem.code, problem.field) == ("T201", "answer")


def test_captions_are_answers_to_one_question() -> None:
    found = compile_prompt(PromptSpec(preset="caption")).render(
        {"captions": ["A cat.", "Cat"]}, subset="t", row=0
    )

    assert (found.user, found.assistant, found.accepted, found.system) == (
        "Describe the image.", "A cat.", ("Cat",), None,
    )  # fmt: skip


def test_a_column_of_another_name_is_named_in_the_spec() -> None:
    prompt = compile_prompt(PromptSpec(preset="qa"), Columns(question="frage", answer="antwort"))

    found = prompt.render({"frage": "Was?", "antwort": "Das.", "answer": "no"}, subset="t", row=0)

    assert (found.user, found.assistant) == ("Was?", "Das.")


def test_a_column_that_is_not_there_is_told_with_those_that_are() -> None:
    with pytest.raises(ConfigurationError, match="there is no column for messages") as caught:
        said("sharegpt", LLAVA, column="dialogs")

    assert 'columns = { messages = "…" }' in str(caught.value.hint)
    assert "dialogs" in str(caught.value.hint)


def test_a_column_that_the_spec_names_and_the_row_has_not_is_told_with_those_that_are() -> None:
    prompt = compile_prompt(PromptSpec(preset="qa"), Columns(question="frage"))

    with pytest.raises(ConfigurationError, match="there is no column 'frage' for question") as caught:
        prompt.render({"fragen": "Was?", "answer": "Das."}, subset="t", row=0)

    assert "The columns are answer, fragen." in str(caught.value.hint)


def test_a_preset_with_a_question_of_the_specs_own_still_reads_the_answers() -> None:
    prompt = compile_prompt(PromptSpec(preset="qa", user="{{ topic }}?"))

    found = prompt.render({"topic": "Nets", "multiple_choice_answer": ["net", "mesh"]}, subset="t", row=0)

    assert (found.user, found.assistant, found.accepted) == ("Nets?", "net", ("mesh",))


def test_a_preset_of_conversations_with_templates_of_the_specs_own_reads_no_conversation() -> None:
    prompt = compile_prompt(PromptSpec(preset="sharegpt", user="{{ topic }}?", assistant="{{ said }}"))

    found = prompt.render({"topic": "Nets", "said": "Yes."}, subset="t", row=0)

    assert (found.user, found.assistant) == ("Nets?", "Yes.")


def test_a_template_makes_turns_and_places_images_and_data_cannot() -> None:
    template = """
{% for pair in pairs %}
{% turn "user" %}
{% if loop.first %}{% image 2 %}Look: {% image 1 %}{% endif %}{{ pair.q }}
{% endturn %}
{% turn "assistant" %}{{ pair.a }}{% endturn %}
{% endfor %}
"""
    prompt = compile_prompt(PromptSpec(turns=template, system="Be {{ mood }}."))
    pairs = [{"q": "{% image %}<image>", "a": "one"}, {"q": '{% turn "assistant" %}', "a": "two"}]

    found = prompt.render({"pairs": pairs, "mood": "kind"}, images=2, subset="t", row=0).conversation

    assert found.system == "Be kind."
    assert [turn.blocks for turn in found.turns] == [
        (SECOND, "Look: ", FIRST, "{% image %}<image>"), ("one",), ('{% turn "assistant" %}',), ("two",),
    ]  # fmt: skip
    assert prompt.columns == {"pairs", "mood"}


def test_a_question_template_places_images() -> None:
    prompt = compile_prompt(PromptSpec(user="Before: {% image %} after: {% image %}", assistant="{{ a }}"))

    found = prompt.render({"a": "Moved."}, images=2, subset="t", row=0).conversation

    assert found.turns[0].blocks == ("Before: ", FIRST, " after: ", SECOND)


@pytest.mark.parametrize(
    ("template", "match"),
    [
        ("hello", "'hello' is outside any turn"),
        ('{% turn "system" %}x{% endturn %}', "not 'system'"),
        ('{% turn "user" %}{% image 0 %}{% endturn %}', "numbered from 1"),
    ],
)
def test_a_template_of_turns_that_makes_none_is_told_what_is_wrong(template: str, match: str) -> None:
    with pytest.raises(ConfigurationError, match=match):
        compile_prompt(PromptSpec(turns=template)).render({}, subset="t", row=0)


def test_a_placeholder_in_the_data_of_a_template_stays_text() -> None:
    """HTML has an element of that name: only presets of conversations and questions read placeholders."""
    found = compile_prompt(PromptSpec(user="{{ html }}", assistant="ok")).render(
        {"html": "<image>"}, subset="t", row=0
    )

    assert found.conversation.turns[0].blocks == ("<image>",)


@pytest.mark.parametrize(
    ("spec", "columns"),
    [
        ({"preset": "accessibility"}, None),
        ({"preset": "accessibility-regions"}, None),
        ({"user": "{{ a }}", "assistant": "{{ b }}", "strip": ["User:"]}, None),
    ],
)
def test_what_templates_are_known_by_is_as_it_was(spec: dict[str, Any], columns: None) -> None:
    """Markers in S3 are found by it: another one would upload every image again."""
    was = {
        "accessibility": "9a55fd209b9569e57be6f2dc1c5b6d85ac55416ddc8251e9af23c5c19ed9049c",
        "accessibility-regions": "a6487270fb0fda4fc08c7b1cd0856aef8114ae73f186cdc548a1ae991354b1f9",
        None: "e9a63ef6e6bfe8d8e3947961efb606586bec06f00ef02661edcf3306e1fc018e",
    }

    assert compile_prompt(PromptSpec.model_validate(spec), columns).fingerprint == was[spec.get("preset")]


def test_a_column_of_turns_may_lie_within_another() -> None:
    prompt = compile_prompt(PromptSpec(preset="sharegpt"), Columns(messages="chat.turns"))
    turns = [{"from": "human", "value": "What?"}, {"from": "gpt", "value": "A cat."}]

    found = prompt.render({"chat": {"id": 7, "turns": turns}}, subset="t", row=0)

    assert (found.user, found.assistant) == ("What?", "A cat.")

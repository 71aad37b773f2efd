"""Conversations as datasets write them, read turn by turn: nothing is merged, dropped or reordered."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from vlm_runner.core.conversation import Block, ImageBlock, Turn
from vlm_runner.prompts.problem import RenderProblem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from vlm_runner.core.conversation import Role

ROLES: Final[dict[str, Role]] = {
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "chatgpt": "assistant",
}
"""OpenAI's and TRL's roles, ShareGPT's and LLaVA's, Gemini's."""
SYSTEM: Final = ("system", "developer")
ROLE_KEYS: Final = ("role", "from")
CONTENT_KEYS: Final = ("content", "value")
TEXT_KINDS: Final = ("text", "input_text", "output_text")
IMAGE_KINDS: Final = ("image", "image_url", "input_image")
NUMBER: Final = "index"
"""The key of an image part that numbers it from 0 (llava-instruct-mix-vsft)."""

PLACEHOLDER: Final = re.compile(
    r"[ \t]*\n?[ \t]*(?:<image>|<\|image\|>|<\|vision_start\|><\|image_pad\|><\|vision_end\|>|"
    r"<image[ _]?(\d{1,3})>|<\|image_(\d{1,3})\|>)[ \t]*\n?[ \t]*",
    re.IGNORECASE,
)
"""
LLaVA's, Llama's and Qwen's words for the place of an image; with a number, MMMU's and Phi's.

The line end beside it separates it from the text, and is no part of the text.
"""


class NotATurn(Exception):
    """A message cannot be read as a turn: the code of lint's rule, and why."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


@dataclass(frozen=True, slots=True)
class UnplacedImage:
    """An image part, before the row's images are counted."""

    number: int | None
    """From 0; None: the next one."""


Part = str | UnplacedImage


@dataclass(frozen=True, slots=True)
class Message:
    role: str
    """`user`, `assistant` or `system`."""
    parts: tuple[Part, ...]


def read_messages(value: Any, cleaned: Callable[[str], str]) -> list[Message]:
    """
    The messages in a cell: a list of them, JSON text of one, or lists by key (an older `Sequence` of dicts).

    A message has role and content (OpenAI, TRL), from and value (ShareGPT), or is a pair of user and
    assistant (the_cauldron), which is two turns. `cleaned` takes words out of its texts.

    Raises:
        NotATurn: the cell or a message is of another form, or holds what is neither text nor image.
    """
    return [
        message
        for place, item in enumerate(_listed(value))
        for message in _messages(item, _Reading(place, cleaned))
    ]


def read_system(value: Any, cleaned: Callable[[str], str]) -> Message:
    """
    The system text of a record for Bedrock: a list of texts beside the messages.

    Raises:
        NotATurn: it is of another form.
    """
    items = value if isinstance(value, list) else [value]
    found = [item.get("text") if isinstance(item, dict) else item for item in items]
    texts = [cleaned(text) for text in found if isinstance(text, str)]
    if len(texts) < len(found):
        raise NotATurn("T250", "the system holds what is not a text")
    return Message("system", tuple(texts))


def _listed(value: Any) -> list[Any]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise NotATurn("T250", "holds a text, not a list of messages") from None
    if isinstance(value, dict):
        columns = [value[key] for key in value if isinstance(value[key], list)]
        if len(columns) == len(value) > 1 and len({len(column) for column in columns}) == 1:
            return [dict(zip(value, row, strict=True)) for row in zip(*columns, strict=True)]
    if not isinstance(value, list):
        raise NotATurn("T250", f"holds {_named(value)}, not a list of messages")
    if not value:
        raise NotATurn("T250", "holds no message")
    return value


@dataclass(frozen=True, slots=True)
class _Reading:
    place: int
    """Of the message, for errors."""
    cleaned: Callable[[str], str]


def _messages(item: Any, reading: _Reading) -> Iterator[Message]:
    place = reading.place
    if not isinstance(item, dict):
        raise NotATurn("T250", f"message {place} is {_named(item)}")
    role = next((item[key] for key in ROLE_KEYS if item.get(key) is not None), None)
    if role is None and item.get("user") is not None and "assistant" in item:
        yield Message("user", tuple(_parts(item["user"], reading)))
        yield Message("assistant", tuple(_parts(item["assistant"], reading)))
        return
    if not isinstance(role, str):
        raise NotATurn("T250", f"message {place} has no role")
    plain = role.strip().lower()
    if plain not in ROLES and plain not in SYSTEM:
        raise NotATurn(
            "T256", f"message {place} has the role '{role[:40]}'; roles are user, assistant and system"
        )
    if item.get("tool_calls"):
        raise NotATurn("T256", f"message {place} calls tools")
    content = next((item[key] for key in CONTENT_KEYS if item.get(key) is not None), None)
    yield Message(ROLES.get(plain, "system"), tuple(_parts(content, reading)))


def _parts(content: Any, reading: _Reading) -> Iterator[Part]:
    for part in content if isinstance(content, list) else [content]:
        if part is None:
            continue
        if isinstance(part, str):
            yield from split_at_places(reading.cleaned(part))
        elif isinstance(part, dict):
            yield from _part(part, reading)
        else:
            raise NotATurn("T250", f"message {reading.place} holds {_named(part)}")


def _part(part: dict[str, Any], reading: _Reading) -> Iterator[Part]:
    place, kind = reading.place, part.get("type")
    if kind in IMAGE_KINDS or (kind is None and any(part.get(key) is not None for key in IMAGE_KINDS)):
        number = part.get(NUMBER)
        yield UnplacedImage(number if type(number) is int and number >= 0 else None)
    elif kind in TEXT_KINDS or (kind is None and isinstance(part.get("text"), str)):
        text = part.get("text")
        if not isinstance(text, str):
            raise NotATurn("T250", f"message {place} has a text part that holds {_named(text)}")
        yield from split_at_places(reading.cleaned(text))
    else:
        held = [key for key, child in part.items() if child is not None]
        what = (
            f"of the type '{str(kind)[:40]}'"
            if kind is not None
            else f"with {', '.join(held)[:40] or 'nothing'}"
        )
        raise NotATurn("T256", f"message {place} has a part {what}")


def split_at_places(text: str) -> Iterator[Part]:
    """`text` without its placeholders, and an image where each stood; a text may be blank."""
    at = 0
    for match in PLACEHOLDER.finditer(text):
        yield text[at : match.start()]
        number = match[1] or match[2]
        yield UnplacedImage(None if number is None else max(0, int(number) - 1))
        at = match.end()
    yield text[at:]


def in_order(messages: Sequence[Message]) -> tuple[list[str], list[tuple[Role, tuple[Part, ...]]]]:
    """
    The texts of the system messages that stand first, and the turns after them, without blank texts.

    Raises:
        NotATurn: a system message stands later, or holds an image.
    """
    system: list[str] = []
    turns: list[tuple[Role, tuple[Part, ...]]] = []
    for place, message in enumerate(messages):
        parts = tuple(part for part in message.parts if not isinstance(part, str) or part.strip())
        if message.role != "system":
            turns.append((ROLES[message.role], parts))
            continue
        if turns:
            raise NotATurn("T256", f"message {place} is a system message between turns")
        if any(isinstance(part, UnplacedImage) for part in parts):
            raise NotATurn("T254", "the system message holds an image")
        system += [part for part in parts if isinstance(part, str)]
    return system, turns


def placed_turns(turns: Sequence[tuple[Role, tuple[Part, ...]]], images: int) -> list[Turn] | RenderProblem:
    """
    The turns with the row's `images` in their places; all in order, or all by their numbers.

    Where none has a place the model's own order places them, in the first turn.
    """
    numbers = [
        part.number for _, parts in turns for part in parts if isinstance(part, UnplacedImage)
    ]  # fmt: skip
    if not numbers:
        return [Turn(role, tuple(part for part in parts if isinstance(part, str))) for role, parts in turns]
    numbered = all(number is not None for number in numbers)
    order = [number or 0 for number in numbers] if numbered else list(range(len(numbers)))
    if sorted(order) != list(range(images)):
        places = _count(len(numbers), "place")
        said = f"the texts have {places} for images, and the row has {_count(images, 'image')}"
        if len(numbers) == images:
            said = f"the texts place the images {', '.join(str(number + 1) for number in order)} of {images}"
        return RenderProblem("turns", said, "messages", "user", rule="T255")
    left = iter(order)

    def block(part: Part) -> Block:
        return part if isinstance(part, str) else ImageBlock(next(left))

    return [Turn(role, tuple(block(part) for part in parts)) for role, parts in turns]


def turn_problems(turns: Sequence[Turn]) -> Iterator[RenderProblem]:
    """What no model takes: see lint's rules T202, T203 and T251 to T254."""
    if not turns:
        yield RenderProblem("turns", "there is no turn", "messages", "user", rule="T250")
        return
    if turns[0].role != "user":
        yield RenderProblem("turns", "the assistant begins", "messages[0]", "user", rule="T251")
    for place, (before, after) in enumerate(pairwise(turns), start=1):
        if before.role == after.role:
            said = f"two turns of the {after.role} follow each other"
            yield RenderProblem("turns", said, f"messages[{place}]", after.role, rule="T252")
    for place, turn in enumerate(turns):
        at = f"messages[{place}]"
        if turn.role == "assistant" and turn.images:
            yield RenderProblem("turns", "the answer holds an image", at, "assistant", rule="T254")
        if not (turn.text.strip() or (turn.role == "user" and turn.images)):
            yield RenderProblem("empty", "is empty", at, turn.role)
    if turns[-1].role != "assistant":
        said = "the last turn is the user's; what is learned is an answer"
        yield RenderProblem("turns", said, f"messages[{len(turns) - 1}]", "assistant", rule="T253")


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _named(value: Any) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"

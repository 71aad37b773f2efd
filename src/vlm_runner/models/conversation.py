"""The `bedrock-conversation-2024` record that training reads, and Converse, which speaks the same way."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import orjson

from vlm_runner.errors import DataError
from vlm_runner.models.answer import Answer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vlm_runner.core.conversation import Conversation

# Legal in JSON text, but line ends to some readers of JSONL; inside JSON they can only stand in strings.
_LINE_ENDS = {
    "\x85".encode(): b"\\u0085",
    "\u2028".encode(): b"\\u2028",
    "\u2029".encode(): b"\\u2029",
}
_SURROGATE = re.compile("[\ud800-\udfff]")


def record(
    conversation: Conversation,
    images: Sequence[tuple[str, str]],
    *,
    bucket_owner: str,
    image_first: bool,
) -> dict[str, Any]:
    """
    One training record. `images` are URI and format of each, in the order of their numbers.

    `image_first` places them where the data does not.
    """

    def picture(number: int) -> dict[str, Any]:
        uri, form = images[number]
        return {"format": form, "source": {"s3Location": {"uri": uri, "bucketOwner": bucket_owner}}}

    placed = conversation.placed(len(images), image_first=image_first)
    opening = {} if placed.system is None else {"system": [{"text": placed.system}]}
    return {"schemaVersion": "bedrock-conversation-2024", **opening, "messages": messages(placed, picture)}


def messages(placed: Conversation, picture: Callable[[int], dict[str, Any]]) -> list[dict[str, Any]]:
    """The turns as Converse spells them; `picture` makes the image block of an image's number."""
    return [
        {
            "role": turn.role,
            "content": [
                {"text": block} if isinstance(block, str) else {"image": picture(block.number)}
                for block in turn.blocks
            ],
        }
        for turn in placed.turns
    ]


def line(value: dict[str, Any]) -> bytes:
    """
    `value` as one line of JSONL: UTF-8, its only line end the newline it closes with.

    Raises:
        DataError: a text holds a lone surrogate, which no UTF-8 can carry.
    """
    try:
        text = orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)
    except orjson.JSONEncodeError as error:
        raise _no_text(value, error) from None
    if not text.isascii():
        for character, escape in _LINE_ENDS.items():
            text = text.replace(character, escape)
    return text


def _no_text(value: dict[str, Any], error: Exception) -> Exception:
    found = _SURROGATE.search(json.dumps(value, ensure_ascii=False))
    if found is None:
        return error
    return DataError(
        f"A text holds the lone surrogate U+{ord(found[0]):04X}, which is not a character.",
        hint="Repair the text in the dataset; it was cut in the middle of a character.",
    )


def record_line(
    conversation: Conversation,
    images: Sequence[tuple[str, str]],
    *,
    bucket_owner: str,
    image_first: bool,
) -> bytes:
    """`record` as one `line`."""
    return line(record(conversation, images, bucket_owner=bucket_owner, image_first=image_first))


def converse_request(
    model_id: str,
    question: Conversation,
    images: Sequence[tuple[bytes, str]],
    *,
    max_tokens: int,
    temperature: float,
    image_first: bool,
) -> dict[str, Any]:
    """Keyword arguments for Converse: turns in the order of the training record, the images' bytes raw."""

    def picture(number: int) -> dict[str, Any]:
        body, form = images[number]
        return {"format": form, "source": {"bytes": body}}

    placed = question.placed(len(images), image_first=image_first)
    request: dict[str, Any] = {
        "modelId": model_id,
        "messages": messages(placed, picture),
        "inferenceConfig": {"maxTokens": max_tokens, "temperature": temperature},
    }
    return request if placed.system is None else request | {"system": [{"text": placed.system}]}


def converse_answer(response: dict[str, Any]) -> Answer:
    content = response["output"]["message"]["content"]
    usage = response.get("usage", {})
    return Answer(
        text="".join(part.get("text", "") for part in content),
        input_tokens=usage.get("inputTokens"),
        output_tokens=usage.get("outputTokens"),
        stop_reason=response.get("stopReason"),
    )

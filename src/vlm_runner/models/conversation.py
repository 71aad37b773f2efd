"""The `bedrock-conversation-2024` record that training reads, and Converse, which speaks the same way."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import orjson

from vlm_runner.errors import DataError
from vlm_runner.models.answer import Answer

if TYPE_CHECKING:
    from collections.abc import Sequence

# Legal in JSON text, but line ends to some readers of JSONL; inside JSON they can only stand in strings.
_LINE_ENDS = {
    "\x85".encode(): b"\\u0085",
    "\u2028".encode(): b"\\u2028",
    "\u2029".encode(): b"\\u2029",
}
_SURROGATE = re.compile("[\ud800-\udfff]")


def record(
    system: str | None,
    user: str,
    assistant: str,
    *,
    image_uri: str,
    image_format: str,
    bucket_owner: str,
    image_first: bool,
    more: Sequence[tuple[str, str]] = (),
) -> dict[str, Any]:
    """
    One training record: the question with its image, and the answer.

    `more` are URI and format of further images, which stand behind the first, in order.
    """
    pictures = [
        {"image": {"format": form, "source": {"s3Location": {"uri": uri, "bucketOwner": bucket_owner}}}}
        for uri, form in ((image_uri, image_format), *more)
    ]
    question = {"role": "user", "content": _ordered(user, pictures, image_first=image_first)}
    answer = {"role": "assistant", "content": [{"text": assistant}]}
    opening = {} if system is None else {"system": [{"text": system}]}
    return {"schemaVersion": "bedrock-conversation-2024", **opening, "messages": [question, answer]}


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
    system: str | None,
    user: str,
    assistant: str,
    *,
    image_uri: str,
    image_format: str,
    bucket_owner: str,
    image_first: bool,
    more: Sequence[tuple[str, str]] = (),
) -> bytes:
    """`record` as one `line`."""
    return line(
        record(
            system,
            user,
            assistant,
            image_uri=image_uri,
            image_format=image_format,
            bucket_owner=bucket_owner,
            image_first=image_first,
            more=more,
        )
    )


def converse_request(
    model_id: str,
    system: str | None,
    user: str,
    image: bytes,
    image_format: str,
    *,
    max_tokens: int,
    temperature: float,
    image_first: bool,
    more: Sequence[tuple[bytes, str]] = (),
) -> dict[str, Any]:
    """Keyword arguments for Converse: turns in the order of the training record, the images' bytes raw."""
    pictures = [
        {"image": {"format": form, "source": {"bytes": body}}}
        for body, form in ((image, image_format), *more)
    ]
    request: dict[str, Any] = {
        "modelId": model_id,
        "messages": [{"role": "user", "content": _ordered(user, pictures, image_first=image_first)}],
        "inferenceConfig": {"maxTokens": max_tokens, "temperature": temperature},
    }
    return request if system is None else request | {"system": [{"text": system}]}


def converse_answer(response: dict[str, Any]) -> Answer:
    content = response["output"]["message"]["content"]
    usage = response.get("usage", {})
    return Answer(
        text="".join(part.get("text", "") for part in content),
        input_tokens=usage.get("inputTokens"),
        output_tokens=usage.get("outputTokens"),
        stop_reason=response.get("stopReason"),
    )


def _ordered(text: str, pictures: list[dict[str, Any]], *, image_first: bool) -> list[dict[str, Any]]:
    return [*pictures, {"text": text}] if image_first else [{"text": text}, *pictures]

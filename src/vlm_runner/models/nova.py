"""Amazon Nova by InvokeModel: messages, with the image in base64."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from vlm_runner.models.answer import Answer

if TYPE_CHECKING:
    from collections.abc import Sequence

COLDEST = 0.00001  # nova/latest/userguide/complete-request-schema: temperature from 0.00001 to 1


def invoke_body(
    system: str | None,
    user: str,
    image: bytes,
    image_format: str,
    *,
    max_tokens: int,
    temperature: float,
    image_first: bool = False,
    more: Sequence[tuple[bytes, str]] = (),
) -> dict[str, Any]:
    """The body of InvokeModel, before JSON; a temperature of 0 goes as the coldest that Nova takes."""
    pictures = [
        {"image": {"format": form, "source": {"bytes": base64.b64encode(picture).decode("ascii")}}}
        for picture, form in ((image, image_format), *more)
    ]
    content = [*pictures, {"text": user}] if image_first else [{"text": user}, *pictures]
    body: dict[str, Any] = {"schemaVersion": "messages-v1"}
    if system is not None:
        body["system"] = [{"text": system}]
    return body | {
        "messages": [{"role": "user", "content": content}],
        "inferenceConfig": {"maxTokens": max_tokens, "temperature": max(temperature, COLDEST)},
    }


def invoke_text(body: dict[str, Any]) -> Answer:
    content = body["output"]["message"]["content"]
    usage = body.get("usage", {})
    return Answer(
        text="".join(part.get("text", "") for part in content),
        input_tokens=usage.get("inputTokens"),
        output_tokens=usage.get("outputTokens"),
        stop_reason=body.get("stopReason"),
    )

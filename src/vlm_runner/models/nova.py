"""Amazon Nova by InvokeModel: messages, with the image in base64."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from vlm_runner.models.answer import Answer
from vlm_runner.models.conversation import messages

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vlm_runner.core.conversation import Conversation

COLDEST = 0.00001  # nova/latest/userguide/complete-request-schema: temperature from 0.00001 to 1


def invoke_body(
    question: Conversation,
    images: Sequence[tuple[bytes, str]],
    *,
    max_tokens: int,
    temperature: float,
    image_first: bool = False,
) -> dict[str, Any]:
    """The body of InvokeModel, before JSON; a temperature of 0 goes as the coldest that Nova takes."""

    def picture(number: int) -> dict[str, Any]:
        body, form = images[number]
        return {"format": form, "source": {"bytes": base64.b64encode(body).decode("ascii")}}

    placed = question.placed(len(images), image_first=image_first)
    opening = {} if placed.system is None else {"system": [{"text": placed.system}]}
    return {
        "schemaVersion": "messages-v1",
        **opening,
        "messages": messages(placed, picture),
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

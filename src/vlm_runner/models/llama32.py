"""Llama 3.2 Vision by InvokeModel: a prompt of special tokens, and images beside it."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from vlm_runner.errors import DataError
from vlm_runner.models.answer import Answer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vlm_runner.core.conversation import Conversation

SPECIAL = (
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|python_tag|>",
    "<|image|>",
)


def invoke_body(
    question: Conversation,
    images: Sequence[tuple[bytes, str]],
    *,
    max_tokens: int,
    temperature: float,
    image_first: bool = False,
) -> dict[str, Any]:
    """
    The body of InvokeModel, before JSON. Llama finds an image's format out itself.

    Raises:
        DataError: a text holds one of Llama's special tokens, and so could end its own turn.
    """
    placed = question.placed(len(images), image_first=image_first)
    return {
        "prompt": prompt(placed),
        "images": [base64.b64encode(images[number][0]).decode("ascii") for number in placed.images],
        "max_gen_len": max_tokens,
        "temperature": temperature,
    }


def prompt(placed: Conversation) -> str:
    """The turns between Llama's special tokens, and the opening of the answer."""
    opening = _turn("system", _harmless(placed.system)) if placed.system is not None else ""
    turns = "".join(
        _turn(
            turn.role,
            "".join(_harmless(block) if isinstance(block, str) else "<|image|>" for block in turn.blocks),
        )
        for turn in placed.turns
    )
    return f"<|begin_of_text|>{opening}{turns}<|start_header_id|>assistant<|end_header_id|>\n\n"


def invoke_text(body: dict[str, Any]) -> Answer:
    return Answer(
        text=str(body["generation"]),
        input_tokens=body.get("prompt_token_count"),
        output_tokens=body.get("generation_token_count"),
        stop_reason=body.get("stop_reason"),
    )


def _turn(role: str, text: str) -> str:
    return f"<|start_header_id|>{role}<|end_header_id|>\n\n{text}<|eot_id|>"


def _harmless(text: str) -> str:
    for token in SPECIAL:
        if token in text:
            raise DataError(
                f"The prompt holds Llama's special token {token}, which would change its turns.",
                hint='Set test.api = "converse", or take the token out of the data.',
            )
    return text

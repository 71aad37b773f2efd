"""Llama 3.2 Vision by InvokeModel: a prompt of special tokens, and images beside it."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from vlm_runner.errors import DataError
from vlm_runner.models.answer import Answer

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    system: str | None,
    user: str,
    image: bytes,
    image_format: str,  # noqa: ARG001 - Llama finds the format out itself; the families share one signature
    *,
    max_tokens: int,
    temperature: float,
    image_first: bool = False,
    more: Sequence[tuple[bytes, str]] = (),
) -> dict[str, Any]:
    """
    The body of InvokeModel, before JSON.

    Raises:
        DataError: a text holds one of Llama's special tokens, and so could end its own turn.
    """
    images = [image, *(body for body, _ in more)]
    return {
        "prompt": prompt(system, user, image_first=image_first, images=len(images)),
        "images": [base64.b64encode(body).decode("ascii") for body in images],
        "max_gen_len": max_tokens,
        "temperature": temperature,
    }


def prompt(system: str | None, user: str, *, image_first: bool, images: int = 1) -> str:
    places = "<|image|>" * images
    question = f"{places}{_harmless(user)}" if image_first else f"{_harmless(user)}{places}"
    opening = _turn("system", _harmless(system)) if system is not None else ""
    turns = opening + _turn("user", question)
    return f"<|begin_of_text|>{turns}<|start_header_id|>assistant<|end_header_id|>\n\n"


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

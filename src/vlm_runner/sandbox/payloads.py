"""
Parses the request bodies of Converse and InvokeModel; rejects what Bedrock rejects.

Limits: Converse API reference (20 images of at most 3.75 MB and 8000x8000 pixels);
model-parameters-meta (Llama); nova/userguide/complete-request-schema (Nova).
"""

import base64
import binascii
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from vlm_runner.sandbox.catalogue import FoundationModel
from vlm_runner.sandbox.errors import invalid
from vlm_runner.sandbox.images import ImageFacts, NotAnImage, inspect_image
from vlm_runner.sandbox.objects import Objects, split_uri

IMAGE_BYTES = 3_750_000
IMAGE_SIDE = 8000
_LLAMA_KEYS = {"prompt", "images", "max_gen_len", "temperature", "top_p"}
_NOVA_KEYS = {
    "schemaVersion",
    "system",
    "messages",
    "inferenceConfig",
    "toolConfig",
    "additionalModelRequestFields",
}
_LLAMA_TURN = re.compile(
    r"<\|start_header_id\|>(\w+)<\|end_header_id\|>\n*(.*?)(?:<\|eot_id\|>|$)", re.DOTALL
)


@dataclass(frozen=True)
class Asked:
    system: str
    prompt: str
    images: tuple[ImageFacts, ...]
    max_tokens: int
    stop_sequences: tuple[str, ...] = ()


def from_converse(model: FoundationModel, p: Mapping[str, Any], objects: Objects) -> Asked:
    return _conversation(model, p, p.get("inferenceConfig", {}), objects)


def from_nova(model: FoundationModel, payload: Mapping[str, Any], objects: Objects) -> Asked:
    _no_extra_keys(payload, _NOVA_KEYS)
    config = payload.get("inferenceConfig", {})
    config = {"maxTokens": config.get("max_new_tokens"), **config}
    _within("temperature", config.get("temperature"), 0, 1)
    _within("topP", config.get("topP"), 0, 1)
    _within("topK", config.get("topK"), 0, 128)
    return _conversation(model, payload, config, objects)


def from_llama(model: FoundationModel, payload: Mapping[str, Any]) -> Asked:
    _no_extra_keys(payload, _LLAMA_KEYS)
    prompt, images = payload.get("prompt"), payload.get("images") or []
    if not isinstance(prompt, str) or not prompt:
        raise invalid(
            "Malformed input request: #: required key [prompt] not found, "
            "please reformat your input and try again."
        )
    _within("temperature", payload.get("temperature"), 0, 1)
    _within("top_p", payload.get("top_p"), 0, 1)
    limit = payload.get("max_gen_len") or 512
    _within("max_gen_len", limit, 1, model.max_output_tokens)
    facts = tuple(_checked(_decoded(image), None) for image in images)
    _count(model, facts)
    turns = [(role, text.replace("<|image|>", "").strip()) for role, text in _LLAMA_TURN.findall(prompt)]
    system = "\n".join(text for role, text in turns if role == "system")
    asked = "\n".join(text for role, text in turns if role == "user") if turns else prompt
    return Asked(system, asked, facts, limit)


def _conversation(
    model: FoundationModel, p: Mapping[str, Any], config: Mapping[str, Any], objects: Objects
) -> Asked:
    messages = p.get("messages") or []
    _check_turns(messages)
    limit = config.get("maxTokens") or min(512, model.max_output_tokens)
    _within("maxTokens", limit, 1, model.max_output_tokens)
    texts: list[str] = []
    images: list[ImageFacts] = []
    for message in messages:
        for block in message["content"]:
            if "image" in block:
                images.append(_image(block["image"], message["role"], objects))
            elif message["role"] == "user":
                texts.append(_text(block))
    _count(model, images)
    system = "\n".join(_text(block) for block in p.get("system") or [])
    return Asked(system, "\n".join(texts), tuple(images), limit, tuple(config.get("stopSequences") or ()))


def _check_turns(messages: Sequence[Any]) -> None:
    if not messages or messages[0].get("role") != "user":
        raise invalid(
            "A conversation must start with a user message. "
            "Try again with a conversation that starts with a user message."
        )
    roles = [message.get("role") for message in messages]
    if any(one == two for one, two in pairwise(roles)):
        raise invalid("A conversation must alternate between user and assistant roles.")
    if any(not message.get("content") for message in messages):
        raise invalid(
            "The content field in the Message object is empty. Add a ContentBlock object and try again."
        )


def _text(block: Mapping[str, Any]) -> str:
    text = block.get("text")
    if not isinstance(text, str) or not text.strip():
        raise invalid(
            "The text field in the ContentBlock object is blank. Add text to the text field, and try again."
        )
    return text


def _image(block: Mapping[str, Any], role: str, objects: Objects) -> ImageFacts:
    if role != "user":
        raise invalid("Images are only supported in user messages.")
    source = block.get("source", {})
    data = source.get("bytes")
    if isinstance(data, str):
        data = _decoded(data)
    if data is None and "s3Location" in source:
        data = objects.fetch(*split_uri(source["s3Location"]["uri"]))
    if not data:
        raise invalid("The image could not be read. Try again with a different image.")
    return _checked(data, block.get("format"))


def _decoded(text: object) -> bytes:
    try:
        return base64.b64decode(str(text), validate=True)
    except binascii.Error:
        raise invalid("The image is not valid base64.") from None


def _checked(data: bytes, declared: str | None) -> ImageFacts:
    if len(data) > IMAGE_BYTES:
        raise invalid("Image size exceeds the limit of 3.75 MB.")
    try:
        facts = inspect_image(data)
    except NotAnImage:
        raise invalid("Could not process image.") from None
    if max(facts.width, facts.height) > IMAGE_SIDE:
        raise invalid("Image dimensions exceed the limit of 8000 pixels.")
    if declared and declared != facts.format:
        raise invalid("The provided image does not match the specified image format.")
    return facts


def _count(model: FoundationModel, images: Sequence[ImageFacts]) -> None:
    if len(images) > model.images_per_request:
        raise invalid(f"The model supports at most {model.images_per_request} image(s) per request.")


def _no_extra_keys(payload: Mapping[str, Any], known: Iterable[str]) -> None:
    for key in payload:
        if key not in known:
            raise invalid(
                f"Malformed input request: #: extraneous key [{key}] is not permitted, "
                "please reformat your input and try again."
            )


def _within(name: str, value: object, low: float, high: float) -> None:
    if value is None:
        return
    if not isinstance(value, (int, float)) or not low <= value <= high:
        raise invalid(f"Malformed input request: #/{name}: {value} is not between {low} and {high}.")

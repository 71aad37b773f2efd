"""
Bedrock's validation of the training file: every line and every image.

Rules: user guide model-customization-prepare (Llama 3.2), nova/userguide
fine-tune-prepare-data-understanding (Nova); messages: fine-tuning-troubleshooting.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from vlm_runner.sandbox.catalogue import FoundationModel
from vlm_runner.sandbox.images import ImageFacts, NotAnImage, inspect_image
from vlm_runner.sandbox.tokens import image_tokens, text_tokens

_IMAGE_URI = re.compile(r"s3://([a-z0-9.-]+)/([\w\-/.]+)", re.ASCII)


class DataRejected(Exception):
    """The job fails with this message."""


@dataclass(frozen=True)
class Example:
    prompt: str
    images: tuple[ImageFacts, ...]
    answer: str
    tokens: int


@dataclass(frozen=True)
class DataFile:
    """A file of a job whose every record was accepted."""

    key: str
    data: bytes
    examples: tuple[Example, ...]


Fetch = Callable[[str, str], bytes | None]
"""(bucket, key) to the object's bytes, or None where the role could not read it."""


@dataclass(frozen=True)
class Checker:
    """Checks one file of a job. `fetch` reads S3 as the job's role would."""

    model: FoundationModel
    bucket: str
    key: str
    fetch: Fetch
    account: str

    def read(self) -> DataFile:
        if not self.key.endswith(".jsonl"):
            self._not_jsonl()
        data = self.fetch(self.bucket, self.key)
        if data is None:
            raise _unreadable(self.bucket, self.key)
        lines = enumerate(self._lines(data), start=1)
        return DataFile(self.key, data, tuple(self._example(number, line) for number, line in lines))

    def _lines(self, data: bytes) -> list[str]:
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            self._not_jsonl()
        if text.startswith("\ufeff") or not text:
            self._not_jsonl()
        lines = text.removesuffix("\n").split("\n")
        if any(not line.strip() for line in lines):
            self._not_jsonl()
        return lines

    def _not_jsonl(self) -> NoReturn:
        raise DataRejected(
            f"Unable to parse Amazon S3 file: s3://{self.bucket}/{self.key}. "
            "Fine-tuning data must conform to JSONL format."
        )

    def _reject(self, number: int, reason: str) -> NoReturn:
        raise DataRejected(f"Input data at s3://{self.bucket}/{self.key} line {number} is invalid: {reason}")

    def _example(self, number: int, line: str) -> Example:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            self._not_jsonl()
        if not isinstance(record, dict) or not isinstance(record.get("messages"), list):
            self._reject(number, "must follow the conversation format with 'messages'")
        self._check_schema(number, record)
        system = self._system(number, record)
        prompts, images, answers = self._turns(number, record["messages"])
        self._check_words(number, [*system, *prompts])
        if len(images) > self.model.images_per_record:
            self._reject(number, f"at most {self.model.images_per_record} images per record")
        tokens = self._tokens(number, [*system, *prompts, *answers], images)
        return Example("\n".join(prompts), tuple(images), answers[-1], tokens)

    def _check_schema(self, number: int, record: dict[str, Any]) -> None:
        version = record.get("schemaVersion")
        if version is None and self.model.schema_version_required:
            self._reject(number, "'schemaVersion' is required")
        if version is not None and not isinstance(version, str):
            self._reject(number, "'schemaVersion' must be a string")
        if self.model.family == "llama" and version not in {None, "bedrock-conversation-2024"}:
            self._reject(number, "'schemaVersion' must be bedrock-conversation-2024")

    def _system(self, number: int, record: dict[str, Any]) -> list[str]:
        system = record.get("system")
        if system is None or (self.model.empty_system and system == []):
            return []
        if not isinstance(system, list) or len(system) != 1 or not _text_of(system[0]):
            self._reject(number, "'system' must hold exactly one non-empty text")
        return [system[0]["text"]]

    def _turns(self, number: int, messages: list[Any]) -> tuple[list[str], list[ImageFacts], list[str]]:
        """Of all turns the prompts and the images, and the answers, each whole."""
        prompts: list[str] = []
        images: list[ImageFacts] = []
        answers: list[str] = []
        for index, message in enumerate(messages):
            role = ("user", "assistant")[index % 2]
            if not isinstance(message, dict) or message.get("role") != role:
                self._reject(number, "roles must alternate, starting with user")
            texts, found = self._content(number, role, message.get("content"))
            images += found
            if role == "user":
                prompts += texts
            else:
                answers.append("".join(texts))
        if not messages or len(messages) % 2:
            self._reject(number, "the last message must be from the assistant")
        return prompts, images, answers

    def _content(self, number: int, role: str, content: Any) -> tuple[list[str], list[ImageFacts]]:
        if not isinstance(content, list) or not content:
            self._reject(number, "'content' must be a non-empty list")
        texts: list[str] = []
        images: list[ImageFacts] = []
        others = 0
        for block in content:
            if text := _text_of(block):
                texts.append(text)
            elif isinstance(block, dict) and isinstance(block.get("image"), dict) and role == "user":
                images.append(self._image(number, block["image"]))
            elif isinstance(block, dict) and block.keys() & set(self.model.other_blocks):
                others += 1
            else:
                self._reject(number, f"a {role} turn must not hold {_kind_of(block)}")
        if role == "assistant" and not texts and not others:
            self._reject(number, "an assistant turn needs text")
        return texts, images

    def _image(self, number: int, block: dict[str, Any]) -> ImageFacts:
        location = (block.get("source") or {}).get("s3Location") or {}
        uri, owner = str(location.get("uri")), location.get("bucketOwner", self.account)
        found = _IMAGE_URI.fullmatch(uri)
        if found is None:
            self._reject(number, f"'{uri}' is not a valid S3 URI of an image")
        if self.model.same_bucket and found[1] != self.bucket:
            self._reject(number, f"image {uri} must be in the same bucket as the dataset")
        if owner != self.account:
            self._reject(number, f"bucketOwner {owner} does not own bucket {found[1]}")
        data = self.fetch(found[1], found[2])
        if data is None:
            raise _unreadable(found[1], found[2])
        return self._limits(number, uri, block.get("format"), data)

    def _limits(self, number: int, uri: str, declared: object, data: bytes) -> ImageFacts:
        model = self.model
        if model.format_any_case and isinstance(declared, str):
            declared = declared.lower()
        if len(data) > model.image_bytes:
            self._reject(number, f"image {uri} is larger than {model.image_bytes // 1_000_000} MB")
        try:
            facts = inspect_image(data)
        except NotAnImage as error:
            self._reject(number, f"image {uri} cannot be read: {error}")
        if declared not in model.image_formats or facts.format not in model.image_formats:
            self._reject(number, f"image {uri} has an unsupported format")
        if declared != facts.format:
            self._reject(number, f"image {uri} is {facts.format}, not {declared}")
        low, high = model.image_sides
        if not low <= min(facts.width, facts.height) <= max(facts.width, facts.height) <= high:
            self._reject(
                number, f"image {uri} is {facts.width}x{facts.height}; sides must be {low} to {high} pixels"
            )
        return facts

    def _check_words(self, number: int, texts: list[str]) -> None:
        lowered = "\n".join(texts).lower()
        for word in self.model.reserved_words:
            if word.lower() in lowered:
                self._reject(number, f"the reserved keyword '{word}' must not be in a prompt")

    def _tokens(self, number: int, texts: list[str], images: list[ImageFacts]) -> int:
        total = sum(map(text_tokens, texts))
        total += sum(image_tokens(self.model.family, image.width, image.height) for image in images)
        if total > self.model.tokens_per_record:
            raise DataRejected(
                f"Max sum of input and output token length {total} exceeds total limit "
                f"{self.model.tokens_per_record} in file s3://{self.bucket}/{self.key} line {number}"
            )
        return total


def _unreadable(bucket: str, key: str) -> DataRejected:
    return DataRejected(
        f"Could not validate GetObject permissions to access Amazon S3 bucket: {bucket} at key {key}"
    )


def check_counts(model: FoundationModel, training: int, validation: int) -> None:
    low, high = model.records
    total = training + validation
    if validation > model.validation_records:
        raise DataRejected(
            f"The validation dataset has {validation} records; at most {model.validation_records}"
        )
    if not low <= total <= high:
        raise DataRejected(f"The dataset has {total} records; it must have between {low} and {high}")


def _text_of(block: Any) -> str | None:
    text = block.get("text") if isinstance(block, dict) else None
    return text if isinstance(text, str) and text.strip() else None


def _kind_of(block: Any) -> str:
    return f"'{next(iter(block))}'" if isinstance(block, dict) and block else "an empty block"

"""TESTING: which rows the models are asked about, read from the records in S3."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vlm_runner.errors import DataError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from vlm_runner.aws.ports import Objects
    from vlm_runner.core.run import Run


@dataclass(frozen=True, slots=True)
class Question:
    row: int
    system: str | None
    user: str
    images: tuple[tuple[str, str], ...]
    """Keys and formats, in the order of the record."""
    reference: str


async def read_questions(run: Run, objects: Objects) -> tuple[list[Question], bool]:
    """
    The questions, and whether they are held out.

    They come from the validation file, or from the training file where there is no validation file.

    Raises:
        DataError: the file no longer holds this run's records.
    """
    if run.records is None:
        raise ValueError("no records were written")
    held_out = run.records.validation_uri is not None
    uri = run.records.validation_uri or run.records.train_uri
    records = run.records.validation_records if held_out else run.records.train_records
    wanted = set(evenly_spread(run.spec.test.rows, records))
    questions: list[Question] = []
    if not wanted:
        return questions, held_out
    row = 0
    async for line in _lines(objects, _key_of(uri, objects.bucket)):
        if row in wanted:
            try:
                questions.append(_question(json.loads(line), row, objects.bucket))
            except (ValueError, KeyError, TypeError, IndexError, RecursionError):
                raise DataError(
                    f"{uri} line {row + 1} is not a record of this run: the file was replaced.",
                    hint="The model was trained; ask it again once the file is as it was.",
                ) from None
        row += 1
        if len(questions) == len(wanted):
            break
    return questions, held_out


def evenly_spread(count: int, records: int) -> list[int]:
    """At most `count` row numbers below `records`, evenly spaced because a file may be sorted."""
    count = min(records, count)
    return [index * records // count for index in range(count)]


async def _lines(objects: Objects, key: str) -> AsyncIterator[bytes]:
    rest = b""
    async for chunk in objects.read(key):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line
    if rest:
        yield rest


def _key_of(uri: str, bucket: str) -> str:
    return uri.removeprefix(f"s3://{bucket}/")


def _question(record: dict[str, Any], row: int, bucket: str) -> Question:
    """Split a training record into what is asked and what is expected."""
    asked, answered = record["messages"]
    images = [part["image"] for part in asked["content"] if "image" in part]
    return Question(
        row=row,
        system=record["system"][0]["text"] if record.get("system") else None,
        user="".join(part["text"] for part in asked["content"] if "text" in part),
        images=tuple(
            (_key_of(image["source"]["s3Location"]["uri"], bucket), image["format"]) for image in images
        ),
        reference="".join(part["text"] for part in answered["content"] if "text" in part),
    )

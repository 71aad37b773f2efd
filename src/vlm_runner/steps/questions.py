"""TESTING: which rows the models are asked about, read from the records in S3."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vlm_runner.core.conversation import Conversation, ImageBlock, Turn
from vlm_runner.core.run import known
from vlm_runner.errors import DataError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from vlm_runner.aws.ports import Objects
    from vlm_runner.core.conversation import Block
    from vlm_runner.core.events import RecordsWritten
    from vlm_runner.core.run import Run


@dataclass(frozen=True, slots=True)
class Question:
    row: int
    asked: Conversation
    """All before the last answer; images are numbered in the order of their places."""
    images: tuple[tuple[str, str], ...]
    """Keys and formats, by their numbers."""
    reference: str
    accepted: tuple[str, ...] = ()
    """Further answers that are as right as the reference."""

    @property
    def is_plain(self) -> bool:
        """Whether it is one turn of one text, with all images on one side of it."""
        turns = self.asked.turns
        blocks = turns[0].blocks
        outer = (blocks[0], blocks[-1])
        return len(turns) == 1 and len(turns[0].texts) == 1 and any(isinstance(each, str) for each in outer)


async def read_questions(run: Run, objects: Objects) -> tuple[list[Question], bool]:
    """
    The questions, and whether they are held out.

    They come from the validation file, or from the training file where there is no validation file.

    Raises:
        DataError: the file no longer holds this run's records.
    """
    if run.records is None:
        raise ValueError("no records were written")
    apart, served = run.records.validation_uri is not None, run.created.serves
    records = run.records.validation_records if apart else run.records.train_records
    held_out = apart or (served is not None and served.held_out)
    return await _rows(run.records, set(evenly_spread(run.spec.test.rows, records)), objects), held_out


async def question_of_row(run: Run, objects: Objects, row: int) -> Question:
    """
    One of the questions, by its row.

    Raises:
        DataError: there is no such row, or the file no longer holds this run's records.
    """
    found = await _rows(known(run.records), {row}, objects)
    if not found:
        raise DataError(f"Run {run.run_id} has no row {row} to ask about.")
    return found[0]


async def _rows(records: RecordsWritten, wanted: set[int], objects: Objects) -> list[Question]:
    uri = records.validation_uri or records.train_uri
    questions: list[Question] = []
    if not wanted:
        return questions
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
    return questions


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
    """Split a training record into what is asked and what is expected: its last answer."""
    images: list[tuple[str, str]] = []

    def block(part: dict[str, Any]) -> Block:
        if "image" not in part:
            return str(part["text"])
        image = part["image"]
        images.append((_key_of(image["source"]["s3Location"]["uri"], bucket), image["format"]))
        return ImageBlock(len(images) - 1)

    turns = [Turn(turn["role"], tuple(map(block, turn["content"]))) for turn in record["messages"]]
    system = record["system"][0]["text"] if record.get("system") else None
    if len(turns) < 2 or turns[-1].role != "assistant":
        raise ValueError("a record ends with an answer")
    whole = Conversation(system, tuple(turns))
    return Question(row=row, asked=whole.question, images=tuple(images), reference=whole.answer)

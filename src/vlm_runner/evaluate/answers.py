"""One row that was asked, and what came back: as `answers.jsonl` holds it, a row a line."""

from __future__ import annotations

import json
from typing import Final

from pydantic import Field

from vlm_runner.core.counts import TokenCount
from vlm_runner.core.events import Value
from vlm_runner.core.text import json_object

LONGEST_CALL: Final = 1e9
"""Seconds; what takes longer was written by somebody else, and the sum of many must still be a number."""


class ModelAnswer(Value, frozen=True):
    """What one model answered for one row, or (`error`) why it did not."""

    answer: str = ""
    stop_reason: str = ""
    input_tokens: TokenCount = 0
    output_tokens: TokenCount = 0
    seconds: float | None = Field(default=None, ge=0, le=LONGEST_CALL)
    error: str | None = None


class AskedTurn(Value, frozen=True):
    """One turn of what was asked, each image as `[image 1]`."""

    role: str
    text: str


class AnsweredRow(Value, frozen=True):
    row: int
    """Its number in the file that it was taken from, from 0."""
    image: str = ""
    more_images: tuple[str, ...] = ()
    """Of a row with several: those after the first."""
    system: str | None = None
    prompt: str = ""
    """The last question's text."""
    turns: tuple[AskedTurn, ...] = ()
    """All that was asked, where it is more than one text with its images beside it."""
    reference: str = ""
    accepted: tuple[str, ...] = ()
    """Further answers that are as right as the reference."""
    tuned: ModelAnswer | None = None
    base: ModelAnswer | None = None


def to_line(row: AnsweredRow) -> str:
    """The tuned model's answer is at the top level, so that `jq .answer` reads it."""
    table = row.model_dump(mode="json", exclude={"tuned", "base"})
    table |= (row.tuned or ModelAnswer(error="not asked")).model_dump(mode="json")
    if row.base is not None:
        table["base"] = row.base.model_dump(mode="json")
    return json.dumps(table, ensure_ascii=False)


def from_line(line: str | bytes) -> AnsweredRow:
    """
    A line of `answers.jsonl`, also of an older version.

    Raises:
        ValueError: the line cannot be read.
    """
    table = json_object(line)
    if table is None:
        raise ValueError("the line is not a JSON object")
    base = table.pop("base", None)
    if base is None and (said := table.pop("base_answer", None)) is not None:
        base = {"answer": said}
    found = {key: table.pop(key, None) for key in ModelAnswer.model_fields}
    own = {key: value for key, value in found.items() if value is not None}
    return AnsweredRow.model_validate({**table, "tuned": own, "base": base})

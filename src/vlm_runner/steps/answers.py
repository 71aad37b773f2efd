"""TESTING: answers in S3, each saved when it arrives so that no row is paid for twice."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import ValidationError

from vlm_runner.core.text import json_object
from vlm_runner.evaluate import AnsweredRow, ModelAnswer, to_line

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vlm_runner.aws.ports import Objects


@dataclass(frozen=True, slots=True)
class SavedAnswer:
    answer: ModelAnswer
    thumbnails: list[str]


class Answers:
    """Those of one run: `answers/ROLE/ROW.json` one by one, and `answers.jsonl` in the end."""

    def __init__(self, objects: Objects, folder: str) -> None:
        self._objects = objects
        self._folder = folder
        self._saved: set[str] = set()

    async def look(self) -> None:
        """Find out which answers an earlier attempt saved."""
        self._saved = {item.key async for item in self._objects.list(f"{self._folder}answers/")}

    async def find(self, role: str, row: int, digest: str) -> SavedAnswer | None:
        """The saved answer, if it was given to the same question by the same model (`digest`)."""
        key = self._key(role, row)
        stored = await self._objects.get(key) if key in self._saved else None
        if stored is None:
            return None
        table = json_object(stored.body) or {}
        if table.get("digest") != digest:
            return None
        try:
            answer = ModelAnswer.model_validate(table.get("reply"))
        except ValidationError:
            return None  # not what was saved: the row is asked again
        thumbnails = table.get("thumbnails")
        return SavedAnswer(answer, thumbnails if isinstance(thumbnails, list) else [])

    async def save(
        self, role: str, row: int, digest: str, answer: ModelAnswer, thumbnails: list[str] | None
    ) -> None:
        table = {"digest": digest, "reply": answer.model_dump(mode="json"), "thumbnails": thumbnails}
        body = json.dumps(table, ensure_ascii=False).encode(errors="replace")
        await self._objects.put(self._key(role, row), body, content_type="application/json")

    async def put_together(self, rows: list[AnsweredRow], thumbnails: Mapping[int, list[str]]) -> str:
        """Write `thumbnails.jsonl` and `answers.jsonl`; return the latter's URI."""
        small = [
            json.dumps({"row": row, "webp": first, "more": more})
            for row, (first, *more) in sorted(thumbnails.items())
        ]
        await self._put_lines("thumbnails.jsonl", small)
        key = await self._put_lines("answers.jsonl", [to_line(row) for row in rows])
        return f"s3://{self._objects.bucket}/{key}"

    def _key(self, role: str, row: int) -> str:
        return f"{self._folder}answers/{role}/{row:06d}.json"

    async def _put_lines(self, name: str, lines: list[str]) -> str:
        key = f"{self._folder}{name}"
        body = "".join(f"{line}\n" for line in lines).encode(errors="replace")
        await self._objects.put(key, body, content_type="application/jsonl")
        return key

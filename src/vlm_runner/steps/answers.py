"""TESTING: answers in S3, each saved when it arrives so that no row is paid for twice."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pydantic import ValidationError

from vlm_runner.core.text import json_object
from vlm_runner.evaluate import AnsweredRow, ModelAnswer, to_line

if TYPE_CHECKING:
    from vlm_runner.aws.ports import Objects


class Answers:
    """Those of one run: `answers/ROLE/ROW.json` one by one, and `answers.jsonl` in the end."""

    def __init__(self, objects: Objects, folder: str) -> None:
        self._objects = objects
        self._folder = folder
        self._saved: set[str] = set()

    async def look(self) -> None:
        """Find out which answers an earlier attempt saved."""
        self._saved = {item.key async for item in self._objects.list(f"{self._folder}answers/")}

    async def find(self, role: str, row: int, digest: str) -> ModelAnswer | None:
        """The saved answer, if it was given to the same question by the same model (`digest`)."""
        key = self._key(role, row)
        stored = await self._objects.get(key) if key in self._saved else None
        if stored is None:
            return None
        table = json_object(stored.body) or {}
        if table.get("digest") != digest:
            return None
        try:
            return ModelAnswer.model_validate(table.get("reply"))
        except ValidationError:
            return None  # not what was saved: the row is asked again

    async def save(self, role: str, row: int, digest: str, answer: ModelAnswer) -> None:
        table = {"digest": digest, "reply": answer.model_dump(mode="json")}
        body = json.dumps(table, ensure_ascii=False).encode(errors="replace")
        await self._objects.put(self._key(role, row), body, content_type="application/json")

    async def put_together(self, rows: list[AnsweredRow]) -> str:
        """Write `answers.jsonl`; return its URI."""
        key = f"{self._folder}answers.jsonl"
        body = "".join(f"{to_line(row)}\n" for row in rows).encode(errors="replace")
        await self._objects.put(key, body, content_type="application/jsonl")
        return f"s3://{self._objects.bucket}/{key}"

    def _key(self, role: str, row: int) -> str:
        return f"{self._folder}answers/{role}/{row:06d}.json"

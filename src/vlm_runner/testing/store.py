"""Checkpoints in memory."""

from __future__ import annotations

import itertools

from anyio.lowlevel import checkpoint

from vlm_runner.checkpoint.base import Replaced, Stored
from vlm_runner.path_segment import path_segment


class MemoryStore:
    """As atomic as S3, and gone with the process; many runners may share one."""

    def __init__(self) -> None:
        self._documents: dict[str, Stored] = {}
        self._marks: dict[str, str] = {}
        self._versions = itertools.count(1)

    @property
    def uri(self) -> str:
        return "memory:"

    async def prove(self) -> None:
        await checkpoint()

    def locate(self, run_id: str) -> str:
        return f"memory:{path_segment(run_id)}"

    async def read(self, run_id: str) -> Stored | None:
        await checkpoint()
        return self._documents.get(path_segment(run_id))

    async def write(self, run_id: str, body: bytes, *, replacing: str | None) -> str:
        await checkpoint()
        there = self._documents.get(path_segment(run_id))
        if (None if there is None else there.version) != replacing:
            raise Replaced
        version = str(next(self._versions))
        self._documents[run_id] = Stored(body, version)
        return version

    async def delete(self, run_id: str) -> None:
        await checkpoint()
        self._documents.pop(path_segment(run_id), None)
        self._marks.pop(run_id, None)

    async def run_ids(self) -> list[str]:
        await checkpoint()
        return sorted(self._documents)

    async def request_cancel(self, run_id: str, reason: str) -> None:
        await checkpoint()
        self._marks.setdefault(path_segment(run_id), reason)

    async def cancel_reason(self, run_id: str) -> str | None:
        await checkpoint()
        return self._marks.get(path_segment(run_id))

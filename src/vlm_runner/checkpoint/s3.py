"""Checkpoints in S3, by its conditional writes (`If-Match`, `If-None-Match`)."""

from __future__ import annotations

import contextlib
import json
import uuid
from typing import TYPE_CHECKING

from vlm_runner.checkpoint.base import Replaced, Stored
from vlm_runner.checkpoint.integrity import MAX_BYTES
from vlm_runner.checkpoint.local import CANCEL, reason_in
from vlm_runner.checkpoint.probe import conformance_failure
from vlm_runner.clock import SystemClock
from vlm_runner.core.retry import CANCEL_MARK
from vlm_runner.errors import ConfigurationError, StoreUnavailable, VlmRunnerError
from vlm_runner.path_segment import is_path_segment, path_segment
from vlm_runner.paths import STATE
from vlm_runner.retry import attempts

if TYPE_CHECKING:
    from vlm_runner.aws.ports import Objects
    from vlm_runner.clock import Clock


class S3Store:
    """
    `objects` must not retry on its own: every doubtful answer is read back here and one level up.

    Needs s3:PutObject, s3:GetObject and s3:ListBucket under `prefix`; with s3:DeleteObject, `prove` leaves
    nothing behind.
    """

    def __init__(self, objects: Objects, prefix: str, *, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._objects = objects
        self._prefix = prefix.strip("/") + "/" if prefix.strip("/") else ""

    @property
    def uri(self) -> str:
        return f"s3://{self._objects.bucket}/{self._prefix}".rstrip("/")

    async def prove(self) -> None:
        key = f"{self._prefix}probe-{uuid.uuid4().hex}.json"
        found = await conformance_failure(self._objects, key)
        with contextlib.suppress(VlmRunnerError):
            await self._objects.delete(key)
        if found is not None:
            raise ConfigurationError(
                f"{self.uri} cannot hold checkpoints: {found}.",
                hint="Use Amazon S3 or a folder: --store s3://bucket/prefix, or --store PATH.",
            )

    def locate(self, run_id: str) -> str:
        return f"s3://{self._objects.bucket}/{self._key(run_id, STATE)}"

    async def read(self, run_id: str) -> Stored | None:
        found = await self._objects.get(self._key(run_id, STATE), most=MAX_BYTES)
        return None if found is None else Stored(found.body, found.etag)

    async def write(self, run_id: str, body: bytes, *, replacing: str | None) -> str:
        written = await self._objects.put_if(self._key(run_id, STATE), body, replacing=replacing)
        if written is None:
            raise Replaced
        return written

    async def delete(self, run_id: str) -> None:
        # The state last: while it is there, the run is listed, and can be deleted again.
        for name in (CANCEL, STATE):
            await self._objects.delete(self._key(run_id, name))

    async def run_ids(self) -> list[str]:
        start, end = f"{self._prefix}runs/", f"/{STATE}"
        found = [
            item.key[len(start) : -len(end)]
            async for item in self._objects.list(start)
            if item.key.endswith(end) and item.key.count("/") == start.count("/") + 1
        ]
        return [run_id for run_id in found if is_path_segment(run_id)]

    async def request_cancel(self, run_id: str, reason: str) -> None:
        body, key = json.dumps({"reason": reason}).encode(), self._key(run_id, CANCEL)
        async for attempt in attempts(self._clock, CANCEL_MARK, StoreUnavailable):
            with attempt:
                if await self._objects.put_if(key, body, replacing=None) is not None:
                    return
                # S3 refuses a write that another one overlaps, even if that one fails (409).
                if await self._objects.get(key) is not None:
                    return
                raise StoreUnavailable(f"S3 refused the cancel mark of run {run_id}.", hint="Try again.")

    async def cancel_reason(self, run_id: str) -> str | None:
        found = await self._objects.get(self._key(run_id, CANCEL), most=MAX_BYTES)
        return None if found is None else reason_in(found.body)

    def _key(self, run_id: str, name: str) -> str:
        return f"{self._prefix}runs/{path_segment(run_id)}/{name}"

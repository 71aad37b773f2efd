"""One pass over a split: images and record lines to S3, concurrently under bounds."""

from __future__ import annotations

import itertools
import os
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio
from anyio import to_thread

from vlm_runner.core.events import SubsetStaged
from vlm_runner.core.names import image_key
from vlm_runner.core.signals import StagingProgress
from vlm_runner.errors import DataError, RowError
from vlm_runner.groups import task_group
from vlm_runner.ingest import shards
from vlm_runner.ingest.images import ImageLimits, Prepared, UnusableImage, Way, prepare

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vlm_runner.aws.ports import Objects
    from vlm_runner.clock import Clock
    from vlm_runner.dataset.rows import Row, Subset
    from vlm_runner.ingest.shards import Shard

ROWS_A_READ = 16
LISTED_SKIPS = 100


@dataclass(frozen=True, slots=True)
class Transform:
    """From a row to its image and its record line; pure but for the CPU time it takes."""

    limits: ImageLimits
    keep_format: bool
    fit: bool
    line: Callable[[Row, str, str], bytes]
    """From row, image URI and image format to one JSON line with its line feed. Raises RowError."""
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Bounds:
    concurrency: int
    in_flight_bytes: int


@dataclass(frozen=True, slots=True)
class BadRows:
    skip: bool
    most: int | None


@dataclass(slots=True)
class _Tally:
    rows_done: int = 0
    uploaded: int = 0
    passed_through: int = 0
    converted: int = 0
    bytes_uploaded: int = 0
    skipped: list[str] = field(default_factory=list[str])
    rows_skipped: int = 0


@dataclass(slots=True)
class _OpenShard:
    shard: Shard
    lines: dict[int, bytes] = field(default_factory=dict[int, bytes])
    missing: int = 0


class ByteBudget:
    """At most so many bytes at once; one piece that is larger than all of it goes alone."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._used = 0
        self._waiting: deque[tuple[int, anyio.Event]] = deque()

    async def acquire(self, size: int) -> None:
        if not self._waiting and self._fits(size):
            self._used += size
            return
        turn = anyio.Event()
        self._waiting.append((size, turn))
        try:
            await turn.wait()
        except BaseException:
            if turn.is_set():
                self.release(size)
            else:
                self._waiting.remove((size, turn))
            raise

    def release(self, size: int) -> None:
        self._used -= size
        while self._waiting and self._fits(self._waiting[0][0]):
            next_size, turn = self._waiting.popleft()
            self._used += next_size
            turn.set()

    def _fits(self, size: int) -> bool:
        return self._used == 0 or self._used + size <= self._limit


class SubsetStaging:
    """Stages one split. Made for one use: `await SubsetStaging(...).run()`."""

    def __init__(
        self,
        subset: Subset,
        objects: Objects,
        transform: Transform,
        *,
        prefix: str,
        bounds: Bounds,
        bad_rows: BadRows,
        clock: Clock,
        progress: Callable[[StagingProgress], None],
    ) -> None:
        self._subset = subset
        self._objects = objects
        self._transform = transform
        self._prefix = prefix
        self._folder = shards.marker_prefix(prefix, subset.name, transform.fingerprint)
        self._bad_rows = bad_rows
        self._clock = clock
        self._progress = progress
        self._slots = anyio.Semaphore(bounds.concurrency)
        self._budget = ByteBudget(bounds.in_flight_bytes)
        self._processors = anyio.CapacityLimiter(os.cpu_count() or 1)
        self._tally = _Tally()
        self._began = clock.elapsed()
        self._in_flight = 0

    async def run(self) -> SubsetStaged:
        """
        Stage what is not staged yet.

        Raises:
            RowError: a row cannot be used, and the spec does not say to skip it.
            DataError: more rows cannot be used than the spec allows to skip.
            AwsRefused, AwsUnavailable: S3 did not take something; what is marked stays done.
        """
        plan = shards.plan(self._subset.num_rows)
        keys = [item.key async for item in self._objects.list(self._folder)]
        done = shards.read_markers(self._folder, keys, plan)
        self._count_done(plan, done)
        async with task_group() as group:
            for shard in plan:
                if shard.number not in done:
                    await self._stage_shard(shard, group.start_soon)
        tally = self._tally
        return SubsetStaged(
            rows=self._subset.num_rows,
            images_uploaded=tally.uploaded,
            images_passed_through=tally.passed_through,
            images_converted=tally.converted,
            shards_skipped=len(done),
            bytes_uploaded=tally.bytes_uploaded,
            skipped_rows=tuple(tally.skipped),
            rows_skipped=tally.rows_skipped,
        )

    def _count_done(self, plan: tuple[Shard, ...], done: dict[int, str]) -> None:
        for shard in plan:
            if shard.number in done:
                self._tally.rows_done += shard.rows
                self._tally.rows_skipped += shard.rows - shards.records_in(done[shard.number])
        self._tell()

    async def _stage_shard(self, shard: Shard, start: Callable[..., object]) -> None:
        opened = _OpenShard(shard, missing=shard.rows)
        rows = self._subset.rows(shard.start, shard.stop)
        while batch := await to_thread.run_sync(_take, rows, ROWS_A_READ):
            for row in batch:
                await self._slots.acquire()
                await self._budget.acquire(len(row.image))
                self._in_flight += 1
                start(self._stage_row, opened, row)

    async def _stage_row(self, opened: _OpenShard, row: Row) -> None:
        try:
            line = await self._upload(row)
        except RowError as error:
            self._skip(error)
        else:
            opened.lines[row.index] = line
        finally:
            self._in_flight -= 1
            self._budget.release(len(row.image))
            self._slots.release()
        self._tally.rows_done += 1
        opened.missing -= 1
        if opened.missing == 0:
            await self._mark(opened)
        self._tell()

    async def _upload(self, row: Row) -> bytes:
        prepared, line, key = await to_thread.run_sync(self._prepare, row, limiter=self._processors)
        await self._objects.put(key, prepared.body, content_type=f"image/{prepared.format}")
        self._tally.uploaded += 1
        self._tally.bytes_uploaded += len(prepared.body)
        if prepared.way is Way.PASSED_THROUGH:
            self._tally.passed_through += 1
        else:
            self._tally.converted += 1
        return line

    def _prepare(self, row: Row) -> tuple[Prepared, bytes, str]:
        transform = self._transform
        try:
            prepared = prepare(
                row.image, transform.limits, keep_format=transform.keep_format, fit=transform.fit
            )
        except UnusableImage as error:
            raise RowError(self._subset.name, row.index, "image", str(error), hint=error.hint) from error
        key = image_key(self._prefix, self._subset.name, row.index, prepared.extension)
        line = transform.line(row, f"s3://{self._objects.bucket}/{key}", prepared.format)
        return prepared, line, key

    def _skip(self, error: RowError) -> None:
        if not self._bad_rows.skip:
            raise error
        self._tally.rows_skipped += 1
        if len(self._tally.skipped) < LISTED_SKIPS:
            self._tally.skipped.append(error.message)
        most = self._bad_rows.most
        if most is not None and self._tally.rows_skipped > most:
            raise DataError(
                f"{self._tally.rows_skipped} rows of {self._subset.name} cannot be used, and max_bad_rows "
                f"is {most}. The last one: {error.message}",
                hint="Mend the data, or raise max_bad_rows under [dataset].",
                subset=self._subset.name,
                row=error.row,
            ) from error

    async def _mark(self, opened: _OpenShard) -> None:
        lines = [opened.lines[index] for index in sorted(opened.lines)]
        key = shards.marker_key(self._folder, opened.shard, len(lines))
        await self._objects.put(key, b"".join(lines), content_type="application/jsonl")

    def _tell(self) -> None:
        tally = self._tally
        self._progress(
            StagingProgress(
                subset=self._subset.name,
                rows_done=tally.rows_done,
                rows=self._subset.num_rows,
                bytes_uploaded=tally.bytes_uploaded,
                passed_through=tally.passed_through,
                converted=tally.converted,
                skipped=tally.rows_skipped,
                in_flight=self._in_flight,
                seconds=self._clock.elapsed() - self._began,
            )
        )


def _take(rows: Iterator[Row], count: int) -> list[Row]:
    return list(itertools.islice(rows, count))

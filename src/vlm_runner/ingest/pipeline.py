"""One pass over a split: images and record lines to S3, concurrently under bounds."""

from __future__ import annotations

import json
import os
import threading
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import anyio
from anyio import from_thread, to_thread

from vlm_runner.core.events import SubsetStaged
from vlm_runner.core.names import image_key
from vlm_runner.core.places import images_markers
from vlm_runner.core.retry import UPLOAD
from vlm_runner.core.signals import StagingProgress
from vlm_runner.core.text import json_texts, storable
from vlm_runner.dataset.in_place import InPlace
from vlm_runner.errors import AwsUnavailable, DataError, RowError
from vlm_runner.ingest import shards
from vlm_runner.ingest.converters import Converters
from vlm_runner.ingest.images import Handling, ImageLimits, Prepared, prepare
from vlm_runner.ingest.in_place import prepare_in_place
from vlm_runner.ingest.inspect import ImageDefect
from vlm_runner.ingest.limits import AdaptiveLimit, ByteBudget, UploadQueue
from vlm_runner.ingest.stored import (
    StoredImage,
    StoredRow,
    key_of,
    read_stored,
    source_digest,
    written,
)
from vlm_runner.ingest.verify import intact, intact_rows, list_images
from vlm_runner.retry import attempts
from vlm_runner.task_groups import task_group

if TYPE_CHECKING:
    from array import array
    from collections.abc import Callable, Iterator, Sequence

    from vlm_runner.aws.ports import Objects
    from vlm_runner.clock import Clock
    from vlm_runner.core.events import Place
    from vlm_runner.dataset.in_place import Picture
    from vlm_runner.dataset.rows import Row, Subset
    from vlm_runner.ingest.images import Convert
    from vlm_runner.ingest.shards import Marker, Shard
    from vlm_runner.settings import UploadSettings
    from vlm_runner.spec import BadRows

PIECE_ROWS: Final = 16
PIECE_BYTES: Final = 4 * 1024 * 1024
"""A worker thread takes so much at a time: few hops between threads, and little memory."""
LISTED_SKIPS: Final = 100
"""Skipped rows that a progress signal and the report name one by one."""
TELL_EVERY: Final = 0.1
"""Seconds between two signals: a person cannot read more, and each costs."""


@dataclass(frozen=True, slots=True)
class Transform:
    """From a row to its image and its record line; pure but for the CPU time it takes."""

    limits: ImageLimits
    keep_format: bool
    fit: bool
    line: Line
    verified: bool = False
    """Lint has read the pixels of every image of this dataset; see `vlm_runner.ingest.images.prepare`."""


class RecordLine(NamedTuple):
    line: bytes
    """JSON, with its line feed."""
    accepted: tuple[str, ...] = ()
    """Further answers of the row that are as right as the one in its record."""


class Line(Protocol):
    def __call__(
        self, row: Row, uri: str, image_format: str, more: Sequence[tuple[str, str]] = (), /
    ) -> RecordLine:
        """
        The record of a row and its image's place; `more` are those of further images.

        Raises:
            RowError: the row makes no record.
        """


@dataclass(frozen=True, slots=True)
class Share:
    """What one of several machines that stage side by side takes: every `parts`-th shard, from `part` on."""

    part: int = 0
    parts: int = 1


@dataclass(slots=True)
class _Tally:
    rows_done: int = 0
    rows_before: int = 0
    uploaded: int = 0
    there: int = 0
    in_place: int = 0
    passed_through: int = 0
    converted: int = 0
    bytes_uploaded: int = 0
    skipped: list[str] = field(default_factory=list[str])
    rows_skipped: int = 0
    in_flight: int = 0


@dataclass(slots=True)
class _OpenShard:
    shard: Shard
    missing: int
    lines: dict[int, bytes] = field(default_factory=dict[int, bytes])
    sizes: dict[int, int | None] = field(default_factory=dict[int, "int | None"])
    skipped: list[str] = field(default_factory=list[str])
    accepted: dict[int, tuple[str, ...]] = field(default_factory=dict[int, tuple[str, ...]])
    stored: dict[int, StoredRow] = field(default_factory=dict[int, StoredRow])
    """What of its images is in S3: as it was found, and then with what was uploaded."""
    changed: bool = False
    """`stored` says more than its object in S3."""
    recalled: bool = False
    recalling: anyio.Lock = field(default_factory=anyio.Lock)

    def keep(self, index: int, row: StoredRow) -> None:
        if self.stored.get(index) != row:
            self.stored[index] = row
            self.changed = True


class _Image(NamedTuple):
    """One image of a row, where it goes, and what of it must be uploaded."""

    key: str
    """Of a copy."""
    stored: StoredImage
    prepared: Prepared | None
    """None: it is in S3."""


@dataclass(frozen=True, slots=True)
class _Made:
    """What a row became."""

    index: int
    images: tuple[_Image, ...]
    line: bytes
    row: StoredRow
    upload_bytes: int
    """Of the images that must be uploaded."""
    accepted: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Refused:
    """A row that makes no record, and the digest of its images."""

    error: RowError
    source: str


class SubsetStaging:
    """Stages one split. Made for one use: `await SubsetStaging(...).run()`."""

    def __init__(
        self,
        subset: Subset,
        objects: Objects,
        transform: Transform,
        place: Place,
        *,
        upload: UploadSettings,
        bad_rows: BadRows,
        clock: Clock,
        progress: Callable[[StagingProgress], None],
        share: Share = Share(),
    ) -> None:
        self._subset = subset
        self._objects = objects
        self._transform = transform
        self._place = place
        self._folder = place.shards
        self._bad_rows = bad_rows
        self._clock = clock
        self._progress = progress
        self._verify = upload.verify
        self._part, self._parts = share.part, share.parts
        # Rows that wait for no network are Python's work alone, and two threads at once contend for its lock:
        # measured 0.69 ms of CPU an image instead of 0.51. What they make ready comes in bursts besides, in
        # which no upload ends (6 % of the rate), so one works alone until there is something to convert.
        self._turn = threading.Lock() if transform.verified and not subset.remote else None
        self._converts = False
        self._limit = AdaptiveLimit(upload.concurrency, clock)
        self._budget = ByteBudget(upload.in_flight_bytes)
        self._tally = _Tally()
        self._first_bad: RowError | None = None
        self._image_markers: set[str] = set()
        self._sizes: array[int] | None = None
        self._began = clock.elapsed()
        self._told = float("-inf")

    async def run(self) -> SubsetStaged:
        """
        Stage what is not staged yet.

        Raises:
            RowError: a row cannot be used, and the spec does not say to skip it. Of several it is the first,
                however the threads raced, and all before it is staged.
            DataError: more rows cannot be used than the spec allows to skip.
            AwsRefused, AwsUnavailable: S3 did not take something; what is marked stays done.
        """
        plan = shards.plan(self._subset.num_rows)
        done = await self._done(plan)
        await self._count_done(plan, done)
        todo = (shard for shard in plan if shard.number % self._parts == self._part)
        pieces = self._pieces(shard for shard in todo if shard.number not in done)
        with Converters() as converters:
            async with task_group() as group:
                uploads = UploadQueue(self._limit, group)
                workers = iter(range(os.cpu_count() or 1))

                def begin(most: int | None = None) -> None:
                    for _ in islice(workers, most):
                        group.start_soon(self._work, pieces, convert, uploads)

                convert = self._convert_between_turns(converters, begin)
                begin(1 if self._turn else None)
        self._tell(last=True)
        if self._first_bad is not None:
            raise self._first_bad
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
            images_there=tally.there,
            images_in_place=tally.in_place,
        )

    async def _done(self, plan: tuple[Shard, ...]) -> dict[int, Marker]:
        listed = [item async for item in self._objects.list(self._folder)]
        done = shards.read_markers(self._folder, listed, plan)
        if not self._bad_rows.skip:
            # Another run may have skipped a row here; this one must meet it, and end with its number.
            done = {number: marker for number, marker in done.items() if marker.records == plan[number].rows}
        if len(done) < len(plan) or self._verify:
            folder = images_markers(self._place)
            self._image_markers = {item.key async for item in self._objects.list(folder)}
        if not self._verify:
            return done
        images = await list_images(self._objects, self._place.images, self._subset.num_rows)
        sizes = self._sizes = images.sizes
        whole = dict(done)
        for number, marker in done.items():
            stored = await self._stored(plan[number])
            if not intact(plan[number], marker, stored, sizes):
                await self._objects.delete(marker.key)
                del whole[number]
        return whole

    async def _stored(self, shard: Shard) -> dict[int, StoredRow]:
        if key_of(self._place, shard.start) not in self._image_markers:
            return {}
        return await read_stored(self._objects, self._place, shard.start)

    async def _recall_images(self, opened: _OpenShard) -> None:
        """Find out, once, which images of the shard an earlier run has uploaded."""
        async with opened.recalling:
            if not opened.recalled:
                stored = await self._stored(opened.shard)
                opened.stored = stored if self._sizes is None else intact_rows(stored, self._sizes)
                opened.recalled = True

    async def _count_done(self, plan: tuple[Shard, ...], done: dict[int, Marker]) -> None:
        for shard in plan:
            if shard.number in done:
                self._tally.rows_done += shard.rows
                self._tally.rows_before += shard.rows
                self._tally.rows_skipped += shard.rows - done[shard.number].records
                if done[shard.number].records < shard.rows and len(self._tally.skipped) < LISTED_SKIPS:
                    await self._recall_skipped(shard)
        self._tell()

    async def _recall_skipped(self, shard: Shard) -> None:
        stored = await self._objects.get(shards.skipped_key(self._folder, shard))
        if stored is not None:
            self._list_skipped(json_texts(stored.body))

    def _pieces(self, todo: Iterator[Shard]) -> Iterator[tuple[_OpenShard, range]]:
        for shard in todo:
            opened = _OpenShard(shard, missing=shard.rows)
            for start in range(shard.start, shard.stop, PIECE_ROWS):
                yield opened, range(start, min(start + PIECE_ROWS, shard.stop))

    async def _work(
        self, pieces: Iterator[tuple[_OpenShard, range]], convert: Convert, uploads: UploadQueue
    ) -> None:
        for opened, rows in pieces:
            left = rows
            await self._recall_images(opened)
            while left:
                if self._first_bad is not None and self._first_bad.row < left.start:
                    return  # and so before all further pieces; what lies before it is still looked at
                outcomes = await to_thread.run_sync(self._process, left, dict(opened.stored), convert)
                left = left[len(outcomes) :]
                await self._begin(opened, outcomes, uploads)

    def _process(self, rows: range, stored: dict[int, StoredRow], convert: Convert) -> list[_Made | _Refused]:
        """In a worker thread: what the first of `rows` become, until they are many bytes."""
        with self._turn or nullcontext():
            return self._first_of(rows, stored, convert)

    def _convert_between_turns(self, convert: Convert, begin: Callable[[], None]) -> Convert:
        """
        A conversion takes long, in a process of its own: meanwhile other threads have their turns.

        They begin with the first one.
        """
        if (turn := self._turn) is None:
            return convert

        def converted(body: bytes, limits: ImageLimits, *, keep_format: bool, fit: bool) -> Prepared:
            turn.release()
            try:
                if not self._converts:
                    self._converts = True
                    from_thread.run_sync(begin)
                return convert(body, limits, keep_format=keep_format, fit=fit)
            finally:
                turn.acquire()

        return converted

    def _first_of(
        self, rows: range, stored: dict[int, StoredRow], convert: Convert
    ) -> list[_Made | _Refused]:
        made: list[_Made | _Refused] = []
        size = 0
        for row in self._subset.scan(rows.start, rows.stop):
            if isinstance(row, RowError):
                made.append(_Refused(row, source_digest(row)))
                continue
            outcome = self._transformed(row, stored.get(row.index), convert)
            made.append(outcome)
            size += 0 if isinstance(outcome, _Refused) else outcome.upload_bytes + len(outcome.line)
            if size >= PIECE_BYTES:
                break
        return made

    def _transformed(self, row: Row, stored: StoredRow | None, convert: Convert) -> _Made | _Refused:
        transform, name = self._transform, self._subset.name
        source = source_digest(row) if stored is None else stored.source
        try:
            if stored is not None and stored.images:
                images = tuple(
                    _Image(self._key(row.index, image.extension, number), image, None)
                    for number, image in enumerate(stored.images)
                )
            else:
                images = self._prepared_images(row, convert)
            (uri, image_format), *more = [
                (each.stored.uri or self._uri(each.key), each.stored.format) for each in images
            ]
            line, accepted = transform.line(row, uri, image_format, more)
        except ImageDefect as error:
            refusal = RowError(name, row.index, "image", str(error), hint=error.hint, code=error.code)
            return _Refused(refusal, source)
        except RowError as error:
            return _Refused(error, source)
        kept = StoredRow(source, tuple([image.stored for image in images]))
        size = sum([len(image.prepared.body) for image in images if image.prepared is not None])
        return _Made(row.index, images, line, kept, size, accepted)

    def _prepared_images(self, row: Row, convert: Convert) -> tuple[_Image, ...]:
        """All images of the row, or none."""
        most, several = self._transform.limits.per_record, len(row.images)
        # The first is looked at first: of several reasons to refuse a row, that is the one to tell.
        images = [self._prepared(row.index, 0, row.image, convert)]
        if several > 1 and several > most:
            raise ImageDefect(
                "I105",
                f"there are {several} images, and the model takes {most} a record",
                "Leave images out of the row, or choose a model that takes as many.",
            )
        for number, (image, _) in enumerate(row.more, 1):
            try:
                images.append(self._prepared(row.index, number, image, convert))
            except ImageDefect as error:
                raise ImageDefect(
                    error.code, f"{error} (image {number + 1} of {several})", error.hint
                ) from error
        return tuple(images)

    def _prepared(self, row: int, number: int, image: Picture, convert: Convert) -> _Image:
        transform = self._transform
        if isinstance(image, InPlace):
            made = prepare_in_place(
                image,
                transform.limits,
                fit=transform.fit,
                verified=transform.verified,
                convert=convert,
            )
        else:
            made = prepare(
                image,
                transform.limits,
                keep_format=transform.keep_format,
                fit=transform.fit,
                verified=transform.verified,
                convert=convert,
            )
        if isinstance(made, StoredImage):
            return _Image(self._key(row, number=number, extension=made.extension), made, None)
        stored = StoredImage(made.format, made.extension, len(made.body))
        return _Image(self._key(row, number=number, extension=made.extension), stored, made)

    def _key(self, row: int, extension: str, number: int) -> str:
        return image_key(self._place.images, row, extension, number)

    def _uri(self, key: str) -> str:
        return f"s3://{self._objects.bucket}/{key}"

    async def _begin(
        self, opened: _OpenShard, outcomes: list[_Made | _Refused], uploads: UploadQueue
    ) -> None:
        for outcome in outcomes:
            if isinstance(outcome, _Refused):
                self._refuse(opened, outcome, uploads)
            else:
                await self._budget.acquire(outcome.upload_bytes)
                uploads.add(partial(self._upload, opened, outcome, uploads))
        await uploads.until_few()

    def _refuse(self, opened: _OpenShard, refused: _Refused, uploads: UploadQueue) -> None:
        error = refused.error
        if self._bad_rows.skip:
            self._skip(opened, refused)
            self._finish_row(opened, uploads)
        else:
            self._first_bad = min(error, self._first_bad or error, key=lambda error: error.row)

    async def _upload(self, opened: _OpenShard, made: _Made, uploads: UploadQueue) -> None:
        self._tally.in_flight += 1
        try:
            await self._store(opened, made)
            self._finish_row(opened, uploads)
        finally:
            self._tally.in_flight -= 1
            self._budget.release(made.upload_bytes)

    async def _store(self, opened: _OpenShard, made: _Made) -> None:
        tally = self._tally
        for image in made.images:
            prepared = image.prepared
            if prepared is None:
                tally.there += image.stored.uri is None
                tally.in_place += image.stored.uri is not None
                continue
            await self._put(image.key, prepared.body, f"image/{prepared.format}")
            tally.uploaded += 1
            tally.bytes_uploaded += len(prepared.body)
            tally.passed_through += prepared.way is Handling.PASSED_THROUGH
            tally.converted += prepared.way is Handling.CONVERTED
        opened.lines[made.index] = made.line
        opened.accepted[made.index] = made.accepted
        opened.sizes[made.index] = made.row.uploaded_bytes
        opened.keep(made.index, made.row)

    async def _put(self, key: str, body: bytes, content_type: str) -> None:
        """
        Store an object, as patiently and as gently as S3 asks for.

        A refusal that will not pass, such as 403, ends it at once.
        """
        async for attempt in attempts(self._clock, UPLOAD, AwsUnavailable):
            with attempt:
                await self._objects.put_once(key, body, content_type=content_type)
                self._limit.succeeded()
            if attempt.error is not None:
                self._limit.refused()

    def _finish_row(self, opened: _OpenShard, uploads: UploadQueue) -> None:
        opened.missing -= 1
        if opened.missing == 0:
            uploads.add(partial(self._put_markers, opened))
        self._tally.rows_done += 1
        self._tell()

    async def _put_markers(self, opened: _OpenShard) -> None:
        await self._mark_images(opened)
        if opened.skipped:
            body = json.dumps(opened.skipped).encode()
            await self._put(shards.skipped_key(self._folder, opened.shard), body, "application/json")
        if any(opened.accepted.values()):
            # By the order of the records: a row that was skipped has none.
            accepted = [opened.accepted[index] for index in sorted(opened.accepted)]
            body = json.dumps(accepted).encode()
            await self._put(shards.accepted_key(self._folder, opened.shard), body, "application/json")
        body = b"".join(opened.lines[index] for index in sorted(opened.lines))
        await self._put(
            shards.marker_key(self._folder, opened.shard, opened.sizes), body, "application/jsonl"
        )
        opened.lines.clear()

    async def _mark_images(self, opened: _OpenShard) -> None:
        """Say which images are there, now that they are; before the records that need them."""
        if opened.changed:
            body = written(opened.stored)
            await self._put(key_of(self._place, opened.shard.start), body, "application/json")

    def _skip(self, opened: _OpenShard, refused: _Refused) -> None:
        error = refused.error
        if error.row not in opened.stored:
            opened.keep(error.row, StoredRow(source=refused.source))
        self._tally.rows_skipped += 1
        message = storable(error.message)
        opened.skipped.append(message)
        self._list_skipped([message])
        if (reason := self._bad_rows.too_many(self._tally.rows_skipped)) is not None:
            raise DataError(
                f"{self._subset.name}: {reason}. The last one: {error.message}",
                hint="Repair the data, or raise max_bad_rows under [dataset].",
                subset=self._subset.name,
                row=error.row,
            ) from error

    def _list_skipped(self, messages: list[str]) -> None:
        self._tally.skipped += messages[: LISTED_SKIPS - len(self._tally.skipped)]

    def _tell(self, *, last: bool = False) -> None:
        now = self._clock.elapsed()
        if not last and now - self._told < TELL_EVERY:
            return
        self._told = now
        tally, seconds = self._tally, now - self._began
        rate = (tally.rows_done - tally.rows_before) / seconds if seconds > 0 else 0.0
        left = self._subset.num_rows - tally.rows_done
        self._progress(
            StagingProgress(
                subset=self._subset.name,
                rows_done=tally.rows_done,
                rows=self._subset.num_rows,
                bytes_uploaded=tally.bytes_uploaded,
                bytes_downloaded=self._subset.bytes_downloaded,
                passed_through=tally.passed_through,
                converted=tally.converted,
                skipped=tally.rows_skipped,
                in_flight=tally.in_flight,
                concurrency=self._limit.limit,
                rate=rate,
                seconds=seconds,
                seconds_left=left / rate if rate > 0 else None,
            )
        )

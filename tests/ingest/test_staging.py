"""A dataset in S3: what was staged is what the source holds, once, whatever happened on the way."""

import asyncio
import io
import json
import os
import threading
import time
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from tests.forks import FORKS, Process
from vlm_runner.aws.ports import Objects
from vlm_runner.aws.session import AwsSession
from vlm_runner.core.retry import UPLOAD
from vlm_runner.dataset.rows import Row, Subset
from vlm_runner.errors import AccessDenied, AwsUnavailable, DataError, RowError
from vlm_runner.ingest import pipeline
from vlm_runner.ingest.converters import Converters
from vlm_runner.ingest.images import ImageLimits, Prepared, convert_here
from vlm_runner.ingest.pipeline import RecordLine
from vlm_runner.ingest.shards import SHARD_ROWS
from vlm_runner.testing.objects import FakeObjects, FakeS3

from .pictures import SOURCES, picture, saved, shown
from .staging import (
    ACCOUNT,
    BUCKET,
    body_of,
    contents,
    opened,
    plain_line,
    record,
    stage,
    transform,
    write_dataset,
    write_several,
)

if TYPE_CHECKING:
    from vlm_runner.core.signals import StagingProgress

Folder = Path


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def every_kind(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return write_dataset(tmp_path_factory.mktemp("every"), list(SOURCES.values()))


@pytest.fixture(scope="session")
def many(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """Three shards, mostly PNG."""
    images: list[bytes | None] = [
        SOURCES["jpeg"] if row % 40 == 7 else saved(picture(seed=row), "PNG")
        for row in range(2 * SHARD_ROWS + 20)
    ]
    return write_dataset(tmp_path_factory.mktemp("many"), images)


def markers(s3: Any) -> dict[str, str]:
    return {key: etag for key, etag in contents(s3).items() if "/shards-" in key and key.endswith(".jsonl")}


@pytest.mark.parametrize("keep_format", [False, True])
async def test_what_lies_in_s3_shows_what_the_source_showed(
    objects: Objects, s3: Any, every_kind: Folder, cache: Path, *, keep_format: bool
) -> None:
    """
    Read back with plain boto3 and Pillow: pixels and records of every source format and mode.
    """
    subset = opened(every_kind, cache)
    staged = await stage(subset, objects, keep_format=keep_format)
    uri, records = await record(subset, objects, keep_format=keep_format)

    assert (staged.rows, staged.images_uploaded, records) == (len(SOURCES),) * 3
    assert staged.images_passed_through + staged.images_converted == len(SOURCES)
    assert uri == f"s3://{BUCKET}/data/train.jsonl"
    text = body_of(s3, "data/train.jsonl").decode()
    assert not text.endswith("\n")
    lines = [json.loads(line) for line in text.split("\n")]
    for index, (line, source) in enumerate(zip(lines, SOURCES.values(), strict=True)):
        question, answer = line["messages"]
        picture_part, text_part = question["content"]
        place = picture_part["image"]["source"]["s3Location"]
        assert place["bucketOwner"] == ACCOUNT
        key = place["uri"].removeprefix(f"s3://{BUCKET}/")
        assert key.startswith(f"images/train/{index:03d}.")
        body = body_of(s3, key)
        assert shown(body) == shown(source)
        with Image.open(io.BytesIO(body)) as image:
            assert picture_part["image"]["format"] == (image.format or "").lower()
        assert f"Page {index} größer" in text_part["text"]
        assert f"finding {index}" in answer["content"][0]["text"]


async def test_a_second_run_uploads_nothing(objects: Objects, s3: Any, many: Folder, cache: Path) -> None:
    subset = opened(many, cache)
    first = await stage(subset, objects)
    before = contents(s3)
    second = await stage(subset, objects)

    assert first.images_uploaded == subset.num_rows
    assert (second.images_uploaded, second.shards_skipped) == (0, 3)
    assert contents(s3) == before


async def test_resumes_with_the_shards_that_are_missing(
    objects: Objects, s3: Any, many: Folder, cache: Path
) -> None:
    subset = opened(many, cache)
    await stage(subset, objects)
    whole = contents(s3)
    lost = sorted(markers(s3))[1]
    s3.delete_object(Bucket=BUCKET, Key=lost)

    again = await stage(subset, objects)

    assert (again.images_uploaded, again.images_there, again.shards_skipped) == (0, SHARD_ROWS, 2)
    assert contents(s3) == whole


async def test_verify_finds_images_that_are_gone_or_of_another_size(
    objects: Objects, s3: Any, many: Folder, cache: Path
) -> None:
    subset = opened(many, cache)
    await stage(subset, objects)
    whole = contents(s3)
    s3.delete_object(Bucket=BUCKET, Key="images/train/003.png")
    s3.put_object(Bucket=BUCKET, Key="images/train/070.png", Body=b"another")

    believed = await stage(subset, objects)
    verified = await stage(subset, objects, verify=True)

    assert believed.images_uploaded == 0
    assert (verified.images_uploaded, verified.shards_skipped) == (2, 1)
    assert contents(s3) == whole


PNGS = [saved(picture(seed=number), "PNG") for number in range(8)]
JPEG = SOURCES["jpeg"]


async def test_several_images_of_a_row_lie_beside_its_first(
    objects: Objects, s3: Any, cache: Path, tmp_path: Folder
) -> None:
    """
    A row's first image has the key it would have alone; each is passed through or converted on its own.
    """
    rows: list[list[bytes | None]] = [[PNGS[0]], [PNGS[1], JPEG, PNGS[2]], [PNGS[3], PNGS[4]]]
    subset = opened(write_several(tmp_path / "data", rows), cache)

    staged = await stage(subset, objects)
    await record(subset, objects)

    assert (staged.rows, staged.images_uploaded) == (3, 6)
    assert (staged.images_passed_through, staged.images_converted) == (5, 1)
    images = [key for key in contents(s3) if key.startswith("images/")]
    assert images == [f"images/train/{name}.png" for name in ("000", "001-1", "001-2", "001", "002-1", "002")]
    lines = [json.loads(line) for line in body_of(s3, "data/train.jsonl").splitlines()]
    for row, line in zip(rows, lines, strict=True):
        parts = [part["image"] for part in line["messages"][0]["content"] if "image" in part]
        keys = [part["source"]["s3Location"]["uri"].removeprefix(f"s3://{BUCKET}/") for part in parts]
        assert [shown(body_of(s3, key)) for key in keys] == [shown(source) for source in row if source]
        assert {part["format"] for part in parts} == {"png"}


async def test_verify_finds_the_second_image_of_a_row_gone(
    objects: Objects, s3: Any, cache: Path, tmp_path: Folder
) -> None:
    rows: list[list[bytes | None]] = [[PNGS[0], PNGS[1]], [PNGS[2], PNGS[3], PNGS[4]]]
    subset = opened(write_several(tmp_path / "data", rows), cache)
    await stage(subset, objects)
    whole = contents(s3)

    untouched = await stage(subset, objects, verify=True)
    s3.delete_object(Bucket=BUCKET, Key="images/train/001-2.png")
    verified = await stage(subset, objects, verify=True)

    assert untouched.images_uploaded == 0
    assert verified.images_uploaded == 3
    assert contents(s3) == whole


BAD_ROWS: dict[str, list[bytes | None]] = {
    "4 images, and the model takes 3": [*PNGS[:4]],
    "image 2 of 3": [PNGS[0], PNGS[1][:200], PNGS[2]],
    "image 2 of 2": [PNGS[0], None],
}


@pytest.mark.parametrize("reason", BAD_ROWS)
async def test_a_row_with_one_bad_image_is_refused_whole(
    objects: Objects, s3: Any, cache: Path, tmp_path: Folder, reason: str
) -> None:
    subset = opened(write_several(tmp_path / "data", [[PNGS[0]], BAD_ROWS[reason]]), cache)

    with pytest.raises(RowError, match=reason) as raised:
        await stage(subset, objects)
    skipping = await stage(subset, objects, skip=True)

    assert raised.value.row == 1
    assert (skipping.rows_skipped, skipping.images_uploaded) == (1, 1)
    assert [key for key in contents(s3) if "/001" in key] == []


async def test_a_refusal_ends_it_at_once(
    objects: Objects, s3: Any, fault: Any, many: Folder, cache: Path
) -> None:
    """
    A 403 will not pass: no second try of that image, and no shard claimed that is not whole.
    """
    fault(
        operation="PutObject",
        kind="error",
        code="AccessDenied",
        status=403,
        times=None,
        key_contains="005.png",
    )
    with pytest.raises(AccessDenied):
        await stage(opened(many, cache), objects)

    assert not any("/0000000-" in key for key in markers(s3))


@pytest.fixture
def many_rows(many: Folder, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Subset:
    """And short waits between tries."""
    monkeypatch.setattr(pipeline, "UPLOAD", replace(UPLOAD, longest=0.02))
    return opened(many, cache)


async def test_slows_down_when_asked_and_loses_nothing(
    objects: Objects, s3: Any, fault: Any, many_rows: Subset
) -> None:
    fault(operation="PutObject", kind="error", code="SlowDown", status=503, times=30)
    heard: list[StagingProgress] = []
    staged = await stage(many_rows, objects, concurrency=32, heard=heard)

    assert staged.images_uploaded == staged.rows
    assert len(markers(s3)) == 3
    assert min(signal.concurrency for signal in heard) < 16


class _Counting(FakeObjects):
    """Counts the most PUTs that are under way at once."""

    under_way = most = 0

    async def put_once(self, key: str, body: bytes, *, content_type: str) -> None:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        # Long enough for rows to come from their threads meanwhile.
        await asyncio.sleep(0.02 if content_type.startswith("application/") else 0)
        await super().put_once(key, body, content_type=content_type)
        self.under_way -= 1


@pytest.mark.parametrize("concurrency", [1, 3])
async def test_no_more_is_put_at_once_than_was_allowed_markers_too(
    many: Folder, cache: Path, concurrency: int
) -> None:
    s3 = FakeS3()
    s3.make_bucket(BUCKET, ACCOUNT)
    objects = _Counting(s3, BUCKET)

    await stage(opened(many, cache), objects, concurrency=concurrency)

    assert objects.most <= concurrency


async def test_an_outage_ends_it_resumable(objects: Objects, s3: Any, fault: Any, many_rows: Subset) -> None:
    fault(operation="PutObject", kind="error", code="ServiceUnavailable", status=503, times=None, after=100)
    with pytest.raises(AwsUnavailable):
        await stage(many_rows, objects)
    _calm(s3)

    await stage(many_rows, objects)

    assert len([key for key in contents(s3) if key.startswith("images/")]) == many_rows.num_rows


def _calm(s3: Any) -> None:
    url = f"{s3.meta.endpoint_url}/_sandbox/faults"
    urllib.request.urlopen(urllib.request.Request(url, method="DELETE")).close()


@pytest.mark.parametrize("verified", [False, True])
async def test_one_image_is_converted_while_another_is(
    verified: bool, objects: Objects, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With lint's verdict on the pixels rows are looked at one by one, and still converted at once."""
    both = threading.Barrier(2, timeout=20)

    class Slow(Converters):
        def __call__(self, body: bytes, limits: ImageLimits, *, keep_format: bool, fit: bool) -> Prepared:
            both.wait()
            return convert_here(body, limits, keep_format=keep_format, fit=fit)

    monkeypatch.setattr(pipeline, "Converters", Slow)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    images: list[bytes | None] = [SOURCES["jpeg"] for _ in range(2 * pipeline.PIECE_ROWS)]
    subset = opened(write_dataset(tmp_path, images), cache)

    staged = await stage(subset, objects, made=replace(transform(), verified=verified))

    assert staged.images_converted == 2 * pipeline.PIECE_ROWS


async def test_tells_how_it_goes(objects: Objects, many: Folder, cache: Path) -> None:
    heard: list[StagingProgress] = []
    subset = opened(many, cache)
    await stage(subset, objects, heard=heard)

    last = heard[-1]
    assert last.rows_done == last.rows == subset.num_rows
    assert last.passed_through + last.converted == last.rows
    assert last.rate > 0
    assert last.seconds_left == 0
    assert [signal.rows_done for signal in heard] == sorted(signal.rows_done for signal in heard)
    assert any(0 < signal.rows_done < signal.rows and signal.seconds_left for signal in heard)


def with_bad_rows(folder: Path) -> Folder:
    good = SOURCES["png-L"]
    images: list[bytes | None] = [good] * (SHARD_ROWS + 10)
    images[3], images[70] = b"not an image", None
    return write_dataset(folder, images)


async def test_a_bad_row_ends_it_with_its_number(objects: Objects, cache: Path, tmp_path: Path) -> None:
    with pytest.raises(RowError, match="train row 3, field 'image'") as refused:
        await stage(opened(with_bad_rows(tmp_path / "d"), cache), objects)

    assert refused.value.row == 3
    assert refused.value.hint


async def test_the_first_bad_row_is_named_though_a_later_one_was_met_before_it(
    objects: Objects, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subset = opened(with_bad_rows(tmp_path / "d"), cache)
    later_met = threading.Event()
    store = objects.put_once

    async def storing(key: str, body: bytes, *, content_type: str) -> None:
        if key.endswith("/071.png"):
            later_met.set()
        await store(key, body, content_type=content_type)

    def held_line(row: Row, *place: Any) -> RecordLine:
        if row.index == 0:
            later_met.wait(20)
        return plain_line(row, *place)

    monkeypatch.setattr(objects, "put_once", storing)
    with pytest.raises(RowError, match="train row 3, field 'image'"):
        await stage(subset, objects, made=replace(transform(), line=held_line))
    assert later_met.is_set() or os.cpu_count() == 1


async def test_what_comes_before_the_first_bad_row_is_staged_and_not_staged_again(
    objects: Objects, s3: Any, cache: Path, tmp_path: Path
) -> None:
    images: list[bytes | None] = [SOURCES["png-L"]] * (SHARD_ROWS + 10)
    images[SHARD_ROWS] = b"not an image"
    subset = opened(write_dataset(tmp_path / "d", images), cache)
    for _ in range(2):
        with pytest.raises(RowError, match=f"train row {SHARD_ROWS}, field 'image'"):
            await stage(subset, objects)
        assert len(markers(s3)) == 1

    staged = await stage(subset, objects, skip=True)
    assert (staged.shards_skipped, staged.images_uploaded) == (1, 9)


async def test_skips_bad_rows_if_told_to_and_remembers_them(
    objects: Objects, s3: Any, cache: Path, tmp_path: Path
) -> None:
    subset = opened(with_bad_rows(tmp_path / "d"), cache)
    first = await stage(subset, objects, skip=True, most=2)
    again = await stage(subset, objects, skip=True, most=2, verify=True)
    _, records = await record(subset, objects)

    assert first.rows_skipped == again.rows_skipped == 2
    assert sorted(first.skipped_rows) == sorted(again.skipped_rows)
    assert "row 3" in min(first.skipped_rows)
    assert again.shards_skipped == 2
    assert records == subset.num_rows - 2
    assert "images/train/003.png" not in contents(s3)


async def test_skips_no_more_than_it_may(objects: Objects, cache: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="max_bad_rows is 1"):
        await stage(opened(with_bad_rows(tmp_path / "d"), cache), objects, skip=True, most=1)


def start(folder: Folder, cache: Path, url: str) -> Process:
    root = Path(__file__).parents[2]
    process = FORKS.start(
        [str(folder), str(cache), url],
        env=os.environ,
        cwd=root,
        stdout=1,
        stderr=2,
        main="tests.ingest.staging:main",
    )
    assert process is not None
    return process


async def expected(url: str, folder: Folder, cache: Path, s3: Any) -> dict[str, str]:
    """What an undisturbed run leaves in the bucket, which is empty again afterwards."""
    subset = opened(folder, cache)
    async with AwsSession(region="us-east-1", endpoint_url=url) as aws:
        objects = aws.objects(BUCKET, owner=None)
        await stage(subset, objects)
        await record(subset, objects)
    found = contents(s3)
    for key in found:
        s3.delete_object(Bucket=BUCKET, Key=key)
    return found


def _holds(s3: Any, least: int) -> bool:
    return len(contents(s3)) >= least


def _kill_when(process: Process, due: Callable[[], bool]) -> None:
    while not due():
        time.sleep(0.02)
    process.kill()
    process.wait()


async def test_two_processes_at_once_do_no_harm(sandbox: Any, s3: Any, many: Folder, cache: Path) -> None:
    wanted = await expected(sandbox.url, many, cache, s3)
    both = [start(many, cache, sandbox.url) for _ in range(2)]
    codes = [await asyncio.to_thread(process.wait, 60) for process in both]

    assert codes == [0, 0]
    assert contents(s3) == wanted


async def test_killed_and_resumed_leaves_the_same_bytes(
    sandbox: Any, s3: Any, fault: Any, many: Folder, cache: Path
) -> None:
    """
    kill -9 in the middle, twice; the next run finishes, and repeats no shard that was marked.

    `benchmarks/kills.py` does the same thirty times on another S3 server.
    """
    wanted = await expected(sandbox.url, many, cache, s3)
    for least in (1, 60):
        # So many are stored at once, and then S3 answers no more: the process is killed in the middle.
        fault(operation="PutObject", kind="slow", seconds=60, times=None, after=least)
        process = start(many, cache, sandbox.url)
        await asyncio.to_thread(_kill_when, process, partial(_holds, s3, least))
        _calm(s3)
    marked = {key: s3.head_object(Bucket=BUCKET, Key=key)["LastModified"] for key in markers(s3)}
    process = start(many, cache, sandbox.url)

    assert await asyncio.to_thread(process.wait, 60) == 0
    assert contents(s3) == wanted
    assert {key: s3.head_object(Bucket=BUCKET, Key=key)["LastModified"] for key in marked} == marked

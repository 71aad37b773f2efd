"""A dataset of pictures on disk, and the staging of it."""

import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import pyarrow as pa
import pyarrow.parquet as pq

from vlm_runner.aws.ports import Objects
from vlm_runner.aws.session import AwsSession
from vlm_runner.clock import SystemClock
from vlm_runner.core import places
from vlm_runner.core.conversation import single
from vlm_runner.core.events import Place, SubsetStaged
from vlm_runner.core.signals import StagingProgress
from vlm_runner.dataset.rows import Row, Subset
from vlm_runner.dataset.source import open_dataset
from vlm_runner.ingest.pipeline import RecordLine, SubsetStaging, Transform
from vlm_runner.ingest.records import write_records
from vlm_runner.models import record_line
from vlm_runner.settings import UploadSettings
from vlm_runner.spec import BadRows, DatasetSpec

from .pictures import LIMITS

ACCOUNT = "123456789012"
BUCKET = "bucket-of-tests"


def write_dataset(folder: Path, images: list[bytes | None]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    table = pa.table(
        {
            "image": [{"bytes": body, "path": None} for body in images],
            "html": [f"<p>Page {index} größer</p>" for index in range(len(images))],
            "output": [json.dumps([{"eval_reason": f"finding {index}"}]) for index in range(len(images))],
        }
    )
    pq.write_table(table, folder / "train.parquet", row_group_size=50)
    return folder


def write_several(folder: Path, images: list[list[bytes | None]]) -> Path:
    """As `write_dataset`, with a list of images a row."""
    folder.mkdir(parents=True, exist_ok=True)
    table = pa.table(
        {
            "images": [[{"bytes": body, "path": None} for body in row] for row in images],
            "html": [f"<p>Page {index}</p>" for index in range(len(images))],
            "output": [f"finding {index}" for index in range(len(images))],
        }
    )
    pq.write_table(table, folder / "train.parquet")
    return folder


def opened(folder: Path, cache: Path) -> Subset:
    return open_dataset(DatasetSpec(source=str(folder)), cache_dir=cache).train


def plain_line(row: Row, uri: str, image_format: str, more: Sequence[tuple[str, str]] = (), /) -> RecordLine:
    line = record_line(
        single(None, f"Row {row.index}: {row.fields['html']}", str(row.fields["output"])),
        [(uri, image_format), *more],
        bucket_owner=ACCOUNT,
        image_first=True,
    )
    return RecordLine(line)


def transform(*, keep_format: bool = False) -> Transform:
    return Transform(LIMITS, keep_format=keep_format, fit=False, line=plain_line)


def place_of(subset: Subset, *, keep_format: bool = False) -> Place:
    """The notebook's keys, as the first content in a bucket gets them."""
    fingerprint = places.digest(subset.fingerprint, str(keep_format))
    return places.place("", places.NOTEBOOK, subset.name, fingerprint)


async def stage(
    subset: Subset,
    objects: Objects,
    *,
    keep_format: bool = False,
    skip: bool = False,
    most: int | None = None,
    verify: bool = False,
    concurrency: int = 16,
    heard: list[StagingProgress] | None = None,
    made: Transform | None = None,
    place: Place | None = None,
) -> SubsetStaged:
    return await SubsetStaging(
        subset,
        objects,
        made or transform(keep_format=keep_format),
        place or place_of(subset, keep_format=keep_format),
        upload=UploadSettings(concurrency=concurrency, in_flight_bytes=16 * 1024 * 1024, verify=verify),
        bad_rows=BadRows(skip=skip, most=most),
        clock=SystemClock(),
        progress=(heard if heard is not None else []).append,
    ).run()


async def record(subset: Subset, objects: Objects, *, keep_format: bool = False) -> tuple[str, int]:
    place = place_of(subset, keep_format=keep_format)
    written = await write_records(objects, place, subset.name, subset.num_rows)
    return written.uri, written.records


def contents(s3: Any) -> dict[str, str]:
    """Key and ETag of all that lies in the bucket."""
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
    return {item["Key"]: item["ETag"] for page in pages for item in page.get("Contents", ())}


def body_of(s3: Any, key: str) -> bytes:
    return bytes(s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())


async def _stage_all(folder: Path, cache: Path, url: str) -> None:
    subset = await asyncio.to_thread(opened, folder, cache)
    async with AwsSession(region="us-east-1", endpoint_url=url) as aws:
        objects = aws.objects(BUCKET, owner=None)
        await stage(subset, objects)
        await record(subset, objects)


def main() -> None:
    anyio.run(_stage_all, Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])

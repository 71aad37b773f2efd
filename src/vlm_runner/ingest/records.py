"""The JSONL file: the markers' lines, one after the other, never all in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from vlm_runner.errors import DataError
from vlm_runner.ingest import shards
from vlm_runner.ingest.in_place import refuse_changed_in_place
from vlm_runner.ingest.verify import comparable, list_images, refuse_damaged, split_objects

if TYPE_CHECKING:
    from vlm_runner.aws.ports import Objects
    from vlm_runner.core.events import Place, SplitObjects

LINE_FEED: Final = b"\n"
"""What the last marker ends with. Bedrock wants no empty line at the end (troubleshooting fine-tuning)."""


@dataclass(frozen=True, slots=True)
class SplitWritten:
    uri: str
    """Of the JSONL file."""
    records: int
    objects: SplitObjects


async def write_records(
    objects: Objects, place: Place, subset: str, rows: int, *, some_stay: bool = False
) -> SplitWritten:
    """
    Assemble the JSONL file of a place, of images that are there, or that stay elsewhere (`some_stay`).

    Raises:
        ObjectChanged: images that a marker says are there are not, or something else has changed the place.
        DataError: a shard has no marker (staging must run first), or no row at all could be used.
    """
    plan = shards.plan(rows)
    listed = [item async for item in objects.list(place.shards)]
    done = shards.read_markers(place.shards, listed, plan)
    missing = [shard.number for shard in plan if shard.number not in done]
    if missing:
        raise DataError(
            f"{subset}: {len(missing)} of {len(plan)} shards are not staged, the first is {missing[0]}.",
            hint="Stage them with: vlm-runner resume",
        )
    by = await comparable(objects, place)
    images = await list_images(objects, place.images, rows, by=by)
    await refuse_damaged(objects, place, [(shard, done[shard.number]) for shard in plan], images.sizes)
    in_place = await refuse_changed_in_place(objects, place, rows) if some_stay else None
    markers = [done[shard.number] for shard in plan if done[shard.number].records]
    if not markers:
        raise DataError(
            f"{subset}: none of its {rows} rows can be used.",
            hint="Repair the data; the run's events say what is wrong with each row.",
        )
    await objects.concatenate(
        place.records,
        [(marker.key, marker.size) for marker in markers],
        cut=len(LINE_FEED),
        content_type="application/jsonl",
    )
    return SplitWritten(
        f"s3://{objects.bucket}/{place.records}",
        sum(marker.records for marker in markers),
        await split_objects(objects, place, images, by=by, in_place=in_place),
    )

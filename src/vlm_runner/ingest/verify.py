"""`--verify`: do the images that markers claim lie in S3, as large as they were?"""

from __future__ import annotations

import re
from array import array
from typing import TYPE_CHECKING

from vlm_runner.ingest.shards import sizes_digest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vlm_runner.aws.ports import Objects
    from vlm_runner.ingest.shards import Marker, Shard
    from vlm_runner.ingest.stored import StoredRow

_IMAGE = re.compile(r"(\d{3,})(?:-\d+)?\.[a-z]+")
MISSING = -1


async def image_bytes(objects: Objects, folder: str, rows: int) -> array[int]:
    """
    Of each row the bytes of its images in S3 together; MISSING where there is none.

    One listing, a thousand images a request; eight bytes of memory a row. What the images contain was
    verified by S3 when it took them.
    """
    sizes = array("q", [MISSING]) * rows
    async for item in objects.list(folder):
        match = _IMAGE.fullmatch(item.key.removeprefix(folder))
        if match is not None and int(match[1]) < rows:
            row = int(match[1])
            sizes[row] = max(0, sizes[row]) + item.size
    return sizes


def intact_rows(rows: Mapping[int, StoredRow], sizes: array[int]) -> dict[int, StoredRow]:
    """`rows` without those whose images are gone or of another size."""
    return {
        number: row
        for number, row in rows.items()
        if number >= len(sizes) or not row.images or sizes[number] == row.bytes
    }


def intact(shard: Shard, marker: Marker, stored: Mapping[int, StoredRow], sizes: array[int]) -> bool:
    """Whether all images of a done shard are there; `stored` is empty if an earlier version did it."""
    if stored:
        return len(intact_rows(stored, sizes)) == len(stored)
    rows = range(shard.start, shard.stop)
    return marker.digest == sizes_digest({row: sizes[row] for row in rows if sizes[row] != MISSING})

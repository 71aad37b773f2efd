"""
Which images of a place are in S3: one object a shard, beside the images, whatever their records say.

It is written after the images that it names. So a run with another prompt uploads none of them again, and
what a longer dataset begins with is compared without reading a single image from S3.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Final

from pydantic import TypeAdapter, ValidationError
from xxhash import xxh3_128

from vlm_runner.core.places import images_markers
from vlm_runner.dataset.in_place import InPlace
from vlm_runner.errors import RowError
from vlm_runner.ingest.shards import SHARD_ROWS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vlm_runner.aws.ports import Objects
    from vlm_runner.core.events import Place
    from vlm_runner.dataset.rows import Row, Subset

BLOCK: Final = 65_536
"""Bytes hashed at a time: with more, xxhash lets other threads run, and the image leaves the cache."""
NO_IMAGE: Final = ""
"""The digest of a row without an image."""


@dataclass(frozen=True, slots=True)
class StoredImage:
    format: str
    """As the record names it."""
    extension: str
    bytes: int
    uri: str | None = None
    """Where it lies, of an image that stayed there; None: in the place."""
    etag: str | None = None
    """Of one that stayed, when it was looked at."""


@dataclass(frozen=True, slots=True)
class StoredRow:
    """One row's images."""

    source: str
    """`source_digest` of the row."""
    images: tuple[StoredImage, ...] = ()
    """In S3; empty where the row made no record yet."""

    @property
    def uploaded_bytes(self) -> int | None:
        """Of those that were uploaded, together; None: none was."""
        sizes = [image.bytes for image in self.images if image.uri is None]
        return sum(sizes) if sizes else None


@dataclass(frozen=True, slots=True)
class StoredShard:
    """The object: its JSON leaves out what is None."""

    rows: dict[int, StoredRow] = field(default_factory=dict[int, StoredRow])


@cache
def _document() -> TypeAdapter[StoredShard]:
    return TypeAdapter(StoredShard)


def key_of(place: Place, start: int) -> str:
    """Named by its first row only: a dataset that has grown has more rows in its last shard."""
    return f"{images_markers(place)}{start:07d}.json"


async def read_stored(objects: Objects, place: Place, start: int) -> dict[int, StoredRow]:
    """The rows of the shard whose images are known; others may have written to the bucket."""
    found = await objects.get(key_of(place, start))
    if found is None:
        return {}
    try:
        return _document().validate_json(found.body).rows
    except ValidationError:
        return {}


def written(rows: dict[int, StoredRow]) -> bytes:
    return _document().dump_json(StoredShard(dict(sorted(rows.items()))), exclude_none=True)


def source_digest(row: Row | RowError) -> str:
    """
    XXH3 (128 bits, hex) over the row's images as the dataset holds them.

    It tells a dataset that has grown from another one. SHA-256 would take a quarter of all CPU time of an
    image that passes through, and guard against nobody: who could make two images with one digest has written
    both of them.
    """
    if isinstance(row, RowError):
        return NO_IMAGE
    whole = xxh3_128()
    for image in row.images:
        source = image.source if isinstance(image, InPlace) else image
        whole.update(len(source).to_bytes(8, "big"))
        view = memoryview(source)
        for start in range(0, len(view), BLOCK):
            whole.update(view[start : start + BLOCK])
    return whole.hexdigest()


async def held_digests(objects: Objects, place: Place, rows: int) -> list[str] | None:
    """The digest of each of the first `rows` rows of a place; None where one was not staged yet."""
    found: list[str] = []
    for start in range(0, rows, SHARD_ROWS):
        shard = await read_stored(objects, place, start)
        for row in range(start, min(start + SHARD_ROWS, rows)):
            if row not in shard:
                return None
            found.append(shard[row].source)
    return found


def begins_with(subset: Subset, digests: list[str]) -> bool:
    """
    Whether the shorter of the two is what the longer one begins with. Blocks; reads no further than they
    agree.
    """
    rows = min(len(digests), subset.num_rows)
    return all(digest == digests[index] for index, digest in enumerate(_digests(subset, rows)))


def _digests(subset: Subset, rows: int) -> Iterator[str]:
    # The first row alone: it tells most other datasets apart, and a batch reads several.
    for row in subset.scan(0, min(1, rows)):
        yield source_digest(row)
    for row in subset.scan(min(1, rows), rows):
        yield source_digest(row)


def first_digest(subset: Subset) -> str:
    """Of the first row. Blocks."""
    return next(_digests(subset, min(1, subset.num_rows)), NO_IMAGE)

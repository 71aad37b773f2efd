"""Do the objects that a run wrote lie in S3, as they were? For `--verify`, and before anything is bought."""

from __future__ import annotations

import hashlib
import re
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from vlm_runner.core.events import SplitObjects
from vlm_runner.core.places import claim_key, images_markers
from vlm_runner.errors import ObjectChanged
from vlm_runner.ingest.in_place import refuse_changed_in_place
from vlm_runner.ingest.shards import SHARD_ROWS, sizes_digest
from vlm_runner.ingest.stored import read_stored

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from vlm_runner.aws.ports import ListedObject, Objects
    from vlm_runner.core.events import Place
    from vlm_runner.ingest.shards import Marker, Shard
    from vlm_runner.ingest.stored import StoredRow

By = Literal["etag", "size"]
_IMAGE = re.compile(r"(\d{3,})(?:-\d+)?\.[a-z]+")
MISSING = -1
DIGESTS: Final = 64
"""Of the images of one split, at most: they lie in the checkpoint, which is saved often."""


@dataclass(frozen=True, slots=True)
class ListedImages:
    """The images of a split as one listing of its folder shows them."""

    sizes: array[int]
    """Of each row the bytes of its images together; MISSING where there is none."""
    digests: tuple[str, ...]
    """See `SplitObjects.images`."""
    rows_each: int


async def list_images(objects: Objects, folder: str, rows: int, *, by: By = "etag") -> ListedImages:
    """
    The images of the first `rows` rows; a longer dataset may have more of them in the same folder.

    One listing, a thousand images a request; eight bytes of memory a row.
    """
    rows_each = SHARD_ROWS * max(1, -(-rows // (SHARD_ROWS * DIGESTS)))
    sizes = array("q", [MISSING]) * rows
    hashes = [hashlib.sha256() for _ in range(0, rows, rows_each)]
    async for item in objects.list(folder):
        match = _IMAGE.fullmatch(item.key.removeprefix(folder))
        if match is not None and (row := int(match[1])) < rows:
            sizes[row] = max(0, sizes[row]) + item.size
            hashes[row // rows_each].update(f"{item.key}\0{_value(item, by)}\n".encode())
    return ListedImages(sizes, tuple(one.hexdigest()[:16] for one in hashes), rows_each)


async def split_objects(
    objects: Objects, place: Place, images: ListedImages, *, by: By, in_place: str | None = None
) -> SplitObjects:
    """
    What is there now, to be compared later.

    Raises:
        ObjectChanged: the JSONL file is gone already.
    """
    records = await _listed(objects, place.records, by)
    if records is None:
        raise ObjectChanged(f"s3://{objects.bucket}/{place.records} was deleted as soon as it was written.")
    return SplitObjects(
        by=by, records=records, images=images.digests, rows_each=images.rows_each, in_place=in_place
    )


async def comparable(objects: Objects, place: Place) -> By:
    """
    Whether ETags say what objects contain; with a KMS key they do not (S3 API reference, Object).

    Known by the claim of the place, whose bytes are at hand.
    """
    claim = await objects.get(claim_key(place))
    if claim is None:
        return "size"
    digest = hashlib.md5(claim.body, usedforsecurity=False).hexdigest()
    return "etag" if claim.etag.strip('"') == digest else "size"


async def refuse_changed(objects: Objects, place: Place, rows: int, written: SplitObjects) -> None:
    """
    Compare what is there with what was there when the records were written.

    Raises:
        ObjectChanged: something else replaced or deleted the JSONL file or an image.
    """
    records = await _listed(objects, place.records, written.by)
    if records != written.records:
        raise ObjectChanged(
            f"s3://{objects.bucket}/{place.records} was {_fate(records)} by something else than this run.",
            hint=f"{_WHO} put the file back and resume, or cancel the run and start it again with another "
            "--run-id: it writes the file anew.",
        )
    before = written.in_place
    if before is not None and before != await refuse_changed_in_place(objects, place, rows):
        raise ObjectChanged(
            f"What s3://{objects.bucket}/{images_markers(place)} says of the images that stay where they lie "
            "was changed by something else than this run.",
            hint=f"{_WHO} cancel the run, and start it again with another --run-id.",
        )
    images = await list_images(objects, place.images, rows, by=written.by)
    for number, (now, before) in enumerate(zip(images.digests, written.images, strict=True)):
        if now != before:
            first = number * written.rows_each
            last = min(rows, first + written.rows_each) - 1
            raise ObjectChanged(
                f"Images of rows {first} to {last} in s3://{objects.bucket}/{place.images} were replaced or "
                "deleted by something else than this run.",
                hint=f"{_WHO} put them back and resume, or cancel the run, delete these images, and start it "
                "again with --verify and another --run-id.",
            )


_WHO: Final = "See who else writes to the bucket (CloudTrail data events or S3 access logs name them); then"


def _fate(found: str | None) -> str:
    return "deleted" if found is None else "replaced"


async def _listed(objects: Objects, key: str, by: By) -> str | None:
    found = [item async for item in objects.list(key) if item.key == key]
    return _value(found[0], by) if found else None


def _value(item: ListedObject, by: By) -> str:
    return item.etag if by == "etag" else str(item.size)


def intact_rows(rows: Mapping[int, StoredRow], sizes: array[int]) -> dict[int, StoredRow]:
    """`rows` without those whose images are gone or of another size."""
    return {
        number: row
        for number, row in rows.items()
        if number >= len(sizes) or row.uploaded_bytes in {None, sizes[number]}
    }


def intact(shard: Shard, marker: Marker, stored: Mapping[int, StoredRow], sizes: array[int]) -> bool:
    """Whether all images of a done shard are there; `stored` is empty if an earlier version did it."""
    if stored:
        return len(intact_rows(stored, sizes)) == len(stored)
    rows = range(shard.start, shard.stop)
    return marker.digest == sizes_digest({row: sizes[row] for row in rows if sizes[row] != MISSING})


async def refuse_damaged(
    objects: Objects, place: Place, markers: Iterable[tuple[Shard, Marker]], sizes: array[int]
) -> None:
    """
    Raises:
        ObjectChanged: an image of a done shard is gone, or of another size: the job would fail on it.
    """
    for shard, marker in markers:
        # The stored rows are read only where images of rows without a record may lie between the others.
        if intact(shard, marker, {}, sizes):
            continue
        stored = await read_stored(objects, place, shard.start)
        if not stored or not intact(shard, marker, stored, sizes):
            raise ObjectChanged(
                f"Images of rows {shard.start} to {shard.stop - 1} are missing in "
                f"s3://{objects.bucket}/{place.images}, or not as large as they were.",
                hint="Upload them again with: vlm-runner stage RUN --verify, then: vlm-runner resume RUN",
            )

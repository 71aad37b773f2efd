"""
The unit of progress: a shard of rows, and the object that marks it as done.

A marker holds its shard's record lines and is written after the shard's images are there. So what is done
is one listing, and the JSONL file is the markers' concatenation. Its folder's name carries the fingerprint of
data, transform and prompt: a marker of another run of the same data is as good as ours.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from vlm_runner.aws.ports import ListedObject


SHARD_ROWS = 64
"""
What a crash makes a run stage again, at most, of each shard in flight.

Not a setting: a resumed run must cut its rows at the same places, on any machine.
"""


@dataclass(frozen=True, slots=True)
class Shard:
    number: int
    start: int
    stop: int
    """Rows `start` to `stop - 1`."""

    @property
    def rows(self) -> int:
        return self.stop - self.start


def plan(rows: int, shard_rows: int = SHARD_ROWS) -> tuple[Shard, ...]:
    """Every row in exactly one shard, in order."""
    starts = range(0, rows, shard_rows)
    return tuple(Shard(number, at, min(at + shard_rows, rows)) for number, at in enumerate(starts))


def marker_key(folder: str, shard: Shard, sizes: Mapping[int, int | None]) -> str:
    """
    `sizes` are the bytes of each record's images together, by row; None: all of them lie elsewhere.

    Their number is in the name, so that a listing counts the records, and their digest, so that a listing
    of the images verifies them.
    """
    digest = sizes_digest({row: size for row, size in sizes.items() if size is not None})
    return f"{folder}{shard.start:07d}-{shard.stop:07d}-{len(sizes):05d}-{digest}.jsonl"


def skipped_key(folder: str, shard: Shard) -> str:
    """Why rows of the shard were skipped, as a JSON list; there only if some were."""
    return f"{folder}{shard.start:07d}-{shard.stop:07d}-skipped.json"


def accepted_key(folder: str, shard: Shard) -> str:
    """Of each record of the shard a JSON list of further right answers; there only if one has some."""
    return f"{folder}{shard.start:07d}-{shard.stop:07d}-accepted.json"


def sizes_digest(sizes: Mapping[int, int]) -> str:
    return f"{zlib.crc32(repr(sorted(sizes.items())).encode()):08x}"


@dataclass(frozen=True, slots=True)
class Marker:
    """A shard that is done."""

    key: str
    size: int
    """Of the object, in bytes."""
    records: int
    digest: str


_MARKER = re.compile(r"(\d{7,})-(\d{7,})-(\d{5,})-([0-9a-f]{8})\.jsonl")


def read_markers(folder: str, listed: Iterable[ListedObject], shards: tuple[Shard, ...]) -> dict[int, Marker]:
    """For each shard that is done, its marker; names that fit no shard of this plan are not ours."""
    by_range = {(shard.start, shard.stop): shard.number for shard in shards}
    found: dict[int, Marker] = {}
    for item in listed:
        match = _MARKER.fullmatch(item.key.removeprefix(folder))
        if match is not None:
            number = by_range.get((int(match[1]), int(match[2])))
            if number is not None:
                found[number] = Marker(item.key, item.size, int(match[3]), match[4])
    return found

"""
The unit of progress: a shard of rows, and the object that marks it as done.

A marker holds its shard's record lines and is written after the shard's images are there. So what is done
is one listing, and the JSONL file is the markers' concatenation. A marker's name carries the fingerprint of
data, transform and prompt: one of another run of the same data is as good as ours.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


SHARD_ROWS = 64
"""
What a crash makes a run stage again, at most, of each shard in flight.

No setting: whoever resumes a run, on whatever machine, must cut its rows at the same places.
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


def marker_prefix(prefix: str, subset: str, fingerprint: str) -> str:
    return f"{prefix}data/{subset}/shards-{fingerprint[:16]}/"


def marker_key(folder: str, shard: Shard, records: int) -> str:
    """The number of records is in the name, so that a listing counts them."""
    return f"{folder}{shard.start:07d}-{shard.stop:07d}-{records:05d}.jsonl"


_MARKER = re.compile(r"(\d{7,})-(\d{7,})-(\d{5,})\.jsonl")


def read_markers(folder: str, keys: Iterable[str], shards: tuple[Shard, ...]) -> dict[int, str]:
    """For each shard that is done, its marker's key; names that fit no shard of this plan are not ours."""
    by_range = {(shard.start, shard.stop): shard.number for shard in shards}
    found: dict[int, str] = {}
    for key in keys:
        match = _MARKER.fullmatch(key.removeprefix(folder))
        if match is not None:
            number = by_range.get((int(match[1]), int(match[2])))
            if number is not None:
                found[number] = key
    return found


def records_in(marker_key: str) -> int:
    return int(marker_key.rpartition("-")[2].removesuffix(".jsonl"))

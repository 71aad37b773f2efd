"""
Giving the pages of mapped files back once they were read.

A memory-mapped data set that is read through stays resident for as long as the system has room: it looks
like a leak, and counts against limits on resident memory.
"""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vlm_runner.dataset.rows import Table

EVERY: Final = 8 * 1024 * 1024
"""Bytes read between two calls, each of which takes 15 us; reading a page anew takes some more."""
DONTNEED: Final = 4
"""MADV_DONTNEED, Linux: the next read of a page fetches it from the file. For unwritable mappings only."""
MAPS: Final = Path("/proc/self/maps")


class MappedPages:
    """
    The mappings of Arrow files in which the data of `table` lies.

    They are looked for once, which takes some milliseconds. The table is held here because memory that is let
    go may become somebody else's, which nobody may throw away.
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        held = set(_addresses(table))
        self._spans = [(start, end) for start, end in _arrow_files() if any(start <= at < end for at in held)]
        self._read = 0
        self.give_back()  # opening reads what stands around each batch: a third of a table of texts

    def count(self, size: int) -> None:
        """So many bytes were read; now and then, what lies in memory of the files is given back."""
        self._read += size
        if self._read >= EVERY:
            self._read = 0
            self.give_back()

    def give_back(self) -> None:
        for start, end in self._spans:
            _c_library().madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), DONTNEED)


def _addresses(table: Table) -> Iterator[int]:
    for column in table.data.columns:
        for chunk in column.chunks:
            yield from (buffer.address for buffer in chunk.buffers() if buffer is not None)


def _arrow_files() -> Iterator[tuple[int, int]]:
    """First address, and the one after the last, of each Arrow file that is mapped unwritable."""
    if not MAPS.exists():
        return
    for line in MAPS.read_text().splitlines():
        span, access, *_, path = line.split(maxsplit=5)
        if path.endswith(".arrow") and access.startswith("r--"):
            start, _, end = span.partition("-")
            yield int(start, 16), int(end, 16)


@cache
def _c_library() -> Any:
    return ctypes.CDLL(None)

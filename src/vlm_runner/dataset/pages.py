"""
Giving the pages of mapped files back once they were read.

A memory-mapped data set that is read through stays resident for as long as the system has room: it looks
like a leak, and counts against limits on resident memory.
"""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path
from typing import Any, Final

EVERY: Final = 16 * 1024 * 1024
"""Bytes read between two looks, each of which takes a millisecond."""
DONTNEED: Final = 4
"""MADV_DONTNEED, Linux: the next read of a page fetches it from the file. For unwritable mappings only."""
MAPS: Final = Path("/proc/self/maps")


class MappedPages:
    """The mappings of Arrow files in this process."""

    def __init__(self) -> None:
        self._read = 0

    def count(self, size: int) -> None:
        """So many bytes were read; now and then, what lies in memory of the files is given back."""
        self._read += size
        if self._read >= EVERY:
            self._read = 0
            self.give_back()

    def give_back(self) -> None:
        if not MAPS.exists():
            return
        for line in MAPS.read_text().splitlines():
            span, access, *_, path = line.split(maxsplit=5)
            if path.endswith(".arrow") and access.startswith("r--"):
                start, end = (int(address, 16) for address in span.split("-"))
                _c_library().madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), DONTNEED)


@cache
def _c_library() -> Any:
    return ctypes.CDLL(None)


mapped_pages: Final = MappedPages()
"""Of the process, as the mappings are."""

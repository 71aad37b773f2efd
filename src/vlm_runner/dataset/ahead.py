"""Images that rows name in a remote source: many are fetched at once, before they are asked for, and kept."""

from __future__ import annotations

import os
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from vlm_runner.dataset.images import is_address, is_object
from vlm_runner.dataset.in_place import InPlace

if TYPE_CHECKING:
    from collections.abc import Iterable
    from concurrent.futures import Future
    from pathlib import Path

    from vlm_runner.dataset.images import Reader
    from vlm_runner.dataset.in_place import Picture

AT_ONCE: Final = 16
"""Requests, each of which waits for its answer for most of its time."""
MOST_WAITING: Final = 64
"""Images, of which each worker of staging has up to a batch."""
MOST_WAITING_BYTES: Final = 64 * 1024 * 1024
MOST_KEPT: Final = 4 * 1024**3
"""Bytes on disk; what comes after them is fetched by each pass anew."""


class Kept:
    """
    Bodies that were fetched, in a file that the system deletes with this process.

    `lint` looks at the images that staging then takes. A disk that fills ends the keeping, and nothing else.
    """

    def __init__(self, folder: Path, most: int = MOST_KEPT) -> None:
        self._folder, self._most = folder, most
        self._lock = threading.Lock()
        self._file: int | None = None
        self._ends = 0
        self._places: dict[str, tuple[int, int]] = {}

    def __del__(self) -> None:
        if self._file is not None:
            os.close(self._file)

    def get(self, identity: str) -> bytes | None:
        with self._lock:
            place = self._places.get(identity)
        if place is None or self._file is None:
            return None
        body = os.pread(self._file, place[1], place[0])
        return body if len(body) == place[1] else None

    def put(self, identity: str, body: bytes) -> None:
        with self._lock:
            if identity in self._places or self._ends + len(body) > self._most:
                return
            try:
                if self._file is None:
                    self._folder.mkdir(parents=True, exist_ok=True)
                    with tempfile.TemporaryFile(dir=self._folder) as file:
                        self._file = os.dup(file.fileno())
                if os.pwrite(self._file, body, self._ends) == len(body):
                    self._places[identity] = (self._ends, len(body))
                    self._ends += len(body)
            except OSError:
                self._most = 0


class Ahead:
    """
    A Reader whose images were asked for before.

    A row's images come from here in the order of the rows; what nobody has expected is read when it is asked
    for. Any thread may expect and take.
    """

    def __init__(self, reader: Reader, *, files: bool) -> None:
        """`files`: whether the dataset's own files are remote, beside objects in S3."""
        self._reader, self._files = reader, files
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="fetch images")
        self._lock = threading.Lock()
        self._waiting: dict[tuple[str, str | None], Future[Picture]] = {}

    def expect(self, named: Iterable[tuple[str, str | None]]) -> None:
        """
        Begin to fetch paths and S3 addresses, each with the account of its bucket, as far as there is room.

        Addresses of http(s) are on this machine since the dataset was opened.
        """
        for path, owner in named:
            if is_address(path) or not (self._files or is_object(path)):
                continue
            with self._lock:
                if (path, owner) in self._waiting:
                    continue
                if self._full():
                    return
                self._waiting[path, owner] = self._pool.submit(self._read, path, owner)

    def forget(self, named: Iterable[tuple[str, str | None]]) -> None:
        """Their rows were read: what of them was not taken is not asked for any more."""
        with self._lock:
            for each in named:
                if (waiting := self._waiting.pop(each, None)) is not None:
                    waiting.cancel()

    def _full(self) -> bool:
        done = [_size(each) for each in self._waiting.values() if each.done()]
        under_way = len(self._waiting) - len(done)
        expected = sum(done) + under_way * max(done, default=0)
        return len(self._waiting) >= MOST_WAITING or expected >= MOST_WAITING_BYTES

    def _read(self, path: str, owner: str | None) -> Picture:
        return self._reader.stored(path, owner) if is_object(path) else self._reader.image(path)

    def _taken(self, path: str, owner: str | None) -> Picture:
        with self._lock:
            waiting = self._waiting.pop((path, owner), None)
        return self._read(path, owner) if waiting is None else waiting.result()

    def image(self, path: str) -> Picture:
        return self._taken(path, None)

    def fetched(self, address: str) -> bytes:
        return self._reader.fetched(address)

    def stored(self, address: str, owner: str | None) -> Picture:
        return self._taken(address, owner)


def _size(fetched: Future[Picture]) -> int:
    if fetched.exception() is not None:
        return 0
    picture = fetched.result()
    return len(picture.head) if isinstance(picture, InPlace) else len(picture)

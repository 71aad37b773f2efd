"""A dataset of a few rows, without files and without the `datasets` library."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vlm_runner.dataset.columns import Layout, choose
from vlm_runner.dataset.rows import Row
from vlm_runner.spec import Columns

if TYPE_CHECKING:
    from collections.abc import Iterator


def tiny_png(shade: int, side: int = 32) -> bytes:
    """A grey square, as a PNG that needs no conversion."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    lines = (b"\x00" + bytes([shade % 256]) * side) * side
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        chunk(kind, data)
        for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b""))
    )


COLUMNS = ("image", "page", "output")
LAYOUT = choose(COLUMNS, Columns(), required=(), where="the tiny dataset")


@dataclass(frozen=True, slots=True)
class TinySubset:
    name: str
    num_rows: int
    fingerprint: str
    revision: str | None = None
    columns: tuple[str, ...] = COLUMNS
    shade: int = 0
    """Of the first image; each is a shade lighter than the one before."""
    layout: Layout = LAYOUT
    bytes_downloaded: int = 0
    remote: bool = False

    def rows(self, start: int = 0, stop: int | None = None) -> Iterator[Row]:
        for index in range(start, self.num_rows if stop is None else stop):
            fields = {"page": f"page {index}", "output": f"finding {index}"}
            yield Row(index, index, tiny_png(self.shade + index), None, fields)

    def scan(self, start: int = 0, stop: int | None = None) -> Iterator[Row]:
        return self.rows(start, stop)


class TinyDataset:
    """
    For `Runner.open(open_dataset=...)`; as many rows as the smallest model takes.

    Those of another `shade` show other images.
    """

    def __init__(self, rows: int = 8, fingerprint: str = "tiny", shade: int = 0) -> None:
        self.rows, self.fingerprint, self.shade = rows, fingerprint, shade

    def __call__(self, spec: Any, revision: str | None) -> Any:  # noqa: ARG002
        train = TinySubset(spec.dataset.train_name, self.rows, self.fingerprint, shade=self.shade)
        return _Opened(train, None, None, self.fingerprint)


@dataclass(frozen=True, slots=True)
class _Opened:
    train: TinySubset
    validation: TinySubset | None
    revision: str | None
    fingerprint: str

"""
Rows of one split in parts, of which each becomes a mapped file when one of its rows is first read.

So a dataset costs as much network, disk and memory as the rows that are used, and not as much as it has.
"""

from __future__ import annotations

import bisect
import errno
import json
import mmap
import threading
from collections import OrderedDict
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from vlm_runner.atomic_file import replacing
from vlm_runner.core.failure import DISK_FULL
from vlm_runner.dataset.cells import (
    AS_JSON,
    Shape,
    completed,
    decoder_of,
    has_records,
    is_plain,
    merge_shapes,
)
from vlm_runner.dataset.images import named_in, owned_in
from vlm_runner.dataset.memory import LimitedMemory
from vlm_runner.errors import ConfigurationError, DataError, OutOfResources
from vlm_runner.redact import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from vlm_runner.column_path import ColumnPath

MOST_OPEN: Final = 32
"""Parts that are mapped at once, each of which holds a file descriptor."""
EVERY: Final = 8 * 1024 * 1024
"""Bytes read between two times that pages are given back, which takes 15 us a part."""


class TextColumn:
    """Instead of a feature of `datasets`: a column of a format that knows no types."""


class UnreadableCell(DataError):
    """A cell is not what its column says: text that is not UTF-8, a time that no calendar has."""

    def __init__(self, column: str, error: BaseException) -> None:
        if isinstance(error, MemoryError):
            self.reason = "unpacks to more memory than is given to it"
        elif isinstance(error, RecursionError):
            self.reason = "is nested too deeply"
        elif isinstance(error, UnicodeDecodeError):
            self.reason = f"is not UTF-8 (byte {error.start:,})"
        else:
            self.reason = f"cannot be read ({one_line(str(error), 200) or type(error).__name__})"
        super().__init__(f"Column '{column}': a cell {self.reason}.", field=column)


_UNREADABLE = (ArithmeticError, IndexError, MemoryError, RecursionError, SystemError, ValueError)
"""What pyarrow and decoders raise for cells that are not what their column says."""


@dataclass(frozen=True, slots=True)
class Part:
    """Consecutive rows of one file."""

    rows: int
    features: Mapping[str, Any]
    """Columns and their features, as `datasets` knows them, or `TextColumn`."""
    make: Callable[[], Path]
    """The part as an Arrow IPC file or stream; what takes time, such as a download, happens here."""
    shapes: Mapping[str, Shape] = field(default_factory=dict)
    """Of columns that hold JSON."""
    retyped: frozenset[str] = frozenset()
    """Columns whose cells earlier versions of vlm-runner trained as something else."""
    complete: frozenset[str] = frozenset()
    """Columns that name no files: every image in them is there with its bytes."""
    slow: bool = False
    """Worth making before it is asked for."""


class Table:
    """
    The rows that `parts` give, in order. Any thread may read.

    A table looks at no more parts than it needs to know whether a row is there.
    """

    def __init__(self, parts: Iterable[Part], *, at_most: int | None = None) -> None:
        """`at_most`: rows after these are none of the table's."""
        self._parts: list[Part] = []
        self._starts: list[int] = []
        count = 0
        for part in parts:
            if not part.rows:
                continue
            self._parts.append(part)
            self._starts.append(count)
            count += part.rows
            if at_most is not None and count >= at_most:
                count = at_most
                break
        self._rows = count
        self._features = _union(self._parts)
        self._shapes: dict[str, Shape] = {}
        for part in self._parts:
            for name, shape in part.shapes.items():
                merge_shapes(self._shapes.setdefault(name, {}), shape)
        self._decoders = {name: decoder_of(feature) for name, feature in self._features.items()}
        self._records = {name for name, shape in self._shapes.items() if has_records(shape)}
        self._open: OrderedDict[int, _Mapped] = OrderedDict()
        self._lock = threading.Lock()
        self._making: dict[int, threading.Lock] = {}
        self._read = 0

    @classmethod
    def joined(cls, tables: Sequence[Table]) -> Table:
        """The rows of `tables`, one after another."""
        if len(tables) == 1:
            return tables[0]
        return cls(part for table in tables for part in table._parts)  # noqa: SLF001 - of this class

    def __len__(self) -> int:
        return self._rows

    @property
    def features(self) -> Mapping[str, Any]:
        return self._features

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(self._features)

    @property
    def shapes(self) -> Mapping[str, Shape]:
        return self._shapes

    @property
    def retyped(self) -> frozenset[str]:
        return frozenset().union(*(part.retyped for part in self._parts))

    def read(self, rows: Sequence[int], columns: Iterable[str]) -> dict[str, list[Any]]:
        """
        The cells of `rows`, in their order, as Python values.

        Raises:
            DataError: a part cannot be fetched or read.
            UnreadableCell: one of the cells cannot be read.
        """
        found: dict[str, list[Any]] = {name: [] for name in columns}
        for number, within in self._runs(rows):
            part = self._part(number)
            small = all(self._as_large_as_its_file(part, name) for name in found)
            with nullcontext() if small else LimitedMemory():
                for name in found:
                    found[name] += self._cells(part, name, within)
        return found

    def cell(self, row: int, column: str) -> Any:
        """
        One cell: no more than one image need be in memory.

        Raises:
            DataError, UnreadableCell: as `read`.
        """
        number = bisect.bisect_right(self._starts, row) - 1
        part, within = self._part(number), [row - self._starts[number]]
        with nullcontext() if self._as_large_as_its_file(part, column) else LimitedMemory():
            return self._cells(part, column, within)[0]

    def named(self, path: ColumnPath) -> Iterator[str]:
        """Files and addresses that rows name instead of holding them; images that are held are not read."""
        for number, (start, part) in enumerate(zip(self._starts, self._parts, strict=True)):
            if path.column in part.complete or start >= self._rows:
                continue
            mapped = self._part(number)
            try:
                with LimitedMemory():
                    if path.steps:
                        cells = self._exact(path.column, mapped.cells(path.column, range(part.rows)))
                        yield from named_in([path.of(cell) for cell in cells])
                    else:
                        yield from (name for name, _ in mapped.owned(path.column))
            except _UNREADABLE as error:
                raise UnreadableCell(path.column, error) from error

    def owned(self, rows: Sequence[int], path: ColumnPath) -> list[tuple[str, str | None]]:
        """As `named`, of `rows` alone, with the accounts of buckets. An unreadable cell names nothing."""
        found: list[tuple[str, str | None]] = []
        for number, within in self._runs(rows):
            if path.column in self._parts[number].complete:
                continue
            mapped = self._part(number)
            with suppress(*_UNREADABLE), LimitedMemory():
                if path.steps:
                    cells = self._exact(path.column, mapped.cells(path.column, within))
                    found += owned_in([path.of(cell) for cell in cells])
                else:
                    found += mapped.owned(path.column, within)
        return found

    def count_read(self, size: int) -> None:
        """So many bytes were read; now and then, the pages that they came from are given back."""
        with self._lock:
            self._read += size
            if self._read < EVERY:
                return
            self._read = 0
            for mapped in self._open.values():
                mapped.give_back()

    def _as_large_as_its_file(self, part: _Mapped, name: str) -> bool:
        """So it is of most images, which are as they are; the limit takes as long as reading one of them."""
        return name in part.flat and not self._decoders[name] and name not in self._records

    def _cells(self, part: _Mapped, name: str, within: range | list[int]) -> list[Any]:
        try:
            return self._exact(name, part.cells(name, within))
        except _UNREADABLE as error:
            raise UnreadableCell(name, error) from error

    def _exact(self, name: str, cells: list[Any]) -> list[Any]:
        if decode := self._decoders[name]:
            cells = [None if cell is None else decode(cell) for cell in cells]
        if name in self._records:
            cells = [completed(cell, self._shapes[name]) for cell in cells]
        return cells

    def _runs(self, rows: Sequence[int]) -> Iterator[tuple[int, range | list[int]]]:
        """Of each part that `rows` touch, one after another: its number, and which of its rows."""
        position = 0
        while position < len(rows):
            number = bisect.bisect_right(self._starts, rows[position]) - 1
            start = self._starts[number]
            stop = start + self._parts[number].rows
            end = position
            while end < len(rows) and start <= rows[end] < stop:
                end += 1
            at = rows[position:end]
            if isinstance(at, range) and at.step == 1:
                yield number, range(at.start - start, at.stop - start)
            else:
                yield number, [row - start for row in at]
            position = end

    def _part(self, number: int) -> _Mapped:
        with self._lock:
            if (mapped := self._open.get(number)) is not None:
                self._open.move_to_end(number)
                return mapped
            making = self._making.setdefault(number, threading.Lock())
        if self._parts[number].slow:
            self._make_ahead(number + 1)
        with making:
            with self._lock:
                if (mapped := self._open.get(number)) is not None:
                    return mapped
            file = self._parts[number].make()
            with LimitedMemory(file.stat().st_size):
                mapped = _Mapped(file)
            with self._lock:
                self._open[number] = mapped
                while len(self._open) > MOST_OPEN:
                    self._open.popitem(last=False)
        return mapped

    def _make_ahead(self, number: int) -> None:
        """Fetch the next part while this one is used."""
        with self._lock:
            if number >= len(self._parts) or number in self._open or number in self._making:
                return
            making = self._making[number] = threading.Lock()
        if self._starts[number] >= self._rows:
            return

        def make() -> None:
            with making:
                try:
                    self._parts[number].make()
                except Exception:  # noqa: BLE001 - who reads the part meets the same error, and tells it
                    return

        threading.Thread(target=make, name=f"fetch part {number}", daemon=True).start()


def _union(parts: Iterable[Part]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for part in parts:
        for name, feature in part.features.items():
            found.setdefault(name, feature)
    return found


def is_text(feature: Any) -> bool:
    return feature is TextColumn or is_plain(feature)


class _Mapped:
    """An Arrow file in memory of its own, whose pages can be given back once they were read."""

    def __init__(self, path: Path) -> None:
        import pyarrow as pa  # noqa: PLC0415 - heavy, and here a dataset is open already

        with path.open("rb") as file:
            self._memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        buffer = pa.py_buffer(self._memory)
        try:
            table = pa.ipc.open_file(buffer).read_all()
        except pa.ArrowInvalid:
            table = pa.ipc.open_stream(buffer).read_all()
        self._columns = {
            name: (table.column(place), table.schema.field(place).metadata == AS_JSON)
            for place, name in enumerate(table.column_names)
        }
        self.flat = frozenset(
            name for name, (column, encoded) in self._columns.items() if not encoded and _is_flat(column.type)
        )
        """Columns whose cells take no more memory than they take in the file."""
        self._rows = table.num_rows
        self.give_back()  # opening reads what stands around each batch

    def cells(self, name: str, rows: range | list[int]) -> list[Any]:
        if name not in self._columns:
            return [None] * len(rows)
        column, encoded = self._columns[name]
        # Not `take`, which joins the whole column's chunks first.
        cells: list[Any] = (
            column.slice(rows.start, len(rows)).to_pylist()
            if isinstance(rows, range)
            else [column[row].as_py() for row in rows]
        )
        if len(cells) < len(rows):
            raise ValueError("the column has fewer rows than its file says")
        if encoded:
            cells = [None if cell is None else json.loads(cell) for cell in cells]
        return cells

    def owned(self, name: str, rows: range | list[int] | None = None) -> Iterator[tuple[str, str | None]]:
        """Of all rows, or of `rows`."""
        if name not in self._columns:
            return
        column, encoded = self._columns[name]
        if rows is None:
            parts = [column]
        elif isinstance(rows, range):
            parts = [column.slice(rows.start, len(rows))]
        else:
            parts = [column.slice(row, 1) for row in rows]
        for chunk in (chunk for part in parts for chunk in part.chunks):
            if encoded:
                yield from (each for cell in chunk.to_pylist() if cell for each in owned_in(json.loads(cell)))
            else:
                yield from ((path, None) for path in _paths(chunk))

    def give_back(self) -> None:
        # The next read of a page fetches it from the file.
        if hasattr(mmap, "MADV_DONTNEED"):
            self._memory.madvise(mmap.MADV_DONTNEED)


def _is_flat(kind: Any) -> bool:
    """Bytes, texts, numbers, and structs of them; a list's few bytes may say that it has a billion items."""
    import pyarrow as pa  # noqa: PLC0415 - heavy, and here a dataset is open already

    if pa.types.is_struct(kind):
        return all(_is_flat(field.type) for field in kind)
    return any(is_kind(kind) for is_kind in (
        pa.types.is_binary, pa.types.is_large_binary, pa.types.is_string, pa.types.is_large_string,
        pa.types.is_primitive,
    ))  # fmt: skip


def _paths(chunk: Any) -> Iterator[str]:
    import pyarrow as pa  # noqa: PLC0415 - heavy, and here a dataset is open already
    import pyarrow.compute as pc  # noqa: PLC0415

    kind = chunk.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        yield from _paths(chunk.flatten())
    elif pa.types.is_struct(kind) and "path" in {field.name for field in kind}:
        paths = pc.struct_field(chunk, "path")
        if "bytes" in {field.name for field in kind}:
            paths = paths.filter(pc.is_null(pc.struct_field(chunk, "bytes")))
        yield from named_in(paths.to_pylist())
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
        yield from named_in(chunk.to_pylist())


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """
    A file to write that becomes `path` when it is complete, and nothing when it is not.

    Raises:
        OutOfResources: the disk is full.
        ConfigurationError: the folder cannot be written.
    """
    with keeping(path.parent), replacing(path) as made:
        yield made


@contextmanager
def keeping(folder: Path | str) -> Iterator[None]:
    """
    Around what writes into the cache at `folder`.

    Raises:
        OutOfResources: the disk is full.
        ConfigurationError: the folder cannot be written.
    """
    try:
        yield
    except OSError as error:
        said = f"The dataset's rows cannot be kept in {folder}: {error.strerror}."
        if error.errno in DISK_FULL:
            raise OutOfResources(
                said,
                hint="Free space there, or set HF_HOME to a folder on a larger disk; then resume: "
                "what is there already is kept.",
            ) from error
        if error.errno in {errno.EACCES, errno.EROFS}:
            raise ConfigurationError(said, hint="Set HF_HOME to a folder that can be written.") from error
        raise

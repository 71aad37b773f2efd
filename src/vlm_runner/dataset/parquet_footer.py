"""
What of a Parquet footer must be sound before its columns are looked at.

pyarrow asks for a column's metadata by a call that lets no C++ exception through: where they contradict the
schema, the process is aborted. So they are read here first (Thrift's compact protocol; Parquet format,
parquet.thrift: FileMetaData, RowGroup, ColumnChunk, ColumnMetaData, SizeStatistics).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from vlm_runner.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

ROW_GROUPS, COLUMNS, ROWS, META_DATA, ENCRYPTION, SIZE_STATISTICS = 4, 1, 3, 3, 8, 16
UNENCODED_BYTES, REPETITION_LEVELS, DEFINITION_LEVELS = 1, 2, 3
DEEPEST: Final = 32
"""Structures and lists inside of each other; Parquet's own need ten."""


def check_columns(path: Path, schema: Any, name: str) -> None:
    """
    Raises:
        DataError: the row groups of the file `path` do not have the columns of `schema`.
    """
    for number, group in enumerate(_list(_footer(path, name), ROW_GROUPS)):
        if (wrong := _fault(group, schema)) is not None:
            raise DataError(f"{name} is damaged: in row group {number} {wrong}.")


def _fault(group: dict[int, Any], schema: Any) -> str | None:
    columns, rows = _list(group, COLUMNS), _fields(group).get(ROWS)
    if not isinstance(rows, int) or rows < 0:
        return f"there are {rows} rows"
    if len(columns) != len(schema):
        return f"there are {len(columns)} columns, and {len(schema)} in its schema"
    for index, column in enumerate(columns):
        known = schema.column(index)
        if ENCRYPTION in _fields(column):
            return f"column {known.path[:100]} is encrypted"
        if META_DATA not in _fields(column):
            return f"column {known.path[:100]} has no metadata"
        sizes = _fields(_fields(column.get(META_DATA)).get(SIZE_STATISTICS))
        counted = UNENCODED_BYTES in sizes and known.physical_type != "BYTE_ARRAY"
        if counted or not (
            len(_list(sizes, REPETITION_LEVELS)) in {0, known.max_repetition_level + 1}
            and len(_list(sizes, DEFINITION_LEVELS)) in {0, known.max_definition_level + 1}
        ):
            return f"the statistics of column {known.path[:100]} are of another column"
    return None


def _fields(value: Any) -> dict[int, Any]:
    """A field of another type is as good as none (so Thrift reads it)."""
    return value if isinstance(value, dict) else {}


def _list(fields: Any, number: int) -> list[Any]:
    value = _fields(fields).get(number)
    return value if isinstance(value, list) else []


def _footer(path: Path, name: str) -> dict[int, Any]:
    with path.open("rb") as file:
        file.seek(-8, 2)
        length = int.from_bytes(file.read(4), "little")
        file.seek(-8 - length, 2)
        body = file.read(length)
    try:
        found: dict[int, Any] = _Compact(body).value(_STRUCT, 0)
    except (IndexError, ValueError) as error:
        raise DataError(f"{name} is damaged: its footer cannot be read ({error}).") from None
    return found


_TRUE, _FALSE, _STRUCT = 1, 2, 12


class _Compact:
    """Values by Thrift's compact protocol (Apache Thrift, doc/specs/thrift-compact-protocol)."""

    def __init__(self, body: bytes) -> None:
        self._body, self._at = body, 0

    def value(self, kind: int, depth: int) -> Any:
        """
        A structure as its fields by number; binaries as None, since none is needed.

        Raises:
            IndexError: it goes on behind the end.
            ValueError: a type that there is not, or one thing inside of the other too often.
        """
        if depth > DEEPEST:
            raise ValueError("too deeply nested")
        match kind:
            case 4 | 5 | 6:  # integers of 16, 32 and 64 bits
                number = self._varint()
                return number >> 1 ^ -(number & 1)
            case 12:
                return self._struct(depth)
            case 9 | 10:  # list, set
                return self._list(depth)
            case 8:  # bytes, text
                self._skip(self._varint())
            case 1 | 2 | 3:  # truth values in a list, and bytes
                self._skip(1)
            case 7:  # a floating-point number
                self._skip(8)
            case 11:
                self._map(depth)
            case _:
                raise ValueError(f"no type {kind}")
        return None

    def _struct(self, depth: int) -> dict[int, Any]:
        found: dict[int, Any] = {}
        field = 0
        while head := self._byte():
            kind, step = head & 15, head >> 4
            field = field + step if step else self.value(4, depth)
            # The type of a field is its truth value, which takes no byte of its own.
            found[field] = kind == _TRUE if kind in {_TRUE, _FALSE} else self.value(kind, depth + 1)
        return found

    def _list(self, depth: int) -> list[Any]:
        head = self._byte()
        size = self._varint() if head >> 4 == 15 else head >> 4
        return [self.value(head & 15, depth + 1) for _ in range(self._plausible(size))]

    def _map(self, depth: int) -> None:
        if size := self._varint():
            kinds = self._byte()
            for _ in range(self._plausible(size)):
                self.value(kinds >> 4, depth + 1)
                self.value(kinds & 15, depth + 1)

    def _plausible(self, size: int) -> int:
        """Each item takes a byte at least."""
        if size > len(self._body) - self._at:
            raise IndexError("a list is longer than the footer")
        return size

    def _skip(self, size: int) -> None:
        self._at += self._plausible(size)

    def _byte(self) -> int:
        found = self._body[self._at]
        self._at += 1
        return found

    def _varint(self) -> int:
        found = shift = 0
        while True:
            byte = self._byte()
            found |= (byte & 127) << shift
            if byte < 128:
                return found
            shift += 7
            if shift > 63:
                raise ValueError("a number of more than 64 bits")

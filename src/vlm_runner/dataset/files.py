"""Files of rows as parts of a table: Parquet, Arrow, JSON, CSV."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from functools import partial
from itertools import chain, count
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, AnyStr, Final

from vlm_runner.dataset.cells import (
    Shape,
    arrow_column,
    column_was_retyped,
    note_shape,
    was_retyped,
)
from vlm_runner.dataset.fingerprint import digest_of
from vlm_runner.dataset.parquet_footer import check_columns
from vlm_runner.dataset.storage import (
    blocks,
    compression,
    decompressed,
    most_unpacked,
    unpacked,
    unpacks_to_more,
)
from vlm_runner.dataset.table import Part, TextColumn, writing
from vlm_runner.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from vlm_runner.dataset.storage import Storage

PART_ROWS: Final = 1000
PART_BYTES: Final = 16 * 1024 * 1024
"""Rows and bytes of one part of a format that is read from its beginning."""
BATCH_BYTES: Final = 8 * 1024 * 1024
"""What is held in memory at once of a row group."""
FEWEST: Final = 16
"""Rows of a row group that are read at once at least."""
LONGEST_LINE: Final = 256 * 1024 * 1024
"""Bytes of one row of a text format: as many as a sample of an archive (`vlm_runner.dataset.folders`)."""
ROWS_HAVE: Final = (
    {"image_id", "caption"}, {"image_id", "category_id"}, {"image", "question"}, {"image_id", "question"},
    {"image", "caption"}, {"image", "conversations"}, {"file_name", "id"},
)  # fmt: skip
"""Keys of what COCO, VQA and DocVQA call annotations, questions, data or images: not of a row's own parts."""
PARQUET: Final = b"PAR1"
TAIL: Final = 32 * 1024
"""Bytes that are read of a remote file's end; the footers of most are no longer."""
VERSION: Final = 1
"""Of the files in the cache; another one makes them anew."""

Values = tuple[dict[str, Any], int]
"""A row of a text format, and how many bytes it takes."""


def parquet_parts(
    storage: Storage, path: str, cache: Path, features: Mapping[str, Any] | None
) -> Iterator[Part]:
    """A part for each row group, which is fetched and unpacked when it is read."""
    import pyarrow.parquet as pq  # noqa: PLC0415 - heavy, and here a dataset is open already

    whole = not storage.remote or compression(path) is not None
    local = unpacked(storage, path, cache) if whole else None
    footer = pq.read_metadata(local) if local is not None else parquet_footer(storage, path, cache)
    check_columns(local or _footer_file(storage, path, cache), footer.schema, path)
    known = _features(footer.schema.to_arrow_schema(), features)
    kept = str(cache / digest_of("parquet", VERSION, storage.identity(path), _types(features))[:32])
    file = _Parquet(storage, path, local, footer, features)
    for number in range(footer.num_row_groups):
        group = footer.row_group(number)
        make = partial(file.row_group, number, Path(f"{kept}-{number:05d}.arrow"))
        yield Part(group.num_rows, known, make, complete=_complete(footer, number), slow=storage.remote)


def _complete(footer: Any, number: int) -> frozenset[str]:
    """Columns whose images are all there, as the row group's statistics say, or which hold bytes alone."""
    group = footer.row_group(number)
    found = set()
    for index in range(group.num_columns):
        column = group.column(index)
        name, _, inside = column.path_in_schema.partition(".")
        if column.physical_type != footer.schema.column(index).physical_type:
            # Whose statistics are asked for then, the library ends the process.
            raise DataError(f"A Parquet file is damaged: its column {name[:100]} is of two types.")
        statistics = column.statistics
        if (inside == "" and _is_binary(footer.schema.column(index))) or (
            inside in {"bytes", "list.element.bytes", "list.item.bytes"}
            and statistics is not None
            and statistics.has_null_count
            and statistics.null_count == 0
        ):
            found.add(name)
    return frozenset(found)


def _is_binary(column: Any) -> bool:
    """Bytes that are no text, and so name no file."""
    return bool(column.physical_type == "BYTE_ARRAY" and column.logical_type.type == "NONE")


def parquet_footer(storage: Storage, path: str, cache: Path) -> Any:
    """A remote file's footer, kept: a resumed run, and one without network, ask for it again."""
    import pyarrow.parquet as pq  # noqa: PLC0415 - see `parquet_parts`

    kept = _footer_file(storage, path, cache)
    if not kept.exists():
        with writing(kept) as temporary:
            temporary.write_bytes(PARQUET + _end(storage, path))
    return pq.read_metadata(kept)


def _footer_file(storage: Storage, path: str, cache: Path) -> Path:
    return cache / f"{digest_of('footer', VERSION, storage.identity(path))[:32]}.footer"


def _end(storage: Storage, path: str) -> bytes:
    """The footer, its length and the mark after it (Parquet format, "File Format"), without a byte twice."""
    size = storage.size(path)
    end = storage.read(path, max(0, size - TAIL), size)
    if len(end) < 8 or end[-4:] != PARQUET:
        raise DataError(f"{path} is not a Parquet file: its last bytes are {end[-4:]!r}.")
    length = int.from_bytes(end[-8:-4], "little") + 8
    if length > size:
        raise DataError(f"{path} is damaged: its footer is longer than the file.")
    if length > len(end):
        end = storage.read(path, size - length, size - len(end)) + end
    return end[-length:]


@dataclass(frozen=True, slots=True)
class _Parquet:
    storage: Storage
    path: str
    local: Path | None
    """None: only what is needed of it is fetched."""
    footer: Any
    features: Mapping[str, Any] | None

    def row_group(self, number: int, made: Path) -> Path:
        """A row group as an Arrow file, `made`; a few rows of it in memory at once."""
        if made.exists():
            return made
        import pyarrow as pa  # noqa: PLC0415 - see `parquet_parts`

        with writing(made) as temporary:
            source = self.local or temporary.with_suffix(".parquet")
            try:
                if self.local is None:
                    _fetch_row_group(self.storage, self.path, self.footer, number, source)
                self._convert(source, number, temporary)
            finally:
                if self.local is None:
                    source.unlink(missing_ok=True)
        pa.default_memory_pool().release_unused()
        return made

    def _convert(self, source: Path, number: int, into: Path) -> None:
        import pyarrow as pa  # noqa: PLC0415 - see `parquet_parts`
        import pyarrow.parquet as pq  # noqa: PLC0415
        from datasets.table import table_cast  # noqa: PLC0415

        group = self.footer.row_group(number)
        rows = max(FEWEST, min(group.num_rows, BATCH_BYTES * group.num_rows // max(1, group.total_byte_size)))
        columns = [group.column(index) for index in range(group.num_columns)]
        allowed = most = most_unpacked(sum(column.total_compressed_size for column in columns))
        target = _target_schema(self.features) or self.footer.schema.to_arrow_schema()
        with (
            pq.ParquetFile(source, metadata=self.footer, pre_buffer=False, buffer_size=1 << 20) as file,
            pa.ipc.new_file(into, target) as writer,
        ):
            if rows > FEWEST:
                # What a row takes in the file is no measure where rows only number values of a dictionary.
                some = next(file.iter_batches(FEWEST, row_groups=[number], use_threads=False), None)
                if some is not None:
                    rows = max(FEWEST, min(rows, BATCH_BYTES * some.num_rows // max(1, some.nbytes)))
            for batch in file.iter_batches(rows, row_groups=[number], use_threads=False):
                table = pa.Table.from_batches([batch])
                most -= table.nbytes
                if most < 0:
                    # One value that a million rows name costs a few bytes in the file.
                    raise unpacks_to_more(self.path, allowed)
                writer.write_table(table if table.schema == target else table_cast(table, target))


def _fetch_row_group(storage: Storage, path: str, footer: Any, number: int, into: Path) -> None:
    """Only this row group, at its own place in a file that is otherwise a hole."""
    spans = []
    group = footer.row_group(number)
    for index in range(group.num_columns):
        column = group.column(index)
        start = column.data_page_offset
        if column.has_dictionary_page and column.dictionary_page_offset is not None:
            start = min(start, column.dictionary_page_offset)
        spans.append((start, start + column.total_compressed_size))
    with into.open("wb") as file:
        file.truncate(storage.size(path))
        for start, stop in _joined(spans):
            for first, last in blocks(start, stop):
                file.seek(first)
                body = storage.read(path, first, last)
                if len(body) != last - first:
                    raise DataError(f"{path} ended at byte {first + len(body):,} while it was read.")
                file.write(body)


def _joined(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for start, stop in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(stop, joined[-1][1]))
        else:
            joined.append((start, stop))
    return joined


def arrow_parts(
    storage: Storage, path: str, cache: Path, features: Mapping[str, Any] | None
) -> Iterator[Part]:
    """An Arrow file is one part, and is mapped where it lies."""
    import pyarrow as pa  # noqa: PLC0415 - see `parquet_parts`

    file = unpacked(storage, path, cache)
    with pa.memory_map(str(file)) as memory:
        try:
            opened = pa.ipc.open_file(memory)
            schema = opened.schema
            batches = (opened.get_batch(number) for number in range(opened.num_record_batches))
        except pa.ArrowInvalid:
            memory.seek(0)
            stream = pa.ipc.open_stream(memory)
            schema, batches = stream.schema, iter(stream)
        rows = 0
        for batch in batches:
            # Arrow believes a file's own offsets: one that points elsewhere would end the process.
            batch.validate(full=True)
            rows += batch.num_rows
    yield Part(rows, _features(schema, features), lambda: file)


def _features(schema: Any, features: Mapping[str, Any] | None) -> dict[str, Any]:
    from datasets import Features  # noqa: PLC0415 - see `parquet_parts`

    return dict(features if features is not None else Features.from_arrow_schema(schema))


def _target_schema(features: Mapping[str, Any] | None) -> Any:
    if features is None:
        return None
    from datasets import Features  # noqa: PLC0415 - see `parquet_parts`

    return Features(features).arrow_schema


def _types(features: Mapping[str, Any] | None) -> str:
    return "" if features is None else repr(dict(features))


def text_parts(cache: Path, kind: str, identity: str, rows: Iterator[Values]) -> Iterator[Part]:
    """
    `rows` in parts, kept as Arrow; from the cache where they were read through before.

    `identity` is of the content that they come from. `rows` is read only as far as parts are asked for.
    """
    folder = cache / digest_of(kind, VERSION, identity)[:32]
    index = folder / "index.json"
    if (kept := _kept(folder, index)) is not None:
        yield from kept
        return
    entries = []
    for number, values in enumerate(_pieces(rows)):
        entry = _write(folder / f"{number:05d}.arrow", values, csv_like=kind.startswith("csv"))
        entries.append(entry)
        yield _part(folder / f"{number:05d}.arrow", entry)
    with writing(index) as temporary:
        temporary.write_text(json.dumps(entries), encoding="utf-8")


def _kept(folder: Path, index: Path) -> list[Part] | None:
    try:
        entries = json.loads(index.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    files = [folder / f"{number:05d}.arrow" for number in range(len(entries))]
    if not all(file.exists() for file in files):
        return None
    return [_part(file, entry) for file, entry in zip(files, entries, strict=True)]


def _part(file: Path, entry: dict[str, Any]) -> Part:
    from datasets import Image  # noqa: PLC0415 - see `parquet_parts`

    features = {name: Image() if name in entry["images"] else TextColumn for name in entry["columns"]}
    return Part(entry["rows"], features, lambda: file, entry["shapes"], frozenset(entry["retyped"]))


def _pieces(rows: Iterator[Values]) -> Iterator[list[dict[str, Any]]]:
    piece: list[dict[str, Any]] = []
    size = 0
    for values, taken in rows:
        piece.append(values)
        size += taken
        if len(piece) >= PART_ROWS or size >= PART_BYTES:
            yield piece
            piece, size = [], 0
    if piece:
        yield piece


def _write(path: Path, rows: list[dict[str, Any]], *, csv_like: bool) -> dict[str, Any]:
    import pyarrow as pa  # noqa: PLC0415 - see `parquet_parts`

    names = list(dict.fromkeys(chain.from_iterable(rows)))
    fields, arrays, shapes, images, retyped = [], [], {}, [], []
    for name in names:
        cells = [row.get(name) for row in rows]
        if any(isinstance(cell, dict) and isinstance(cell.get("bytes"), bytes) for cell in cells):
            kind = pa.struct([("bytes", pa.large_binary()), ("path", pa.string())])
            fields.append(pa.field(name, kind))
            arrays.append(pa.array(cells, kind))
            images.append(name)
            continue
        field, array = arrow_column(name, cells)
        fields.append(field)
        arrays.append(array)
        shape: Shape = {}
        for cell in cells:
            note_shape(cell, shape)
        if shape.keys() & {"keys", "items"}:
            shapes[name] = shape
        if column_was_retyped(cells) if csv_like else was_retyped(shape):
            retyped.append(name)
    table = pa.Table.from_arrays(arrays, schema=pa.schema(fields))
    if not fields:
        raise DataError(f"The rows of {path.name} have no columns.")
    with writing(path) as temporary, pa.ipc.new_file(temporary, table.schema) as writer:
        writer.write_table(table)
    return {"rows": len(rows), "columns": names, "shapes": shapes, "images": images, "retyped": retyped}


def json_rows(storage: Storage, path: str) -> Iterator[Values]:
    """
    The rows of a file of JSON lines, or of one list of objects.

    Raises:
        DataError: a line is not JSON, or a row is not an object; says which.
    """
    with decompressed(storage, path) as file:
        beginning = file.peek(64)[:64].removeprefix(b"\xef\xbb\xbf").lstrip()
        if beginning.startswith(b"["):
            yield from _listed(path, file.read())
            return
        for number, line in enumerate(_lines(path, file), 1):
            text = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
            if not text.strip():
                continue
            try:
                value = json.loads(text)
            except (ValueError, RecursionError) as error:
                if number == 1 and (whole := _one_document(text, file)) is not None:
                    raise _one_object(path, whole) from None
                raise DataError(
                    f"{path} cannot be read: line {number:,} is not JSON ({error}).",
                    hint="Each line holds one object; or the file holds one list of objects.",
                ) from None
            if number == 1 and _holds_rows(value) and not file.peek(1).strip():
                raise _one_object(path, value)
            yield _object(path, value, f"line {number:,}"), len(line)


def _holds_rows(value: object) -> bool:
    """Whether an object is no row, but holds rows in a list, as those of COCO and DocVQA do."""
    if not isinstance(value, dict):
        return False
    lists = [child for child in value.values() if isinstance(child, list) and len(child) > 1]
    return _is_by_columns(value) or any(all(map(_is_row, child)) for child in lists)


def _is_row(item: object) -> bool:
    return isinstance(item, dict) and any(names <= item.keys() for names in ROWS_HAVE)


def _lines(path: str, file: IO[AnyStr]) -> Iterator[AnyStr]:
    """Of bytes or of text, none longer than LONGEST_LINE."""
    for number in count(1):
        line = file.readline(LONGEST_LINE + 1)
        if len(line) > LONGEST_LINE:
            raise _too_long(path, number)
        if not line:
            return
        yield line


def _too_long(path: str, line: int) -> DataError:
    return DataError(f"{path} cannot be read: line {line:,} has more than {LONGEST_LINE:,} bytes.")


def _listed(path: str, text: bytes) -> Iterator[Values]:
    try:
        values = json.loads(text.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read: it is not JSON ({error}).") from None
    size = len(text) // max(1, len(values))
    for number, value in enumerate(values):
        yield _object(path, value, f"item {number:,}"), size


def _object(path: str, value: object, where: str) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    raise DataError(
        f"{path} cannot be read: {where} is a {_json_type(value)}, not an object.",
        hint='A row is an object with its columns, such as {"image": "0.png", "output": "…"}.',
    )


def _json_type(value: object) -> str:
    kinds = {str: "string", list: "list", bool: "boolean", int: "number", float: "number", type(None): "null"}
    return kinds.get(type(value), type(value).__name__)


def _one_document(first: bytes, file: Any) -> dict[str, Any] | None:
    try:
        value = json.loads(first + file.read())
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _one_object(path: str, value: dict[str, Any]) -> DataError:
    if {"images", "annotations"} <= value.keys():
        return DataError(
            f"{path} is in COCO's format: its images and annotations are separate lists, not rows.",
            hint="Write one JSON line for each image, with the image's file name and the answer.",
        )
    if _is_by_columns(value):
        return DataError(
            f"{path} holds one object with a table's columns, as pandas' to_json writes it by default.",
            hint='Write rows: to_json("rows.jsonl", orient="records", lines=True).',
        )
    lists = [name for name, child in value.items() if isinstance(child, list)]
    where = f" Its rows may be in {', '.join(lists)}." if lists else ""
    alone = ""
    if len(lists) == 1 and lists[0].isidentifier():
        alone = f": jq .{lists[0]} {Path(path).name} > rows.json"
    return DataError(
        f"{path} holds one object, not rows.{where}",
        hint=f"Write one JSON object a line, or a list of them{alone}.",
    )


def _is_by_columns(value: dict[str, Any]) -> bool:
    """Whether each value is a column: its cells by the numbers of their rows."""
    columns = list(value.values())
    return bool(columns) and all(
        isinstance(column, dict) and column and all(map(str.isdecimal, column)) for column in columns
    )


def csv_rows(storage: Storage, path: str, separator: str | None = None) -> Iterator[Values]:
    """
    The rows of a file with a header: every cell is the text it is, and an empty one is missing.

    `separator`: default: what the header has, of `,`, `;` and tab; tab for `.tsv`.

    Raises:
        DataError: a row has another number of cells than the header, or it is not UTF-8; says which.
    """
    csv.field_size_limit(LONGEST_LINE)
    with decompressed(storage, path) as file, io.TextIOWrapper(file, "utf-8-sig", newline="") as text:
        try:
            yield from _cells(path, text, separator)
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path} cannot be read: it is not UTF-8 ({error.reason} at byte {error.start:,}).",
                hint="Save it as UTF-8.",
            ) from None


def _cells(path: str, text: io.TextIOWrapper, separator: str | None) -> Iterator[Values]:
    lines = _lines(path, text)
    beginning = next(lines, "")
    reader = csv.reader(
        chain([beginning], lines), delimiter=separator or _separator(path, beginning), strict=True
    )
    try:
        header = next(reader, [])
        if len(set(header)) < len(header):
            twice = next(name for name in header if header.count(name) > 1)
            raise DataError(f"{path} has two columns '{twice}'.", hint="Rename one of them.")
        for row in filter(None, reader):
            if len(row) != len(header):
                raise DataError(
                    f"{path} cannot be read: line {reader.line_num:,} has {len(row)} cells, and its header "
                    f"has {len(header)}.",
                    hint="Quote cells that hold the separator or a line break.",
                )
            yield {name: cell or None for name, cell in zip(header, row, strict=True)}, sum(map(len, row))
    except csv.Error as error:
        raise DataError(f"{path} cannot be read: line {reader.line_num:,}: {error}.") from None


def _separator(path: str, header: str) -> str:
    if ".tsv" in path.lower():
        return "\t"
    if "," in header:
        return ","
    return max(";\t", key=header.count) if any(mark in header for mark in ";\t") else ","

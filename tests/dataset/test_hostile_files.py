"""Files that unpack to more than a machine has, or are not what they say: refused in a sentence, soon."""

from __future__ import annotations

import gzip
import io
import json
import resource
from base64 import b64encode
from typing import TYPE_CHECKING, Any

import pytest

from vlm_runner.dataset import files, memory, open_dataset, storage
from vlm_runner.errors import DataError, RowError
from vlm_runner.spec import DatasetSpec

from .world import png, row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from vlm_runner.dataset import Opened

MB = 1024 * 1024


@pytest.fixture(autouse=True)
def _plain_allocator() -> Iterator[None]:
    import pyarrow as pa
    import pyarrow.parquet

    # Its own allocator reserves a gigabyte ahead, which counts as what the process has.
    pool = pa.default_memory_pool()
    pa.set_memory_pool(pa.system_memory_pool())
    # A thread takes eight megabytes for its stack, of the few that a test allows: they are there before.
    threads = pa.cpu_count(), pa.io_thread_count()
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    columns = {str(number): ["x" * 1000] for number in range(4)}
    pa.ipc.open_file(arrow(pa.table(columns), "zstd")).read_all()
    pa.parquet.read_table(io.BytesIO(parquet(pa.table(columns))), pre_buffer=True)
    yield
    pa.set_cpu_count(threads[0])
    pa.set_io_thread_count(threads[1])
    pa.set_memory_pool(pool)


@pytest.fixture(autouse=True)
def _smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the real limits, for a bomb of some megabytes."""
    monkeypatch.setattr(memory, "MOST", 48 * MB)
    monkeypatch.setattr(storage, "MOST_SMALL", 16 * MB)
    monkeypatch.setattr(files, "LONGEST_LINE", 1 * MB)


def opened(path: Path) -> Opened:
    return open_dataset(DatasetSpec(source=str(path)), cache_dir=path.parent / "cache", required=())


def arrow(table: Any, compression: str | None = None) -> bytes:
    import pyarrow as pa

    sink = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_file(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    return sink.getvalue()


def parquet(table: Any, **options: Any) -> bytes:
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()


def one_value_many_times() -> bytes:
    """The 12 kB of which lint made 6.9 GB: a dictionary of one text, and the rows that name it."""
    import pyarrow as pa

    page = pa.DictionaryArray.from_arrays(pa.array([0] * 1000, pa.int32()), pa.array(["x" * 100_000]))
    images = pa.array([b"x"] * 1000)
    return parquet(pa.table({"image": images, "html": page}), compression="zstd", store_schema=False)


def zeros() -> bytes:
    import pyarrow as pa

    # Not copied: what Arrow's allocator once had it keeps, and could use within the limit.
    data, offsets = pa.py_buffer(bytes(96 * MB)), pa.array([0, 96 * MB], pa.int32()).buffers()[1]
    return arrow(pa.table({"image": [b"x"], "html": pa.StringArray.from_buffers(1, offsets, data)}), "zstd")


BLANKS = b" " * 100_000
BOMBS: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "parquet": ("train.parquet", one_value_many_times, "unpacks to more than|to more memory"),
    "arrow": ("train.arrow", zeros, "unpacks to more memory"),
    "json": ("train.json.gz", lambda: gzip.compress(b"[" + b"0," * (24 * MB) + b"0]", 1), "to more memory"),
    "line": ("train.jsonl.gz", lambda: gzip.compress(b"{" + b" " * (2 * MB)), "line 1 has more than"),
    "cell": ("train.csv.gz", lambda: gzip.compress(b"a\n" + b" " * (2 * MB)), "line 2 has more than"),
    "quoted cell": ("train.csv.gz", lambda: gzip.compress(b'a\n"' + b" \n" * MB), "field larger than"),
    "lines": ("train.jsonl.gz", lambda: gzip.compress((b'{"a": 1' + BLANKS + b"}\n") * 500), "to more than"),
    "arrow.gz": ("train.arrow.gz", lambda: gzip.compress(bytes(24 * MB)), "unpacks to more than"),
}


@pytest.mark.parametrize(("name", "body", "said"), BOMBS.values(), ids=BOMBS)
def test_a_file_that_unpacks_to_too_much_is_refused(
    name: str, body: Callable[[], bytes], said: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(body())
    before = resource.getrlimit(resource.RLIMIT_DATA)

    with pytest.raises(DataError, match=said) as refused:
        for _ in opened(tmp_path / name).train.scan():
            pass

    assert name in str(refused.value) or "train" in str(refused.value)
    assert resource.getrlimit(resource.RLIMIT_DATA) == before


def test_the_same_rows_within_the_limits_are_read(tmp_path: Path) -> None:
    import pyarrow as pa

    (tmp_path / "train.parquet").write_bytes(parquet(pa.Table.from_pylist([row(0), row(1)])))

    assert [each.index for each in opened(tmp_path / "train.parquet").train.rows()] == [0, 1]


def broken_text(table: Any) -> Any:
    """Row 1 of `html` begins with a byte that begins nothing in UTF-8."""
    import pyarrow as pa

    texts = pa.array([b"<p>0", b"\xff<p>", b"<p>2"], pa.binary()).cast(pa.string(), safe=False)
    return table.set_column(table.schema.get_field_index("html"), "html", texts)


def far_time(table: Any) -> Any:
    import pyarrow as pa

    return table.append_column("when", pa.array([0, 2**62, 0], pa.timestamp("us")))


def test_a_cell_that_is_not_what_its_column_says_is_its_rows_error(tmp_path: Path) -> None:
    import pyarrow as pa

    table = pa.Table.from_pylist([row(0), row(1), row(2)])
    for number, (change, said) in enumerate(
        {
            broken_text: "train row 1, field 'html': is not UTF-8 (byte 0)",
            far_time: "train row 1, field 'when': cannot be read (",
        }.items()
    ):
        path = tmp_path / f"train-{number}.parquet"
        path.write_bytes(parquet(change(table)))
        good, bad, last = opened(path).train.scan()

        assert isinstance(bad, RowError)
        assert bad.message.startswith(said)
        assert bad.hint == 'Repair the row, or set on_bad_row = "skip" under [dataset].'
        assert bad.code == "T214"
        assert (good.index, last.index) == (0, 2)  # type: ignore[union-attr]


def test_json_that_is_nested_too_deeply_is_said_to_be(tmp_path: Path) -> None:
    image = f"data:image/png;base64,{b64encode(png(0)).decode()}"
    deep = {"image": image, "html": json.loads("[" * 900 + "]" * 900)}
    (tmp_path / "train.jsonl").write_text(f"{json.dumps(deep)}\n")

    with pytest.raises(DataError, match=r"nested too deeply|recursion"):
        list(opened(tmp_path / "train.jsonl").train.rows())


def test_an_arrow_file_whose_offsets_lie_is_refused(tmp_path: Path) -> None:
    """Arrow believes them, and reads what lies there, or nothing that can be read: the process ends."""
    import pyarrow as pa

    body = bytearray(arrow(pa.table({"image": [b"abc", b"def"], "html": ["x", "y"]})))
    at = body.index((3).to_bytes(4, "little") + (6).to_bytes(4, "little"))
    body[at + 4 : at + 8] = (2**31 - 1).to_bytes(4, "little")
    (tmp_path / "train.arrow").write_bytes(body)

    with pytest.raises(DataError, match="cannot be read"):
        list(opened(tmp_path / "train.arrow").train.rows())

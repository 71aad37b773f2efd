"""How much of a file is read at once: its end, its lines, its shapes part by part."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vlm_runner.dataset import files, folders
from vlm_runner.dataset.cells import Shape, merge_shapes, note_shape
from vlm_runner.dataset.files import TAIL, parquet_footer
from vlm_runner.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from vlm_runner.dataset.storage import Storage


class Counting:
    """A storage of one file that notes which of its bytes are read."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.read_ranges: list[tuple[int, int]] = []

    def size(self, _path: str) -> int:
        return len(self.body)

    def read(self, _path: str, start: int, stop: int) -> bytes:
        self.read_ranges.append((start, stop))
        return self.body[start:stop]

    def identity(self, _path: str) -> str:
        return "a"


def parquet(columns: int) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table({f"column {number}": ["x"] for number in range(columns)}), out)
    return out.getvalue()


def footer_of(body: bytes) -> int:
    return int.from_bytes(body[-8:-4], "little") + 8


def read(body: bytes, cache: Path) -> tuple[Any, list[tuple[int, int]]]:
    storage = Counting(body)
    return parquet_footer(cast("Storage", storage), "a.parquet", cache), storage.read_ranges


def test_the_footer_of_a_file_that_is_longer_than_the_tail_costs_one_read(tmp_path: Path) -> None:
    body = parquet(300)
    assert len(body) > TAIL > footer_of(parquet(3))
    small = b"PAR1" + bytes(TAIL) + parquet(3)[4:]

    footer, ranges = read(small, tmp_path)

    assert footer.num_columns == 3
    assert ranges == [(len(small) - TAIL, len(small))]
    assert TAIL == 32_768


def test_a_footer_longer_than_the_tail_costs_two_reads_and_no_byte_twice(tmp_path: Path) -> None:
    body = parquet(300)
    length = footer_of(body)
    assert length > TAIL

    footer, ranges = read(body, tmp_path)

    assert footer.num_columns == 300
    assert ranges == [(len(body) - TAIL, len(body)), (len(body) - length, len(body) - TAIL)]


def test_a_footer_as_long_as_the_tail_costs_one_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = parquet(3)
    monkeypatch.setattr(files, "TAIL", footer_of(body))

    footer, ranges = read(body, tmp_path)

    assert footer.num_columns == 3
    assert len(ranges) == 1


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        (b"PAR1", "is not a Parquet file"),
        (b"PAR1" + bytes(40) + b"PAR2", "its last bytes are b'PAR2'"),
        (b"PAR1" + (900).to_bytes(4, "little") + b"PAR1", "its footer is longer than the file"),
    ],
)
def test_what_has_no_footer_is_refused(tmp_path: Path, body: bytes, wrong: str) -> None:
    with pytest.raises(DataError, match=wrong):
        read(body, tmp_path)


def test_a_row_may_be_as_long_as_a_sample_of_an_archive() -> None:
    assert files.LONGEST_LINE == folders.MOST_SAMPLE == 256 * 1024 * 1024


VALUES = ["2024-03-01", "soon", 1, 2.5, None, True, {"a": "2024-03-01"}, {"a": 1, "b": []}, [1], ["x", [2.5]]]


@pytest.mark.parametrize("first", VALUES, ids=str)
@pytest.mark.parametrize("second", VALUES, ids=str)
def test_shapes_of_two_parts_are_merged_as_if_they_were_one(first: Any, second: Any) -> None:
    whole, one, two = Shape(), Shape(), Shape()
    for value in (first, second):
        note_shape(value, whole)
    note_shape(first, one)
    note_shape(second, two)

    merge_shapes(one, two)

    assert one == whole

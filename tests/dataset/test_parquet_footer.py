"""A Parquet footer that contradicts itself is refused before pyarrow aborts the process over it."""

from __future__ import annotations

import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vlm_runner.dataset.parquet_footer import check_columns
from vlm_runner.errors import DataError

CORPUS = Path(__file__).parents[1] / "fuzz" / "corpus" / "parquet"
TABLE = pa.table(
    {
        "image": [{"bytes": b"x" * 50, "path": None}, None, {"bytes": None, "path": "a.png"}],
        "text": ["a", "b" * 3000, None],
        "turns": [[{"role": "user", "content": ["x", "y"]}], [], None],
        "map": pa.array([[("k", 1)], [], None], pa.map_(pa.string(), pa.int64())),
        "number": [1.5, None, float("nan")],
        "flag": [True, False, None],
        "when": pa.array([1, 2, None], pa.timestamp("us", tz="UTC")),
    }
)


@pytest.mark.parametrize(
    "options", [{}, {"write_statistics": False}, {"version": "1.0"}, {"use_dictionary": False}]
)
def test_what_pyarrow_writes_is_sound(options: dict[str, object], tmp_path: Path) -> None:
    path = tmp_path / "sound.parquet"
    pq.write_table(TABLE, path, row_group_size=1, write_page_index=True, **options)
    schema = pq.read_metadata(path).schema

    check_columns(path, schema, "sound.parquet")

    assert len(schema) > len(TABLE.column_names)


def test_columns_of_another_file_are_damage(tmp_path: Path) -> None:
    """Of other levels, of another number, and statistics of bytes where there are none."""
    path = tmp_path / "a.parquet"
    pq.write_table(TABLE.select(["text", "turns", "number"]), path)

    def schema(*names: str) -> object:
        pq.write_table(TABLE.select(list(names)), tmp_path / "b.parquet")
        return pq.read_metadata(tmp_path / "b.parquet").schema

    for other, wrong in (
        (schema("text"), r"there are 4 columns, and 1 in its schema"),
        (schema("text", "number", "flag", "when"), "the statistics of column number are of another column"),
        (schema("number", "turns", "number"), "the statistics of column number are of another column"),
    ):
        with pytest.raises(DataError, match=wrong):
            check_columns(path, other, "a.parquet")


def test_histograms_that_do_not_fit_end_no_process() -> None:
    """What the fuzzer found: pyarrow 26 aborts over it (`group.column(0)`)."""
    path = CORPUS / "histogram"

    with pytest.raises(DataError, match=r"train\.parquet is damaged"):
        check_columns(path, pq.read_metadata(path).schema, "train.parquet")


def test_a_damaged_footer_is_an_error_of_ours_and_no_other(tmp_path: Path) -> None:
    path, chance = tmp_path / "a.parquet", random.Random(1)
    pq.write_table(TABLE, path, row_group_size=1)
    sound, schema = path.read_bytes(), pq.read_metadata(path).schema
    start = len(sound) - 8 - int.from_bytes(sound[-8:-4], "little")
    refused = 0
    for _ in range(2000):
        body = bytearray(sound)
        for _ in range(chance.choice((1, 3))):
            body[chance.randrange(start, len(body) - 8)] = chance.choice((0, 255, 127, chance.randrange(256)))
        path.write_bytes(body)
        try:
            check_columns(path, schema, "a.parquet")
        except DataError:
            refused += 1

    assert refused > 200

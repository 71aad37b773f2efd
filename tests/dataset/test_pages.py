"""Reading a mapped dataset through does not fill memory with it."""

import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vlm_runner.dataset import open_dataset
from vlm_runner.dataset.in_place import bytes_of
from vlm_runner.dataset.table import EVERY, MOST_OPEN
from vlm_runner.spec import DatasetSpec

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="pages are given back on Linux only")

MB = 1024 * 1024


def images(count: int) -> list[bytes]:
    return [bytes([number]) * MB for number in range(count)]


def resident(folder: Path) -> int:
    """Bytes in memory of Arrow files below `folder`, that this process has mapped."""
    found, ours = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split(maxsplit=1)[0]:
            ours = str(folder) in line
        elif ours and line.startswith("Rss:"):
            found += int(line.split()[1]) * 1024
    return found


def test_what_was_read_does_not_stay_in_memory(tmp_path: Path) -> None:
    data, cache = tmp_path / "data", tmp_path / "cache"
    data.mkdir()
    held = [{"bytes": body, "path": None} for body in images(40)]
    pq.write_table(pa.table({"image": held}), data / "train.parquet", row_group_size=4)
    subset = open_dataset(DatasetSpec(source=str(data)), cache_dir=cache, required=()).train
    most = 0
    for row, expected in zip(subset.rows(), images(40), strict=True):
        assert row.image == expected
        most = max(most, resident(cache))

    assert 0 < most <= EVERY + 4 * MB
    assert [bytes_of(row.image)[:1] for row in subset.rows(0, 3)] == [b"\0", b"\1", b"\2"]


def test_a_row_group_is_unpacked_some_megabytes_at_a_time_whatever_its_rows_take_in_the_file(
    tmp_path: Path,
) -> None:
    """A value that each row names by its number is in the file once, and in memory once a row."""
    data, cache = tmp_path / "data", tmp_path / "cache"
    data.mkdir()
    rows = {"image": [{"bytes": b"x", "path": None}] * 200, "html": ["<p>" * 40_000] * 200}
    pq.write_table(pa.table(rows), data / "train.parquet", row_group_size=200)

    subset = open_dataset(DatasetSpec(source=str(data)), cache_dir=cache, required=()).train
    assert len([*subset.rows()]) == 200

    (made,) = (file for file in cache.rglob("*.arrow") if file.stat().st_size > 20 * MB)
    with pa.ipc.open_file(made) as file:
        sizes = [file.get_batch(number).nbytes for number in range(file.num_record_batches)]
    assert sum(sizes) >= 200 * 120_000
    assert max(sizes) <= 8 * MB


@pytest.mark.timeout(60)
def test_of_many_parts_some_are_open_at_once_and_the_others_are_opened_again(tmp_path: Path) -> None:
    data, cache = tmp_path / "data", tmp_path / "cache"
    data.mkdir()
    held = [{"bytes": bytes([number]), "path": None} for number in range(MOST_OPEN + 9)]
    pq.write_table(pa.table({"image": held}), data / "train.parquet", row_group_size=1)
    subset = open_dataset(DatasetSpec(source=str(data)), cache_dir=cache, required=()).train

    read = [bytes_of(row.image) for _ in range(2) for row in subset.rows()]

    assert read == 2 * [bytes([number]) for number in range(MOST_OPEN + 9)]
    mapped = [line for line in Path("/proc/self/maps").read_text().splitlines() if str(cache) in line]
    assert 0 < len(mapped) <= MOST_OPEN

"""The next part of a remote dataset is fetched while this one is used."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from datasets import Value

from vlm_runner.dataset.table import Part, Table

if TYPE_CHECKING:
    from pathlib import Path


def part(folder: Path, number: int, fetch: threading.Event) -> Part:
    def make() -> Path:
        if number:
            assert fetch.wait(30)
        file = folder / f"{number}.arrow"
        made = pa.table({"row": [number]})
        with pa.ipc.new_file(file, made.schema) as writer:
            writer.write_table(made)
        return file

    return Part(1, {"row": Value("int64")}, make, slow=True)


@pytest.fixture
def fetch() -> threading.Event:
    return threading.Event()


def ahead() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("fetch part")]


def test_a_part_that_is_fetched_ahead_keeps_no_process_alive(tmp_path: Path, fetch: threading.Event) -> None:
    table = Table(part(tmp_path, number, fetch) for number in range(3))

    assert table.read([0], ["row"]) == {"row": [0]}

    (thread,) = ahead()
    assert thread.name == "fetch part 1"
    assert thread.daemon
    fetch.set()
    thread.join(30)
    assert (tmp_path / "1.arrow").exists()
    assert table.read([1, 2], ["row"]) == {"row": [1, 2]}


def test_nothing_is_fetched_beyond_the_rows_that_are_asked(tmp_path: Path, fetch: threading.Event) -> None:
    table = Table((part(tmp_path, number, fetch) for number in range(3)), at_most=1)

    assert table.read([0], ["row"]) == {"row": [0]}

    assert not ahead()

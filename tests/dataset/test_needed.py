"""A dataset costs the rows that are used: bytes of the Hub, files in the cache."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from .hub_server import Hub, Repo, serving
from .world import png, row

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FILES, GROUPS, ROWS = 10, 10, 50
"""Files, row groups in each, and rows in each of those: 5,000 rows."""
PADDING = 5000
"""Bytes a row, and more than Parquet repeats in a footer."""

SCRIPT = """
import json, sys
from vlm_runner.dataset import open_dataset
from vlm_runner.errors import VlmRunnerError
from vlm_runner.spec import DatasetSpec

told = {}
for name, (settings, read) in json.load(sys.stdin).items():
    try:
        opened = open_dataset(DatasetSpec(**settings), required=())
        subsets = [opened.train, opened.validation] if opened.validation else [opened.train]
        rows = {
            each.name: [row.fields["html"] for row in each.rows(0, min(read or each.num_rows, each.num_rows))]
            for each in subsets
        }
        told[name] = {"rows": rows, "fingerprint": opened.fingerprint, "count": opened.train.num_rows}
    except VlmRunnerError as error:
        told[name] = {"said": str(error), "error": type(error).__name__}
print(json.dumps(told))
"""


def shard(folder: Path, number: int) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    first = number * GROUPS * ROWS
    rows = [row(first + i, pad=os.urandom(PADDING)) for i in range(GROUPS * ROWS)]
    made = pa.Table.from_pylist(rows)
    pq.write_table(made, folder / "shard.parquet", row_group_size=ROWS, compression="none")
    return (folder / "shard.parquet").read_bytes()


def group_bytes(shards: list[bytes], count: int) -> int:
    """Bytes of the first `count` row groups."""
    import pyarrow.parquet as pq

    sizes: list[int] = []
    for body in shards:
        footer = pq.read_metadata(io.BytesIO(body))
        groups = [footer.row_group(number) for number in range(footer.num_row_groups)]
        sizes += [
            sum(each.column(i).total_compressed_size for i in range(each.num_columns)) for each in groups
        ]
    return sum(sizes[:count])


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    folder = tmp_path_factory.mktemp("shards")
    return [shard(folder, number) for number in range(FILES)]


CARD = b"""---
configs:
- config_name: english
  data_files:
  - split: train
    path: en/train-*
  - split: testmini
    path: en/mini-*
- config_name: german
  data_files: de/*.parquet
---
"""


@pytest.fixture(scope="module")
def hub(shards: list[bytes]) -> Iterator[Hub]:
    names = [f"data/train-{i:05d}-of-{FILES:05d}.parquet" for i in range(FILES)]
    configs = {
        "README.md": CARD,
        "en/train-0.parquet": shards[0],
        "en/mini-0.parquet": shards[1],
        "de/rows.parquet": shards[2],
    }
    hub = Hub({"me/large": Repo(), "me/configs": Repo(), "me/lines": Repo()})
    lines = b'{"image": "shots/0.png", "html": "<p>0</p>"}\n'
    hub.repos["me/lines"].commit({"train.jsonl": lines, "shots/0.png": png(0)})
    hub.repos["me/large"].commit(dict(zip(names, shards, strict=True)))
    hub.repos["me/configs"].commit(configs)
    with serving(hub):
        yield hub


def ask(hub: Hub, home: Path, **calls: Any) -> dict[str, Any]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    hub.sent = 0
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT],
        input=json.dumps(calls),
        env=kept | {"HF_HOME": str(home), "HF_ENDPOINT": hub.url, "TQDM_POSITION": "-1"},
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def numbers(*rows: range) -> list[str]:
    return [f"<p>{number}</p>" for each in rows for number in each]


def test_max_rows_costs_the_row_groups_that_hold_them(hub: Hub, shards: list[bytes], tmp_path: Path) -> None:
    """Issue 15: at most 1.3 times the bytes of those row groups, of a dataset 50 times as large."""
    told = ask(hub, tmp_path, some=({"source": "me/large", "max_rows": 100}, None))

    assert told["some"]["rows"] == {"train": numbers(range(100))}
    assert hub.sent < 1.3 * group_bytes(shards, 2)
    assert sum(map(len, shards)) > 40 * hub.sent


def test_the_first_row_costs_no_more_in_a_large_dataset(
    hub: Hub, shards: list[bytes], tmp_path: Path
) -> None:
    """Nothing but footers is read of files before a row of theirs is."""
    told = ask(hub, tmp_path, first=({"source": "me/large"}, 1))

    assert told["first"]["count"] == FILES * GROUPS * ROWS
    footers = FILES * 32 * 1024
    assert hub.sent <= group_bytes(shards, 2) + footers  # the next row group is fetched ahead


def test_a_second_look_fetches_nothing_again(hub: Hub, tmp_path: Path) -> None:
    call = ({"source": "me/large", "split": "train[100:200]"}, None)
    first = ask(hub, tmp_path, some=call)

    again = ask(hub, tmp_path, some=call)

    assert again == first
    assert first["some"]["rows"] == {"train": numbers(range(100, 200))}
    assert hub.sent == 0


def test_slices_sums_and_a_seed_choose_rows_as_the_library_does(hub: Hub, tmp_path: Path) -> None:
    told = ask(
        hub,
        tmp_path,
        tenth=({"source": "me/large", "split": "train[:2%]", "validation_split": "train[-1%:]"}, None),
        sum=({"source": "me/configs", "config": "english", "split": "testmini[:2]+train[498:]"}, None),
        seed=({"source": "me/configs", "config": "german", "max_rows": 5, "shuffle_seed": 7}, None),
        seed_again=({"source": "me/configs", "config": "german", "max_rows": 5, "shuffle_seed": 7}, None),
        other=({"source": "me/configs", "config": "german", "max_rows": 5, "shuffle_seed": 8}, None),
        too_many=({"source": "me/configs", "config": "german", "split": "train[:501]"}, None),
    )

    assert told["tenth"]["rows"] == {"train": numbers(range(100)), "validation": numbers(range(4950, 5000))}
    assert told["sum"]["rows"] == {"testmini": numbers(range(500, 502), range(498, 500))}
    assert told["seed"] == told["seed_again"]
    assert told["seed"]["rows"] != told["other"]["rows"]
    assert told["seed"]["fingerprint"] != told["other"]["fingerprint"]
    assert len(set(told["seed"]["rows"]["train"])) == 5
    assert "split 'train' has 500 rows, and 501 are asked for" in told["too_many"]["said"]


def test_one_of_several_configs_must_be_chosen(hub: Hub, tmp_path: Path) -> None:
    told = ask(
        hub,
        tmp_path,
        none=({"source": "me/configs"}, 1),
        wrong=({"source": "me/configs", "config": "french"}, 1),
        german=({"source": "me/configs", "config": "german"}, 2),
        mini=({"source": "me/configs", "config": "english", "split": "testmini"}, 2),
    )

    assert "me/configs has several configs: english, german." in told["none"]["said"]
    assert 'config = "english"' in told["none"]["said"]
    assert "no config 'french': english, german." in told["wrong"]["said"]
    assert told["german"]["rows"] == {"train": numbers(range(1000, 1002))}
    assert told["mini"]["rows"] == {"testmini": numbers(range(500, 502))}
    assert told["mini"]["fingerprint"] != told["german"]["fingerprint"]


def test_files_beside_the_rows_come_without_a_bar_of_the_library(hub: Hub, tmp_path: Path) -> None:
    """`ask` sees that nothing is written to stderr, where our own progress is."""
    told = ask(hub, tmp_path, lines=({"source": "me/lines"}, None))

    assert told["lines"]["rows"] == {"train": numbers(range(1))}


def test_a_local_copy_gives_what_the_hub_gives(hub: Hub, tmp_path: Path) -> None:
    """The same configs, splits and rows, and the same errors."""
    for name, repo in hub.repos.items():
        for path, body in next(reversed(repo.commits.values())).items():
            (tmp_path / name / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / path).write_bytes(body)
    calls: dict[str, dict[str, Any]] = {
        "large": {"source": "me/large", "max_rows": 3},
        "none": {"source": "me/configs"},
        "wrong": {"source": "me/configs", "config": "french"},
        "german": {"source": "me/configs", "config": "german"},
        "mini": {"source": "me/configs", "config": "english", "split": "testmini"},
        "split": {"source": "me/configs", "config": "english", "split": "test"},
    }
    asked = {name: (call, 3) for name, call in calls.items()}
    copies = {name: (call | {"source": str(tmp_path / call["source"])}, 3) for name, call in calls.items()}

    there, here = ask(hub, tmp_path / "home", **asked), ask(hub, tmp_path / "home", **copies)

    for name in calls:
        if "said" in there[name]:
            said = here[name]["said"].replace(f"{tmp_path}/", "The dataset ")
            assert said == there[name]["said"]
        else:
            assert here[name]["rows"] == there[name]["rows"]
            assert here[name]["count"] == there[name]["count"]

"""
What rows of a large dataset on the Hub cost: `python benchmarks/hub.py`.

A Hub on this machine, the one of the tests, counts the bytes that it sends to the real `datasets` and
`huggingface_hub`. Bytes do not depend on the machine's load; those until the first row stand for the time to
the first image.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.dataset.hub_server import Hub, Repo, serving

ROWS_A_FILE, ROWS_A_GROUP, IMAGE_BYTES = 1000, 100, 20_000
READ = """
import json, sys, time
from vlm_runner.dataset import open_dataset
from vlm_runner.spec import DatasetSpec
settings, read = json.loads(sys.argv[1])
opened = open_dataset(DatasetSpec(**settings), required=())
print(sum(1 for _ in opened.train.rows(0, read or opened.train.num_rows)))
"""


def file_of(number: int) -> bytes:
    rows = [
        {
            "image": {"bytes": os.urandom(IMAGE_BYTES), "path": f"{number}-{row}.png"},
            "html": f"<p>{number} {row}</p>" * 20,
            "output": f"answer {row}",
        }
        for row in range(ROWS_A_FILE)
    ]
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), out, row_group_size=ROWS_A_GROUP)
    return out.getvalue()


def dataset(files: list[bytes]) -> dict[str, bytes]:
    return {f"data/train-{n:05d}-of-{len(files):05d}.parquet": body for n, body in enumerate(files)}


def groups(files: list[bytes], count: int) -> int:
    """Bytes of the first `count` row groups."""
    sizes: list[int] = []
    for body in files:
        footer = pq.read_metadata(io.BytesIO(body))
        for number in range(footer.num_row_groups):
            group = footer.row_group(number)
            sizes.append(sum(group.column(i).total_compressed_size for i in range(group.num_columns)))
        if len(sizes) >= count:
            break
    return sum(sizes[:count])


def read(hub: Hub, settings: dict[str, Any], rows: int | None = None) -> tuple[int, int]:
    """Bytes and requests of reading, with nothing in the cache."""
    hub.sent, hub.requests[:] = 0, []
    with tempfile.TemporaryDirectory() as home:
        subprocess.run(
            [sys.executable, "-c", READ, json.dumps([settings, rows])],
            env=os.environ | {"HF_ENDPOINT": hub.url, "HF_HOME": home},
            check=True,
            capture_output=True,
        )
    return hub.sent, len(hub.requests)


def main() -> None:
    files = [file_of(number) for number in range(50)]
    hub = Hub({"me/small": Repo(), "me/large": Repo()})
    hub.repos["me/small"].commit(dataset(files[:5]))
    hub.repos["me/large"].commit(dataset(files))
    whole = sum(map(len, files))
    print("| dataset | what is read | bytes sent | of all | x its row groups | requests |")
    print("|---|---|---|---|---|---|")
    with serving(hub):
        for name, count in (("me/small", 5), ("me/large", 50)):
            for what, settings, rows, needed in (
                ("`max_rows = 1000`", {"max_rows": 1000}, None, 10),
                ('`split = "train[2000:2300]"`', {"split": "train[2000:2300]"}, None, 3),
                ("all, to the first row", {}, 1, 1),
            ):
                sent, asked = read(hub, {"source": name} | settings, rows)
                share = sent / (whole * count / 50)
                print(
                    f"| {count * ROWS_A_FILE:,} rows | {what} | {sent:,} | {share:.2%} "
                    f"| {sent / groups(files, needed):.2f} | {asked} |"
                )


if __name__ == "__main__":
    main()

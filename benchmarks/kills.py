"""
Killed at random, and resumed: `python benchmarks/kills.py URL [--kills 30] [--rows 2000]`.

URL is an S3 server of its own kind, such as SeaweedFS (RESULTS.md says how to start one). Staging is killed
with SIGKILL at random moments and started again, until all kills are done; then it may finish. All objects
must equal those of an undisturbed run, and nothing of a shard that was marked may be written again.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import boto3

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.ingest.pictures import SOURCES, picture, saved  # noqa: E402
from tests.ingest.staging import BUCKET, contents, write_dataset  # noqa: E402

from vlm_runner.ingest.shards import SHARD_ROWS  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--rows", type=int, default=2000)
    asked = parser.parse_args()
    os.environ |= {"AWS_ACCESS_KEY_ID": "AK", "AWS_SECRET_ACCESS_KEY": "SK"}
    s3 = boto3.client("s3", endpoint_url=asked.url, region_name="us-east-1")
    with tempfile.TemporaryDirectory() as folder:
        data, cache = Path(folder) / "data", Path(folder) / "cache"
        images = [SOURCES["jpeg"] if row % 9 == 4 else _page(row) for row in range(asked.rows)]
        write_dataset(data, images)
        began = time.monotonic()
        _empty(s3)
        assert _start(data, cache, asked.url).wait() == 0
        took = time.monotonic() - began
        wanted = contents(s3)
        _empty(s3)
        cycles = _killed(s3, data, cache, asked, took, wanted=wanted)
    print(
        f"{asked.kills} kills in {cycles} stagings: each ended with {len(wanted)} objects as if undisturbed,"
    )
    print("and nothing of a shard that was marked when a process was killed was written again")


def _killed(s3: Any, data: Path, cache: Path, asked: Any, took: float, *, wanted: dict[str, str]) -> int:
    """Kill, and start again; whenever a staging is complete, look at it, and begin another one."""
    chance, cycles, settled = random.Random(5), 0, dict[str, Any]()
    for number in range(1, asked.kills + 1):
        before = max(_written(s3).values(), default=None)
        process = _start(data, cache, asked.url)
        while max(_written(s3).values(), default=None) == before and process.poll() is None:
            time.sleep(0.05)
        time.sleep(chance.uniform(0, took / 6))
        process.kill()
        process.wait()
        now = _written(s3)
        _unchanged(settled, now)
        settled = _of_marked_shards(now)
        marked = sum("/shards-" in key for key in settled)
        print(f"  kill {number}: {marked} shards marked", file=sys.stderr)
        if marked >= asked.rows // SHARD_ROWS or number == asked.kills:
            assert _start(data, cache, asked.url).wait() == 0
            _unchanged(settled, _written(s3))
            assert contents(s3) == wanted, "other objects, or of other bytes"
            _empty(s3)
            settled, cycles = {}, cycles + 1
    return cycles


def _unchanged(settled: dict[str, Any], now: dict[str, Any]) -> None:
    again = [key for key, at in settled.items() if now.get(key) != at]
    assert not again, f"written again: {again}"


def _of_marked_shards(written: dict[str, Any]) -> dict[str, Any]:
    """The markers, and the images of their rows, with the times at which they were written."""
    rows: set[int] = set()
    for key in written:
        if "/shards-" in key:
            start, stop, *_ = key.rpartition("/")[2].split("-")
            rows.update(range(int(start), int(stop)))
    return {
        key: at
        for key, at in written.items()
        if "/shards-" in key or (key.startswith("images/") and int(Path(key).stem) in rows)
    }


def _page(row: int) -> bytes:
    return saved(picture(size=(320, 200), seed=row), "PNG", compress_level=1)


def _start(data: Path, cache: Path, url: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.ingest.staging", str(data), str(cache), url]
    return subprocess.Popen(command, cwd=ROOT)


def _written(s3: Any) -> dict[str, Any]:
    """When each object was written."""
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
    return {item["Key"]: item["LastModified"] for page in pages for item in page.get("Contents", ())}


def _empty(s3: Any) -> None:
    with contextlib.suppress(s3.exceptions.BucketAlreadyOwnedByYou):
        s3.create_bucket(Bucket=BUCKET)
    keys = list(contents(s3))
    for start in range(0, len(keys), 1000):
        gone = [{"Key": key} for key in keys[start : start + 1000]]
        s3.delete_objects(Bucket=BUCKET, Delete={"Objects": gone})


if __name__ == "__main__":
    main()

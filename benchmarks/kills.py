"""
Killed at random, and resumed: `python benchmarks/kills.py URL [--kills 30] [--rows 2000]`.

URL is an S3 server of its own kind, such as SeaweedFS (RESULTS.md says how to start one). Staging is killed
with SIGKILL at random moments and started again, until all kills are done; then it may finish. All objects
must equal those of an undisturbed run, and no shard's marker may have been written twice.
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
        written = _killed(s3, data, cache, asked, took)
        assert _start(data, cache, asked.url).wait() == 0
    found = contents(s3)
    assert found == wanted, f"{len(found)} objects instead of {len(wanted)}, or of other bytes"
    again = [key for key, at in written.items() if _modified(s3, key) != at]
    assert not again, f"written twice: {again}"
    print(f"{asked.kills} kills: {len(found)} objects, all as of an undisturbed run; no marker written twice")


def _killed(s3: Any, data: Path, cache: Path, asked: Any, took: float) -> dict[str, Any]:
    """When each marker was first seen to be written."""
    chance, written = random.Random(5), {}
    for number in range(asked.kills):
        before = _written(s3)
        process = _start(data, cache, asked.url)
        while _written(s3) == before and process.poll() is None:
            time.sleep(0.05)
        time.sleep(chance.uniform(0, took / 3))
        process.kill()
        process.wait()
        for key in contents(s3):
            if "/shards-" in key:
                written.setdefault(key, _modified(s3, key))
        print(f"  kill {number + 1}: {len(written)} shards marked", file=sys.stderr)
        if number % 10 == 9:
            _empty(s3)
            written = {}
    return written


def _page(row: int) -> bytes:
    return saved(picture(size=(320, 200), seed=row), "PNG", compress_level=1)


def _start(data: Path, cache: Path, url: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.ingest.staging", str(data), str(cache), url]
    return subprocess.Popen(command, cwd=ROOT)


def _modified(s3: Any, key: str) -> Any:
    return s3.head_object(Bucket=BUCKET, Key=key)["LastModified"]


def _written(s3: Any) -> Any:
    """The youngest object: it changes with everything that is written."""
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
    return max((item["LastModified"] for page in pages for item in page.get("Contents", ())), default=None)


def _empty(s3: Any) -> None:
    with contextlib.suppress(s3.exceptions.BucketAlreadyOwnedByYou):
        s3.create_bucket(Bucket=BUCKET)
    keys = list(contents(s3))
    for start in range(0, len(keys), 1000):
        gone = [{"Key": key} for key in keys[start : start + 1000]]
        s3.delete_objects(Bucket=BUCKET, Delete={"Objects": gone})


if __name__ == "__main__":
    main()

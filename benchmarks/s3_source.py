"""
Reading a dataset in S3 against plain boto3, in one session: `python benchmarks/s3_source.py [--rounds 5]`.

The S3 is a sandbox of its own process, whose GetObject waits 20 ms first. Rows are in one JSONL file and name
their images. Ways take turns, with nothing in the cache; the last one looks at rows that were read before.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen

import boto3
from botocore.config import Config

from vlm_runner.aws.reading import S3Reader
from vlm_runner.dataset.source import open_dataset
from vlm_runner.spec import DatasetSpec

if TYPE_CHECKING:
    from collections.abc import Callable

BUCKET, THREADS = "data-of-benchmarks", 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--bytes", type=int, default=40_000, help="of an image")
    parser.add_argument("--delay", type=int, default=20, help="milliseconds that GetObject waits")
    asked = parser.parse_args()
    os.environ |= {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y"}
    with tempfile.TemporaryDirectory() as folder:
        ready = Path(folder) / "ready"
        command = [sys.executable, "-m", "vlm_runner", "sandbox", "serve", "--port", "0"]
        server = subprocess.Popen([*command, "--ready-file", str(ready)], stderr=subprocess.DEVNULL)
        try:
            while not ready.exists():
                time.sleep(0.05)
            measure(ready.read_text().strip(), Path(folder), asked)
        finally:
            server.terminate()
            server.wait()


def measure(url: str, folder: Path, asked: Any) -> None:
    config = Config(max_pool_connections=THREADS)
    s3 = boto3.client("s3", region_name="us-east-1", endpoint_url=url, config=config)
    s3.create_bucket(Bucket=BUCKET)
    keys = [f"in/{number:05d}.png" for number in range(asked.images)]
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(lambda key: s3.put_object(Bucket=BUCKET, Key=key, Body=os.urandom(asked.bytes)), keys))
    rows = "".join(f"{json.dumps({'image': key[3:], 'caption': key})}\n" for key in keys)
    s3.put_object(Bucket=BUCKET, Key="in/rows.jsonl", Body=rows.encode())
    slow = {"operation": "GetObject", "kind": "slow", "seconds": asked.delay / 1000, "times": None}
    body = json.dumps([slow]).encode()
    urlopen(Request(f"{url}/_sandbox/faults", body, {"content-type": "application/json"})).close()

    def body_of(key: str) -> int:
        return len(s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())

    def threads() -> int:
        with ThreadPoolExecutor(THREADS) as pool:
            return sum(pool.map(body_of, keys))

    def one_by_one() -> int:
        return sum(map(body_of, keys))

    opened: list[Any] = []

    def ours() -> int:
        cache = tempfile.mkdtemp(dir=folder)
        reader = S3Reader(region="us-east-1", endpoint_url=url)
        spec = DatasetSpec(source=f"s3://{BUCKET}/in/rows.jsonl")
        opened[:] = [open_dataset(spec, cache_dir=Path(cache), required=(), s3=reader)]
        return again()

    def again() -> int:
        return sum(len(row.image) for row in opened[0].train.rows())

    ways: dict[str, Callable[[], int]] = {
        f"boto3, {THREADS} threads": threads,
        "boto3, one by one": one_by_one,
        "vlm-runner: listed, opened and read": ours,
        "vlm-runner: the same rows again": again,
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(asked.rounds):
        for name, way in ways.items():
            began = time.perf_counter()
            assert way() == asked.images * asked.bytes, name
            times[name].append(time.perf_counter() - began)
    medians = {name: statistics.median(each) for name, each in times.items()}
    peer = medians[next(iter(ways))]
    print(f"{asked.images} images of {asked.bytes:,} bytes, {asked.delay} ms each, {asked.rounds} rounds\n")
    print("| way | s (median) | images/s | x boto3's threads |\n|---|---|---|---|")
    for name, seconds in medians.items():
        print(f"| {name} | {seconds:.2f} | {asked.images / seconds:,.0f} | {seconds / peer:.2f} |")


if __name__ == "__main__":
    main()

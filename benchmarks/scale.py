"""
What grows with the data set, and what must not: `python benchmarks/scale.py [--rows 1000,10000,100000]`.

Records a second with 20 KB of HTML each; time and memory of staging by rows; a second run on a finished
data set; the start of the command line.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from data import build

from ingest import run, sink


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", default="1000,10000,100000")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "vlm-runner-bench")
    asked = parser.parse_args()
    start_up()
    records(asked.folder)
    rows = [int(text) for text in asked.rows.split(",")]
    first = growth(asked.folder, rows)
    resume(build(asked.folder, "tiny", rows[-1]), first)


def start_up() -> None:
    binary = str(Path(sys.executable).parent / "vlm-runner")
    done = Path(__file__).parents[1] / "tests" / "checkpoint" / "schema-1-done.json"
    with tempfile.TemporaryDirectory() as store:
        run = Path(store) / "runs" / "done"
        run.mkdir(parents=True)
        shutil.copy(done, run / "state.json")
        for words in (["--help"], ["status", "done", "--store", store], ["list", "--store", store]):
            walls, cpus = [], []
            for _ in range(7):
                before, began = _children_cpu(), time.perf_counter()
                subprocess.run([binary, *words], capture_output=True, check=False)
                walls.append(time.perf_counter() - began)
                cpus.append(_children_cpu() - before)
            print(
                f"vlm-runner {words[0]}: {median(cpus) * 1000:.0f} ms CPU, {min(walls) * 1000:.0f} ms at best"
            )


def _children_cpu() -> float:
    use = resource.getrusage(resource.RUSAGE_CHILDREN)
    return use.ru_utime + use.ru_stime


def records(folder: Path, rows: int = 5000) -> None:
    """Reading rows, rendering the accessibility preset, writing JSON; one thread, no images."""
    from ways import line_of

    from vlm_runner.dataset.source import open_dataset
    from vlm_runner.spec import DatasetSpec

    subset = open_dataset(DatasetSpec(source=str(build(folder, "tiny", rows, 20_000)))).train
    line, rates = line_of(), []
    for _ in range(3):
        began = time.process_time()
        size = sum(len(line(row, "s3://bucket/images/train/000.png", "png").line) for row in subset.rows())
        rates.append(rows / (time.process_time() - began))
    print(f"records of {size / rows / 1000:.0f} KB: {median(rates):.0f} a second of CPU")


def growth(folder: Path, rows: list[int]) -> float:
    found: dict[str, Any] = {}
    with sink(folder, 0) as url:
        for count in rows:
            found = run("ours", build(folder, "tiny", count), count, url)
            proportional, resident, own = (found[name] for name in ("pss_mb", "rss_mb", "anon_mb"))
            memory = f"peak {proportional:.0f} MB PSS, {resident:.0f} resident, {own:.0f} own"
            print(f"{count} rows: {found['seconds']:.1f} s, {found['cpu_ms']:.2f} ms CPU each, {memory}")
    return float(found["seconds"])


def resume(source: Path, first: float) -> None:
    """A data set whose markers lie in S3 (the sandbox's, slower than AWS's to list): nothing to upload."""
    from ways import BUCKET, staging_of

    from vlm_runner.aws.session import AwsSession
    from vlm_runner.core import places
    from vlm_runner.dataset.source import open_dataset
    from vlm_runner.ingest import shards
    from vlm_runner.sandbox import Sandbox, SandboxOptions
    from vlm_runner.spec import DatasetSpec

    subset = open_dataset(DatasetSpec(source=str(source))).train
    os.environ |= {"AWS_ACCESS_KEY_ID": "AK", "AWS_SECRET_ACCESS_KEY": "SK"}

    async def again(url: str) -> float:
        async with AwsSession(region="us-east-1", endpoint_url=url) as aws:
            await aws.account.ensure_bucket(BUCKET, account="123456789012", region="us-east-1")
            objects = aws.objects(BUCKET, owner="123456789012")
            folder = places.place("", places.content_folder("0" * 32), subset.name, "0" * 32).shards
            for shard in shards.plan(subset.num_rows):
                sizes = dict.fromkeys(range(shard.start, shard.stop), 1)
                await objects.put_once(
                    shards.marker_key(folder, shard, sizes), b"{}\n", content_type="text/plain"
                )
            began = time.perf_counter()
            staged = await staging_of(subset, objects, "0" * 32).run()
            assert staged.images_uploaded == 0
            return time.perf_counter() - began

    with Sandbox(SandboxOptions()) as sandbox:
        took = asyncio.run(again(sandbox.url))
    print(f"second run on {subset.num_rows} rows: {took:.2f} s, {took / first:.2%} of the first")


if __name__ == "__main__":
    main()

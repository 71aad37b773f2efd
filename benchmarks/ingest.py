"""
Staging against its peers, in one session: `python benchmarks/ingest.py [--rounds 5] [--delay 0,30]`.

Every way runs in a process of its own, in shuffled order, round after round; what counts are ratios of
medians. See RESULTS.md for what was found, and on what machine.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from data import build

from vlm_runner.ingest.converters import KEEP_MEMORY

HERE = Path(__file__).parent
ROWS = 4500
SLOW, QUICK = 24, 4500
"""Images for ways that re-encode with Pillow, and for those that do not: a few seconds each."""
COUNTS = {
    "notebook": 12,
    "boto3-16": SLOW, "boto3-64": SLOW, "aioboto3": SLOW, "obstore": SLOW, "aws-sync": SLOW,
    "aioboto3-as-is": 1500, "ours-aioboto3": 1500, "ours": QUICK, "ours-keep": QUICK, "cpu-bound": 200,
}  # fmt: skip
PEERS = ["notebook", "boto3-16", "boto3-64", "aioboto3", "obstore", "aws-sync"]
RUNS = {
    "png": [*PEERS, "aioboto3-as-is", "ours", "ours-aioboto3"],
    "jpeg": [*PEERS, "cpu-bound", "ours", "ours-keep"],
    "webp": [*PEERS, "cpu-bound", "ours", "ours-keep"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--delay", default="0,30", help="milliseconds that the sink waits, for each series")
    parser.add_argument("--forms", default="png,jpeg,webp")
    parser.add_argument("--ways", default="", help="only these")
    parser.add_argument("--server", default="", help="an S3 server that runs already, instead of the sink")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "vlm-runner-bench")
    parser.add_argument("--out", type=Path, help="append every run as a JSON line")
    asked = parser.parse_args()
    for delay in [int(text) for text in asked.delay.split(",")]:
        for form in asked.forms.split(","):
            ways = [way for way in RUNS[form] if not asked.ways or way in asked.ways.split(",")]
            with contextlib.ExitStack() as stack:
                url = asked.server or stack.enter_context(sink(asked.folder, delay))
                measured = series(form, ways, url, asked)
                limit = 0.0 if asked.server else most(asked.folder, url, form)
            show(form, delay, measured, limit)


def series(form: str, ways: list[str], url: str, asked: Any) -> dict[str, list[dict[str, Any]]]:
    source = build(asked.folder, form, ROWS)
    measured: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for round_ in range(asked.rounds):
        for way in random.Random(round_).sample(ways, len(ways)):
            count = 2400 if way == "ours" and form != "png" else COUNTS[way]
            found = run(way, source, count, url) | {"form": form, "url": url, "load": os.getloadavg()[0]}
            measured[way].append(found)
            print(f"  {form} {way}: {found['rate']:.1f}/s", file=sys.stderr)
            if asked.out:
                with asked.out.open("a") as file:
                    file.write(json.dumps(found) + "\n")
    return measured


def run(way: str, source: Path, rows: int, url: str) -> dict[str, Any]:
    command = [sys.executable, str(HERE / "ways.py"), way, str(source), str(rows), url]
    # The floor is measured with the memory settings that our own decoders run with.
    env = os.environ | KEEP_MEMORY if way == "cpu-bound" else None
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    if done.returncode:
        sys.exit(f"{way} failed:\n{done.stderr[-2000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


@contextlib.contextmanager
def sink(folder: Path, delay: int) -> Iterator[str]:
    port = 9800 + random.randrange(100)
    with subprocess.Popen([built(folder), "serve", str(port), str(delay)]) as server:
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_for(f"{url}/_count")
            yield url
        finally:
            server.kill()


def built(folder: Path) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    binary = folder / "sink"
    compiler = shutil.which("gcc") or shutil.which("cc") or sys.exit("The sink needs a C compiler.")
    subprocess.run([compiler, "-O2", "-o", str(binary), str(HERE / "sink.c"), "-lpthread"], check=True)
    return str(binary)


def _wait_for(url: str) -> None:
    for _ in range(100):
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=1):
            return
        time.sleep(0.05)
    sys.exit(f"{url} does not answer")


def most(folder: Path, url: str, form: str) -> float:
    """PUTs a second that the load generator brings to the sink, with bodies as large as ours."""
    size = 465_000 if form == "png" else 600_000
    port = url.rsplit(":", 1)[1]
    made = subprocess.run(
        [str(folder / "sink"), "load", port, "64", "2", str(size)], capture_output=True, text=True, check=True
    )
    return float(made.stdout)


def show(form: str, delay: int, measured: dict[str, list[dict[str, Any]]], limit: float) -> None:
    def middle(way: str, field: str) -> float:
        return median(found[field] for found in measured[way])

    base = middle("notebook", "rate") if "notebook" in measured else float("nan")
    base_cpu = middle("notebook", "cpu_ms") if "notebook" in measured else float("nan")
    print(f"\n### {form} source, {delay} ms a reply\n")
    print("| way | images/s | x notebook | CPU ms/image | CPU x | resident MB | own MB |")
    print("|---|---|---|---|---|---|---|")
    for way in measured:
        rate, cpu = middle(way, "rate"), middle(way, "cpu_ms")
        print(
            f"| {way} | {rate:.1f} | {rate / base:.1f} | {cpu:.2f} | {base_cpu / cpu:.1f} | "
            f"{middle(way, 'rss_mb'):.0f} | {middle(way, 'anon_mb'):.0f} |"
        )
    if limit:
        print(f"| load generator, 64 connections | {limit:.0f} | {limit / base:.0f} | | | | |")
    sys.stdout.flush()


if __name__ == "__main__":
    main()

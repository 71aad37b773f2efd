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
CONVERTED = 3000
"""Images for ours where it converts: past its start, which is the making of clients and decoders."""
LOAD = "load generator, 64 connections"
COUNTS = {
    "notebook": 12,
    "boto3-16": SLOW, "boto3-64": SLOW, "aioboto3": SLOW, "obstore": SLOW, "aws-sync": SLOW,
    "aioboto3-as-is": 1500, "ours-aioboto3": 1500, "ours": QUICK, "ours-keep": QUICK, "cpu-bound": 1500,
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
    parser.add_argument(
        "--first", type=int, default=0, help="number of the first round, for the order of ways"
    )
    parser.add_argument("--show", type=Path, help="measure nothing; tables of what --out has gathered")
    asked = parser.parse_args()
    if asked.show:
        gathered(asked.show)
        return
    for delay in [int(text) for text in asked.delay.split(",")]:
        for form in asked.forms.split(","):
            ways = [way for way in RUNS[form] if not asked.ways or way in asked.ways.split(",")]
            with contextlib.ExitStack() as stack:
                url = asked.server or stack.enter_context(sink(asked.folder, delay))
                measured = series(form, ways, url, asked, delay)
                if not asked.server:
                    limit = {"way": LOAD, "rate": most(asked.folder, url, form), "form": form, "delay": delay}
                    measured[LOAD].append(limit)
                    keep(limit, asked.out)
            show(form, delay, measured)


def series(
    form: str, ways: list[str], url: str, asked: Any, delay: int
) -> defaultdict[str, list[dict[str, Any]]]:
    source = build(asked.folder, form, ROWS)
    measured: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for round_ in range(asked.first, asked.first + asked.rounds):
        for way in random.Random(round_).sample(ways, len(ways)):
            count = CONVERTED if way == "ours" and form != "png" else COUNTS[way]
            where = {"form": form, "url": asked.server or "sink", "delay": delay}
            found = run(way, source, count, url) | where | {"round": round_, "load": os.getloadavg()[0]}
            measured[way].append(found)
            print(f"  {form} {way}: {found['rate']:.1f}/s", file=sys.stderr)
            keep(found, asked.out)
    return measured


def keep(found: dict[str, Any], out: Path | None) -> None:
    if out:
        with out.open("a") as file:
            file.write(json.dumps(found) + "\n")


def gathered(out: Path) -> None:
    """A table for each form and delay; all rounds of all calls."""
    measured: dict[tuple[str, int], defaultdict[str, list[dict[str, Any]]]] = {}
    for line in out.read_text().splitlines():
        found = json.loads(line)
        series_ = measured.setdefault((found["form"], found["delay"]), defaultdict(list))
        series_[found["way"]].append(found)
    for (form, delay), ways in measured.items():
        show(form, delay, ways)


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


def show(form: str, delay: int, measured: dict[str, list[dict[str, Any]]]) -> None:
    def middle(way: str, field: str) -> float:
        return median(found.get(field, float("nan")) for found in measured.get(way, [{}]))

    base, base_cpu = middle("notebook", "rate"), middle("notebook", "cpu_ms")
    loads = [found["load"] for runs in measured.values() for found in runs if "load" in found]
    print(f"\n### {form} source, {delay} ms a reply; load {min(loads):.1f} to {max(loads):.1f}\n")
    print("| way | rounds | images/s | x notebook | CPU ms/image | CPU x | PSS MB | resident MB | own MB |")
    print("|---|---|---|---|---|---|---|---|---|")
    for way, runs in measured.items():
        rate, cpu = middle(way, "rate"), middle(way, "cpu_ms")
        memory = " | ".join(f"{middle(way, field):.0f}" for field in ("pss_mb", "rss_mb", "anon_mb"))
        times = f"{rate:.1f} | {rate / base:.1f} | {cpu:.2f} | {base_cpu / cpu:.1f}"
        print(f"| {way} | {len(runs)} | {times} | {memory} |")
    sys.stdout.flush()


if __name__ == "__main__":
    main()

"""
What of a rented throughput's time is not its own calls: one run over the sandbox, in real time.

    python benchmarks/rented_time.py 50                     64 calls at once at most, as by default
    python benchmarks/rented_time.py 50 --concurrency 4     as before, when calls were not paced
    python benchmarks/rented_time.py 1000 --warm-up 120     a throughput that is ready after two minutes

The unit answers 10 calls a second after a burst of 10, and throttles the rest; each call takes 4 seconds.
Both models are asked. Prints one JSON object; "pure" is rows / 10 + 4 seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.e2e.laptop import NOVA, ROLE, Laptop, notebook_dataset

if TYPE_CHECKING:
    from vlm_runner.core.events import Entry
    from vlm_runner.core.run import Run
    from vlm_runner.core.signals import Signal

RATE, LATENCY = 10.0, 4.0


class Times:
    """When what was saved, and how many answers there were when the throughput was seen to be ready."""

    def __init__(self) -> None:
        self.at: dict[str, datetime] = {}
        self.answered = self.answered_before = 0

    def on_entry(self, _: Run, entry: Entry) -> None:
        self.at[entry.event.kind] = entry.at
        if entry.event.kind == "endpoint_ready":
            self.answered_before = self.answered

    def on_signal(self, _: str, signal: Signal) -> None:
        self.answered = getattr(signal, "done", self.answered)


async def drive(
    laptop: Laptop, pages: Path, rows: int, concurrency: int, warm_up: float
) -> dict[str, object]:
    from vlm_runner import Runner, RunSpec, Settings
    from vlm_runner.settings import PollSettings

    spec = RunSpec.from_table(
        {
            "dataset": {"source": str(pages), "validation_split": "validation"},
            "model": {"base": NOVA},
            "training": {"role_arn": ROLE},
            "serving": {"mode": "provisioned"},
            "test": {"rows": rows, "compare_base": True, "concurrency": concurrency},
            "aws": {"region": "us-east-1"},
        }
    )
    laptop.ask(
        "scenario",
        {
            "job_seconds": 5,
            "model_creating_seconds": 1,
            "throughput_seconds": warm_up,
            "call_seconds": LATENCY,
            "calls_per_unit_second": RATE,
        },
    )
    times = Times()
    # AWS's pace, not the one of the end-to-end tests.
    settings = Settings(checkpoint_uri=str(laptop.home / "runs"), poll=PollSettings())
    async with Runner.open(settings, watchers=[times]) as runner:
        run = await (await runner.start(spec)).result()
    (rented,) = laptop.paid("provisioned_throughput")
    lived = datetime.fromisoformat(rented["ended_at"]) - datetime.fromisoformat(rented["created_at"])
    calls = (times.at["tests_answered"] - times.at["endpoint_ready"]).total_seconds()
    pure, in_service = rows / RATE + LATENCY, lived.total_seconds() - warm_up
    counts = laptop.ask("calls")
    return {
        "rows": rows,
        "concurrency": concurrency,
        "outcome": run.outcome,
        "pure": pure,
        "ready_to_last_answer": round(calls, 2),
        "in_service_to_deletion": round(in_service, 2),
        "over_pure": round(in_service / pure, 3),
        "base_answers_before_in_service": times.answered_before,
        "throttled": counts["by_status"].get("Converse 429", 0),
        "load": os.getloadavg()[0],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rows", type=int)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--warm-up", type=float, default=16 * 60, help="seconds until it is InService")
    asked = parser.parse_args()
    home = Path(tempfile.mkdtemp())
    laptop = Laptop.start(home, speed=1)
    pages = notebook_dataset(home / "pages", rows=12, held_out=asked.rows)
    os.environ |= {key: value for key, value in laptop.environment.items() if key.startswith("AWS_")}
    try:
        found = asyncio.run(drive(laptop, pages, asked.rows, asked.concurrency, asked.warm_up))
        print(json.dumps(found, indent=2))
    finally:
        laptop.stop()


if __name__ == "__main__":
    main()

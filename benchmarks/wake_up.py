"""
From a job's end to the runner's next step, with and without the queue: 20 jobs on a sandbox at real speed.

    python benchmarks/wake_up.py                  both, some five minutes
    python benchmarks/wake_up.py queue            only with it; or: timer

Each job takes its own time between 40 and 120 s, so that the timer (5 s growing to 60) meets it anywhere.
The next step is the first GetCustomModel after the job's end. Prints one JSON object.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import tempfile
from datetime import datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.e2e.laptop import Laptop, notebook_dataset
from tests.wakeup.test_queue_on_sandbox import spec_for, subscribe

JOBS = 20


async def measure(laptop: Laptop, pages: Path, *, queue: bool) -> list[float]:
    from vlm_runner import Runner, Settings

    laptop.ask("reset", {})
    limits = {"model_creating_seconds": 0, "running_jobs": JOBS, "scheduled_jobs": JOBS}
    url = subscribe(laptop) if queue else None
    settings = Settings(queue_url=url, checkpoint_uri=str(laptop.home / f"store-{queue}"))
    async with Runner.open(settings) as runner:
        handles = []
        for number in range(JOBS):
            laptop.ask("scenario", {**limits, "job_seconds": 40 + 4 * number})
            handle = await runner.start(spec_for(pages), run_id=f"run-{number}")
            handles.append(handle)
            async for entry in handle.events():
                if entry.event.kind == "job_submitted":
                    break
        runs = [await handle.result() for handle in handles]
    ended = {e["arn"]: datetime.fromisoformat(e["ended_at"]) for e in laptop.paid("customization_job")}
    asked: dict[str, datetime] = {}
    for call in laptop.ask("calls")["recent"]:
        if call["operation"] == "GetCustomModel":
            asked.setdefault(call["path"], datetime.fromisoformat(call["time"]))
    return [
        (
            next(at for path, at in asked.items() if run.model.model_arn in path) - ended[run.job.arn]
        ).total_seconds()
        for run in runs
    ]


def main() -> None:
    home = Path(tempfile.mkdtemp())
    laptop = Laptop.start(home, speed=1)
    pages = notebook_dataset(home / "pages", rows=12)
    os.environ |= {k: v for k, v in laptop.environment.items() if k.startswith("AWS_")}
    try:
        found = {}
        ways = sys.argv[1:] or ["queue", "timer"]
        for queue in (way == "queue" for way in ways):
            lags = sorted(asyncio.run(measure(laptop, pages, queue=queue)))
            found["with the queue" if queue else "by the timer"] = {
                "jobs": len(lags),
                "median_s": round(statistics.median(lags), 2),
                "mean_s": round(statistics.mean(lags), 2),
                "worst_s": round(lags[-1], 2),
            }
        print(json.dumps(found, indent=2))
    finally:
        laptop.stop()


if __name__ == "__main__":
    main()

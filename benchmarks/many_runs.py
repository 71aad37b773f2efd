"""
Many runs in one process, over one sandbox: time, memory, and whether the account's limits were kept.

    python benchmarks/many_runs.py                100 runs, of which 10 may train at a time
    python benchmarks/many_runs.py 100 100        all at once

Prints one JSON object.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.e2e.laptop import NOVA, ROLE, Laptop, notebook_dataset


def most_at_once(entries: list[dict[str, str]]) -> int:
    marks = [(datetime.fromisoformat(e["created_at"]), 1) for e in entries]
    marks += [(datetime.fromisoformat(e["ended_at"]), -1) for e in entries if e["ended_at"]]
    now = most = 0
    for _, change in sorted(marks):
        now += change
        most = max(most, now)
    return most


async def drive(laptop: Laptop, pages: Path, count: int, limit: int) -> dict[str, object]:
    """`limit`: of running jobs, the account's in the sandbox as well as the sweep's."""
    from vlm_runner import Runner, Settings
    from vlm_runner.sweep.drive import SweepDriver
    from vlm_runner.sweep.plan import Sweep, SweepSpec, plan

    base = {
        "dataset": {"source": str(pages), "validation_split": "validation"},
        "model": {"base": NOVA},
        "training": {"role_arn": ROLE},
        "test": {"rows": 1},
        "aws": {"region": "us-east-1"},
    }
    rates = [round(0.00001 + number * 0.0000005, 9) for number in range(count)]
    grid = {"training.hyperparameters.learningRate": rates}
    spec = SweepSpec(jobs=limit, throughputs=max(2, limit // 5), grid=grid)
    # Runs are staged one after the other, some one a second: jobs last until the limit is reached.
    job_seconds = (4 + 1.1 * limit) * laptop.speed
    laptop.ask("scenario", {"running_jobs": limit, "scheduled_jobs": limit, "job_seconds": job_seconds})
    sweep = Sweep(spec, plan(spec, base))
    before = resource.getrusage(resource.RUSAGE_SELF)
    began = time.monotonic()
    async with Runner.open(Settings(checkpoint_uri=str(laptop.home / "many"))) as runner:
        driver = SweepDriver(sweep, runner)
        created = await driver.prepare()
        prepared = time.monotonic() - began
        results = await driver.drive(created, lambda _: None)
    after = resource.getrusage(resource.RUSAGE_SELF)
    jobs, rented = laptop.paid("customization_job"), laptop.paid("provisioned_throughput")
    return {
        "runs": len(results),
        "succeeded": sum(result.succeeded for result in results),
        "jobs_in_ledger": len(jobs),
        "most_jobs_at_once": most_at_once(jobs),
        "most_throughputs_at_once": most_at_once(rented),
        "still_billing": sum(bool(e["still_billing"]) for e in rented),
        "seconds": round(time.monotonic() - began, 1),
        "seconds_to_prepare": round(prepared, 1),
        "cpu_seconds": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1),
        "peak_mb": after.ru_maxrss // 1024,
        "peak_mb_before": before.ru_maxrss // 1024,
    }


def main() -> None:
    count, limit = [*map(int, sys.argv[1:]), *(100, 10)[len(sys.argv) - 1 :]]
    home = Path(tempfile.mkdtemp())
    laptop = Laptop.start(home, speed=3600)
    pages = notebook_dataset(home / "pages", rows=12)
    os.environ |= {k: v for k, v in laptop.environment.items() if k.startswith(("AWS_", "VLM_RUNNER_POLL"))}
    try:
        print(json.dumps(asyncio.run(drive(laptop, pages, count, limit)), indent=2))
    finally:
        laptop.stop()


if __name__ == "__main__":
    main()

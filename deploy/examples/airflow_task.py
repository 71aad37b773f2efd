"""
A run as an Airflow task: retried as often as you like, paid for once.

The run's id derives from the spec, so that a retry goes on with the run of the attempt before. Airflow ends a
task with SIGTERM: the run is saved, and its remote work goes on.
"""

from __future__ import annotations

from datetime import timedelta

import anyio
from airflow.sdk import dag, task

from vlm_runner import Runner, RunSpec, Settings

SPEC = {
    "dataset": {"source": "doodoo77/For_VLM_accessibility", "validation_fraction": 0.1},
    "model": {"base": "amazon.nova-lite-v1:0:300k"},
    "training": {"role_arn": "arn:aws:iam::123456789012:role/bedrock-sft"},
    "aws": {"region": "us-east-1"},
}


async def drive(spec: RunSpec) -> dict[str, str | None]:
    """The run at its end; raises if it did not succeed, so that the task is failed."""
    async with Runner.open(Settings.from_environment()) as runner:
        run = await (await runner.start(spec)).result()
    if run.outcome != "succeeded":
        raise RuntimeError(f"Run {run.run_id}: {run.outcome}: {run.reason}")
    return {"run_id": run.run_id, "model_arn": run.model.model_arn if run.model is not None else None}


@dag(schedule=None, catchup=False)
def fine_tune() -> None:
    @task(retries=5, retry_delay=timedelta(minutes=1), execution_timeout=timedelta(days=2))
    def run_spec() -> dict[str, str | None]:
        return anyio.run(drive, RunSpec.from_table(SPEC))

    run_spec()


fine_tune()

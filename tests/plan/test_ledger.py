"""What a plan says against what the sandbox bills."""

from __future__ import annotations

import json
import os
import urllib.request
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from vlm_runner.clock import SystemClock
from vlm_runner.errors import ConfigurationError
from vlm_runner.runner import Runner
from vlm_runner.sample import sample_folder
from vlm_runner.sandbox import Sandbox, SandboxOptions
from vlm_runner.settings import PollSettings, Settings
from vlm_runner.spec import RunSpec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from vlm_runner.core.run import Run
    from vlm_runner.steps.survey import Survey

LLAMA = "meta.llama3-2-11b-instruct-v1:0:128k"
NOVA = "amazon.nova-lite-v1:0:300k"
ROLE = "arn:aws:iam::123456789012:role/sft"


class SandboxClock(SystemClock):
    """Tells the sandbox's time, and waits in this machine's."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    def now(self) -> datetime:
        return self._sandbox.clock.now()


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "y")


@pytest.fixture
def of_2025() -> Iterator[Sandbox]:
    with Sandbox(SandboxOptions(as_of=datetime(2025, 6, 1, tzinfo=UTC), speed=36_000)) as running:
        yield running


@pytest.fixture
def today() -> Iterator[Sandbox]:
    with Sandbox(SandboxOptions(as_of=datetime(2026, 11, 22, tzinfo=UTC), speed=36_000)) as running:
        yield running


def five_times_the_sample(folder: Path) -> Path:
    """A hundred records, which Llama wants."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir()
    table = pq.read_table(sample_folder() / "train.parquet")
    pq.write_table(pa.concat_tables([table] * 5), folder / "train.parquet")
    return folder


def spec_of(source: Path, base: str, region: str, **sections: Any) -> RunSpec:
    training = {"role_arn": ROLE, "hyperparameters": {"epochCount": 2}}
    table = {
        "dataset": {"source": str(source)},
        "model": {"base": base},
        "training": training,
        "aws": {"region": region},
    }
    return RunSpec.from_table(table | {"test": {"rows": 1}} | sections)


def settings_for(sandbox: Sandbox, region: str, folder: Path, **more: Any) -> Settings:
    return Settings(
        checkpoint_uri=str(folder / "runs"),
        endpoint_url=sandbox.url,
        region=region,
        poll=PollSettings(first=0.02, longest=0.1, cancel_every=0.05),
        quiet_minutes=0,
        **more,
    )


async def planned_and_run(spec: RunSpec, settings: Settings) -> tuple[Survey, Run]:
    async with Runner.open(settings) as runner:
        created = await runner.prepare(spec)
        assert created is not None
        survey = await runner.survey(created)
        handle = await runner.start(spec)
        return survey, await handle.result()


def ledger(sandbox: Sandbox) -> dict[str, dict[str, Any]]:
    with urllib.request.urlopen(f"{sandbox.url}/_sandbox/ledger") as reply:
        return {entry["kind"]: entry for entry in json.load(reply)["entries"]}


async def test_the_plan_of_a_llama_run_is_what_the_ledger_bills_to_the_cent(
    of_2025: Sandbox, tmp_path: Path
) -> None:
    spec = spec_of(five_times_the_sample(tmp_path / "data"), LLAMA, "us-west-2")

    survey, run = await planned_and_run(spec, settings_for(of_2025, "us-west-2", tmp_path))
    bill = ledger(of_2025)

    assert run.outcome == "succeeded", run.reason
    assert bill["customization_job"]["tokens_trained"] == survey.cost.tokens_trained
    assert survey.cost.training is not None
    billed = Decimal(str(bill["customization_job"]["cost_usd"]))
    assert round(survey.cost.training, 2) == round(billed, 2) > 0
    rented = bill["provisioned_throughput"]
    hours = (
        datetime.fromisoformat(rented["ended_at"]) - datetime.fromisoformat(rented["created_at"])
    ).total_seconds() / 3600
    assert survey.cost.per_hour is not None
    assert round(float(survey.cost.per_hour) * hours, 2) == round(rented["cost_usd"], 2)


async def test_the_plan_of_the_sample_counts_the_tokens_that_are_billed(
    today: Sandbox, tmp_path: Path
) -> None:
    spec = spec_of(
        sample_folder(),
        NOVA,
        "us-east-1",
        dataset={"source": str(sample_folder()), "validation_split": "validation"},
    )

    survey, run = await planned_and_run(spec, settings_for(today, "us-east-1", tmp_path))
    bill = ledger(today)

    assert run.outcome == "succeeded", run.reason
    assert bill["customization_job"]["tokens_trained"] == survey.cost.tokens_trained > 0
    assert survey.cost.training is None
    assert bill["customization_job"]["cost_usd"] is None
    assert [(upload.objects, upload.rows_there) for upload in survey.uploads] == [(20, 0), (5, 0)]
    async with Runner.open(settings_for(today, "us-east-1", tmp_path)) as runner:
        created = await runner.prepare(spec, run_id="second")
        assert created is not None
        again = await runner.survey(created)
    assert [(upload.objects, upload.rows_there) for upload in again.uploads] == [(0, 20), (0, 5)]
    assert ("bucket", run.bucket, "reuse") in again.resources
    assert again.conflict is None


async def test_a_second_prompt_under_the_same_keys_is_a_conflict_in_the_plan(
    today: Sandbox, tmp_path: Path
) -> None:
    settings = settings_for(today, "us-east-1", tmp_path)
    await planned_and_run(spec_of(sample_folder(), NOVA, "us-east-1"), settings)
    other = spec_of(
        sample_folder(), NOVA, "us-east-1", prompt={"user": "Judge {{ html }}", "assistant": "{{ page }}"}
    )

    async with Runner.open(settings) as runner:
        created = await runner.prepare(other)
        assert created is not None
        survey = await runner.survey(created)

    assert survey.conflict is not None
    assert "prefix = " in survey.conflict


async def test_max_cost_below_what_the_run_needs_creates_nothing(of_2025: Sandbox, tmp_path: Path) -> None:
    spec = spec_of(five_times_the_sample(tmp_path / "data"), LLAMA, "us-west-2", budget={"max_cost": 5.0})

    async with Runner.open(settings_for(of_2025, "us-west-2", tmp_path)) as runner:
        with pytest.raises(ConfigurationError, match="max_cost is"):
            await runner.start(spec)

    assert ledger(of_2025) == {}


async def test_a_throughput_that_never_comes_is_released_within_max_cost(
    of_2025: Sandbox, tmp_path: Path
) -> None:
    """
    It is slow to warm up; the run gives it up when the money for it is used up, less the time to delete it.
    """
    of_2025.world.bend({"throughput_seconds": 3 * 3600})
    spec = spec_of(five_times_the_sample(tmp_path / "data"), LLAMA, "us-west-2", budget={"max_cost": 45.0})
    settings = settings_for(
        of_2025, "us-west-2", tmp_path, lease={"time_to_live": 90, "renew_every": 20, "guard": 30}
    )

    async with Runner.open(settings, clock=SandboxClock(of_2025)) as runner:
        handle = await runner.start(spec)
        run = await handle.result()
    rented = ledger(of_2025)["provisioned_throughput"]

    assert run.failure is not None
    assert run.failure.error == "BudgetReached"
    assert run.exit_code == 100
    assert not rented["still_billing"]
    assert run.created.budget is not None
    assert run.rented_from is not None

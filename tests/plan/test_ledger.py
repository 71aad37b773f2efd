"""What a plan says against what the sandbox bills."""

from __future__ import annotations

import json
import shutil
import urllib.request
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest

from tests.credentials import sandbox_credentials
from vlm_runner.aws.session import AwsSession
from vlm_runner.cli.exit_codes import run_exit_code
from vlm_runner.cli.run_view import RunView
from vlm_runner.clock import SystemClock
from vlm_runner.core.names import TAG_UID
from vlm_runner.dollars import dollars
from vlm_runner.errors import ConfigurationError
from vlm_runner.ingest.inspect import check_png_pixels
from vlm_runner.runner import Runner
from vlm_runner.sample import sample_folder
from vlm_runner.sandbox import Sandbox, SandboxOptions, read_prices
from vlm_runner.settings import PollSettings, Settings
from vlm_runner.spec import RunSpec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from vlm_runner.core.run import Run
    from vlm_runner.steps.preview import RunPreview

LLAMA = "meta.llama3-2-11b-instruct-v1:0:128k"
NOVA_PRO = "amazon.nova-pro-v1:0:300k"
NOVA_2 = "amazon.nova-2-lite-v1:0:256k"
NOVA = "amazon.nova-lite-v1:0:300k"
ROLE = "arn:aws:iam::123456789012:role/bedrock-sft"


class SandboxClock(SystemClock):
    """Tells the sandbox's time, and waits in this machine's."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    def now(self) -> datetime:
        return self._sandbox.clock.now()


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox_credentials(monkeypatch)


@pytest.fixture(scope="module", autouse=True)
def _each_page_inflated_once() -> Iterator[None]:
    """They are the sample's, up to ten times in a dataset, for lint and for staging."""
    with patch("vlm_runner.ingest.images.check_png_pixels", cache(check_png_pixels)):
        yield


@pytest.fixture
def of_2025() -> Iterator[Sandbox]:
    with Sandbox(
        SandboxOptions(as_of=datetime(2025, 6, 1, tzinfo=UTC), speed=36_000, model_units=2)
    ) as running:
        yield running


@pytest.fixture
def today() -> Iterator[Sandbox]:
    with Sandbox(
        SandboxOptions(as_of=datetime(2026, 11, 22, tzinfo=UTC), speed=36_000, model_units=2)
    ) as running:
        yield running


def times_the_sample(folder: Path, times: int = 5) -> Path:
    """A hundred records, which Llama wants; Nova 2 Lite wants two hundred. Held-out rows as they are."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir()
    table = pq.read_table(sample_folder() / "train.parquet")
    pq.write_table(pa.concat_tables([table] * times), folder / "train.parquet")
    shutil.copy(sample_folder() / "validation.parquet", folder)
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
        poll=PollSettings(first=0.02, longest=0.1, cancel_every=0.05, gone_after=0.1),
        quiet_minutes=0,
        **more,
    )


async def planned_and_run(spec: RunSpec, settings: Settings) -> tuple[RunPreview, Run]:
    async with Runner.open(settings) as runner:
        created = await runner.prepare(spec)
        assert created is not None
        survey = await runner.preview(created)
        handle = await runner.start(spec, lint=False)  # the preview has linted
        return survey, await handle.result()


def ledger(sandbox: Sandbox) -> dict[str, dict[str, Any]]:
    """By kind; of calls to several models their sum."""
    with urllib.request.urlopen(f"{sandbox.url}/_sandbox/ledger") as reply:
        said = json.load(reply)
    bill: dict[str, dict[str, Any]] = {}
    for entry in said["entries"]:
        before = bill.get(entry["kind"], {})
        assert not before or entry["kind"] == "on_demand_invocations"
        both = {
            name: entry[name] + before.get(name, 0)
            for name in ("invocations", "cost_usd")
            if entry[name] is not None
        }
        bill[entry["kind"]] = entry | {"now": said["now"]} | both
    return bill


def cents(dollars: Decimal | float) -> Decimal:
    return round(Decimal(str(dollars)), 2)


def check_bill(survey: RunPreview, run: Run, bill: dict[str, dict[str, Any]]) -> None:
    """
    All of the ledger is what the plan says, to the cent.

    How long a throughput warms up and how much a model answers is nobody's to foresee: there the plan gives
    a price and a bound, which are held against the hours and tokens that were.
    """
    cost = survey.cost
    assert run.outcome == "succeeded", run.reason
    assert bill["customization_job"]["tokens_trained"] == cost.tokens_trained > 0
    assert cost.training is not None
    assert cents(cost.training) == cents(bill["customization_job"]["cost_usd"]) > 0
    assert dollars(cost.training) == f"${cents(bill['customization_job']['cost_usd']):,}"
    rented, called = bill.get("provisioned_throughput"), bill.get("on_demand_invocations")
    calls = Decimal(0)
    if called is not None:
        calls = Decimal(str(called["cost_usd"]))
        assert cost.calls is not None
        assert 0 < calls <= cost.calls
    known = replace(cost, calls=calls, hours=hours_of(rented) if rented is not None else Decimal(0))
    assert known.expected is not None
    kept = bill["custom_model"]
    total = sum(Decimal(str(entry["cost_usd"])) for entry in bill.values() if entry is not kept)
    assert cents(known.expected) == cents(total)
    assert cost.storage_per_month is not None
    months = hours_of(kept) / 24 / 30
    assert cents(cost.storage_per_month * months) == cents(kept["cost_usd"])


def hours_of(entry: dict[str, Any]) -> Decimal:
    ended = datetime.fromisoformat(entry["ended_at"] or entry["now"])
    return Decimal((ended - datetime.fromisoformat(entry["created_at"])).total_seconds()) / 3600


async def check_cost_explorer(sandbox: Sandbox, run: Run, bill: dict[str, dict[str, Any]]) -> None:
    """What `vlm-runner cost` asks for is what the ledger has under the run's tag, but for storage, which goes on."""
    async with AwsSession(region="us-east-1", endpoint_url=sandbox.url) as session:
        day = sandbox.clock.now().date()
        found = await session.cost_explorer().billed(TAG_UID, run.uid, day, day + timedelta(days=1))
        assert await session.cost_explorer().billed(TAG_UID, "0" * 32, day, day + timedelta(days=1)) == {}
    family = {NOVA: "NovaLite", NOVA_PRO: "NovaPro", NOVA_2: "Nova2.0Lite"}[run.spec.model.base]
    trained = found[f"USE1-{family}-Customization-Training"]
    assert cents(trained) == cents(bill["customization_job"]["cost_usd"])
    rented = found.get(f"USE1-{family}-ProvisionedThroughput-NoCommit-ModelUnits")
    assert (rented is None) == ("provisioned_throughput" not in bill)
    if rented is not None:
        assert cents(rented) == cents(bill["provisioned_throughput"]["cost_usd"])


async def test_the_plan_of_a_llama_run_is_what_the_ledger_bills_to_the_cent(
    of_2025: Sandbox, tmp_path: Path
) -> None:
    spec = spec_of(times_the_sample(tmp_path / "data"), LLAMA, "us-west-2")

    survey, run = await planned_and_run(spec, settings_for(of_2025, "us-west-2", tmp_path))

    check_bill(survey, run, ledger(of_2025))


PRICES = f"""
[models."{NOVA}".prices]
training_per_million_tokens = 917.25
throughput_per_unit_hour = 61.5
storage_per_month = 1.95
input_per_million_tokens = 60
output_per_million_tokens = 240
custom_input_per_million_tokens = 90
custom_output_per_million_tokens = 360
"""
"""High ones, of nobody: the sample is small, and a cent must tell."""


@pytest.mark.parametrize("mode", ["provisioned", "on-demand", "none"])
async def test_the_plan_of_the_sample_is_what_the_ledger_bills_to_the_cent(mode: str, tmp_path: Path) -> None:
    """
    As a user does it whose account's prices no page tells: one file of them, for the plan and for the sandbox.
    """
    prices = tmp_path / "prices.toml"
    prices.write_text(PRICES)
    spec = spec_of(
        sample_folder(),
        NOVA,
        "us-east-1",
        dataset={"source": str(sample_folder()), "validation_split": "validation"},
        serving={"mode": mode},
        test={"rows": 3, "compare_base": mode != "none"},
    )

    options = SandboxOptions(
        as_of=datetime(2026, 11, 22, tzinfo=UTC), speed=36_000, prices=read_prices(prices), model_units=2
    )
    with Sandbox(options) as sandbox:
        # At this speed 20 minutes are 33 ms: a base call that is under way then is given up and made again.
        sandbox.state.change_scenario({"throughput_seconds": 20 * 3600})
        settings = settings_for(sandbox, "us-east-1", tmp_path, catalogue=prices)
        survey, run = await planned_and_run(spec, settings)
        bill = ledger(sandbox)

    check_bill(survey, run, bill)
    asked = {"provisioned": 3, "on-demand": 6, "none": 0}[mode]
    assert bill.get("on_demand_invocations", {}).get("invocations", 0) == asked
    assert ("provisioned_throughput" in bill) == (mode == "provisioned")
    assert survey.cost.unknown == ()
    assert {entry["price_source"] for entry in bill.values()} == {"prices.toml, the price file given"}


@pytest.mark.parametrize("mode", ["provisioned", "on-demand", "none"])
@pytest.mark.parametrize("base", [NOVA, NOVA_PRO, NOVA_2])
async def test_the_plan_by_the_price_list_is_what_the_ledger_bills_to_the_cent(
    base: str, mode: str, today: Sandbox, tmp_path: Path
) -> None:
    """
    Nobody gave a price: all come from GetProducts over HTTP, and the sandbox bills by the same ones.
    """
    source = times_the_sample(tmp_path / "data", 10 if base == NOVA_2 else 1)
    spec = spec_of(
        source,
        base,
        "us-east-1",
        dataset={"source": str(source), "validation_split": "validation"},
        serving={"mode": mode},
        test={"rows": 2, "compare_base": mode != "none"},
    )

    survey, run = await planned_and_run(spec, settings_for(today, "us-east-1", tmp_path))

    bill = ledger(today)
    check_bill(survey, run, bill)
    await check_cost_explorer(today, run, bill)
    assert survey.cost.unknown == survey.cost.about == ()
    assert survey.cost.prices_from.startswith(f"the price list of {today.url}, ")


async def test_a_nova_2_lite_run_with_held_out_rows_succeeds(today: Sandbox, tmp_path: Path) -> None:
    """
    Its job takes no validation set: the held-out rows are in S3 for the test calls, and are not sent.
    """
    source = times_the_sample(tmp_path / "data", 10)
    spec = spec_of(
        source,
        NOVA_2,
        "us-east-1",
        dataset={"source": str(source), "validation_split": "validation"},
        serving={"mode": "on-demand"},
        test={"rows": 2},
    )

    survey, run = await planned_and_run(spec, settings_for(today, "us-east-1", tmp_path))

    assert run.outcome == "succeeded", run.reason
    assert survey.report.codes["D413"] == 1
    assert run.job_intent is not None
    assert "validationDataConfig" not in run.job_intent.request
    assert run.tests is not None
    assert (run.tests.asked, run.tests.held_out) == (2, True)


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
    assert survey.cost.training == Decimal(str(bill["customization_job"]["cost_usd"]))
    assert [(upload.objects, upload.rows_there) for upload in survey.uploads] == [(20, 0), (5, 0)]
    async with Runner.open(settings_for(today, "us-east-1", tmp_path)) as runner:
        created = await runner.prepare(spec, run_id="second")
        assert created is not None
        again = await runner.preview(created)
    assert [(upload.objects, upload.rows_there) for upload in again.uploads] == [(0, 20), (0, 5)]
    assert ("bucket", run.bucket, "reuse") in again.resources
    assert again.conflict is None


@pytest.mark.parametrize("prefix", ["", "team"])
async def test_a_second_prompt_conflicts_under_a_prefix_that_was_given_and_nowhere_else(
    today: Sandbox, tmp_path: Path, prefix: str
) -> None:
    settings = settings_for(today, "us-east-1", tmp_path)
    storage = {"prefix": prefix}
    await planned_and_run(spec_of(sample_folder(), NOVA, "us-east-1", storage=storage), settings)
    prompt = {"user": "Judge {{ html }}", "assistant": "{{ page }}"}
    other = spec_of(sample_folder(), NOVA, "us-east-1", prompt=prompt, storage=storage)

    async with Runner.open(settings) as runner:
        created = await runner.prepare(other)
        assert created is not None
        survey = await runner.preview(created)

    if prefix:
        assert survey.conflict is not None
        assert "prefix = " in (survey.conflict.hint or "")
        return
    assert survey.conflict is None
    (train, *_) = survey.uploads
    assert (train.images, train.objects, train.rows_there) == ("images/train/", 0, train.rows)
    assert train.records.startswith("data/train/records-")


async def test_max_cost_below_what_the_run_needs_creates_nothing(of_2025: Sandbox, tmp_path: Path) -> None:
    spec = spec_of(times_the_sample(tmp_path / "data"), LLAMA, "us-west-2", budget={"max_cost": 5.0})

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
    of_2025.state.change_scenario({"throughput_seconds": 3 * 3600})
    spec = spec_of(times_the_sample(tmp_path / "data"), LLAMA, "us-west-2", budget={"max_cost": 45.0})
    settings = settings_for(
        of_2025, "us-west-2", tmp_path, lease={"time_to_live": 90, "renew_every": 20, "guard": 30}
    )

    async with Runner.open(settings, clock=SandboxClock(of_2025)) as runner:
        handle = await runner.start(spec)
        run = await handle.result()
    rented = ledger(of_2025)["provisioned_throughput"]

    assert run.failure is not None
    assert run.failure.error == "BudgetReached"
    assert run_exit_code(RunView.of(run)) == 100
    assert not rented["still_billing"]
    assert run.created.budget is not None
    assert run.rented_from is not None

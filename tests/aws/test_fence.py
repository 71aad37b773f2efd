"""The lease is asked after a create is signed and before it is sent: by real botocore, over real HTTP."""

from __future__ import annotations

import json
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

from tests.histories import happy_runs
from vlm_runner.aws.fence import set_fence
from vlm_runner.aws.session import AwsSession
from vlm_runner.core.decide import RequestServing, SubmitJob, decide
from vlm_runner.errors import LeaseExpired

if TYPE_CHECKING:
    from vlm_runner.core.run import Run


def ledger(url: str) -> Any:
    with urllib.request.urlopen(f"{url}/_sandbox/ledger") as answer:
        return json.load(answer)


def run_with(kind: type, mode: str) -> Run:
    """A run whose next command is of this kind."""
    runs = happy_runs(sections={"serving": {"mode": mode}})
    return next(run for run, _ in runs if not run.done and isinstance(decide(run), kind))


async def create(aws: AwsSession, run: Run) -> str:
    command = decide(run)
    if isinstance(command, SubmitJob):
        return await aws.bedrock.create_job(command.intent.request)
    assert isinstance(command, RequestServing)
    return await aws.bedrock.create_endpoint(command.intent.mode, command.intent.request)


@pytest.mark.parametrize("what", ["job", "provisioned", "on-demand"])
async def test_a_process_that_lost_its_lease_sends_nothing_that_pays(url: str, what: str) -> None:
    asked = []

    def stale() -> None:
        asked.append(what)
        raise LeaseExpired("the lease ran out")

    run = run_with(SubmitJob if what == "job" else RequestServing, "provisioned" if what == "job" else what)
    async with AwsSession(region="us-east-1", endpoint_url=url) as aws:
        set_fence(stale)
        with pytest.raises(LeaseExpired):
            await create(aws, run)
        set_fence(None)

    assert asked == [what]
    assert ledger(url)["entries"] == []


async def test_reading_is_not_fenced(url: str) -> None:
    """A process that lost its lease may still look."""

    def stale() -> None:
        raise LeaseExpired("the lease ran out")

    async with AwsSession(region="us-east-1", endpoint_url=url) as aws:
        set_fence(stale)
        assert await aws.bedrock.find_job("nobody") is None
        set_fence(None)

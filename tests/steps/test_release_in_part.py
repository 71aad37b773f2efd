"""A release does what it can: what one look cannot show, another does, and what is known is believed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from vlm_runner.core.run import Phase
from vlm_runner.errors import AccessDenied, AwsUnavailable
from vlm_runner.testing import Crash, FakeBedrock, Fault, Plan, Process, World

if TYPE_CHECKING:
    from vlm_runner.aws.ports import Job
    from vlm_runner.errors import VlmRunnerError


@pytest.mark.parametrize("error", [AccessDenied("bedrock:List…"), AwsUnavailable("a list without an end")])
async def test_what_the_name_finds_is_deleted_before_anything_is_listed(
    error: VlmRunnerError, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its create was not answered, so that no ARN is known."""
    world = World(bedrock=FakeBedrock(warming_takes=0))
    lost = Process(Plan(choose=lambda call: Fault.CRASH_AFTER if call == "bedrock.create_endpoint" else None))
    with pytest.raises(Crash):
        await world.live(lost)
    assert len(world.bedrock.alive) == 1
    await world.cancel()

    async def refused(*_: Any) -> Any:
        raise error
        yield

    with monkeypatch.context() as away:
        away.setattr(world.bedrock, "list_endpoints", refused)
        with anyio.move_on_after(3600):
            await world.live()
    assert world.bedrock.alive == []

    await world.live()
    assert await world.violations() == []


async def test_a_job_whose_arn_is_known_is_stopped_whatever_is_said_of_its_token(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(bedrock=FakeBedrock(training_takes=9000))
    await world.live(until=Phase.SUBMITTING)
    await world.cancel()
    find = world.bedrock.find_job

    async def without_token(name: str) -> Job | None:
        job = await find(name)
        return None if job is None else replace(job, token=None)

    monkeypatch.setattr(world.bedrock, "find_job", without_token)

    assert (await world.live()).outcome == "cancelled"
    assert world.bedrock.training() == []

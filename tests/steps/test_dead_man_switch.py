"""The net that needs no runner: AWS itself deletes the endpoint."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from dataclasses import replace
from datetime import timedelta
from typing import Any

import anyio
import pytest

from tests.histories import begun
from vlm_runner.core.decide import switch_to_verify
from vlm_runner.core.events import EndpointFailed
from vlm_runner.core.names import NAME_PREFIX
from vlm_runner.core.run import Phase
from vlm_runner.core.signals import Trouble
from vlm_runner.errors import (
    AccessDenied,
    AwsRefused,
    AwsUnavailable,
    ConfigurationError,
    RoleNotAssumable,
    VlmRunnerError,
)
from vlm_runner.spec import RunSpec
from vlm_runner.steps.job import submit_job
from vlm_runner.steps.serving import await_endpoint, request_serving
from vlm_runner.testing import Crash, FakeBedrock, Fault, Plan, Process, World
from vlm_runner.testing.world import tiny_spec

from .world import Desk, command

ROLE = "arn:aws:iam::123456789012:role/switch"
SWITCH = {"after": "2h", "role_arn": ROLE}
SERVING: dict[str, Any] = {"serving": {"dead_man_switch": SWITCH}}
REQUEST = command(Phase.REQUESTING, "serving_intended", **SERVING)


async def a_desk_with_a_model() -> tuple[Desk, Any]:
    desk = Desk()
    arn = desk.bedrock.apply_job(command(Phase.SUBMITTING, "job_intended").intent.request)
    await desk.clock.sleep(desk.bedrock.training_takes + desk.bedrock.model_takes)
    job = await desk.bedrock.find_job(arn)
    assert job is not None
    intent = REQUEST.intent
    request = replace(
        REQUEST, intent=intent.model_copy(update={"request": intent.request | {"modelId": job.model_arn}})
    )
    return desk, request


async def test_the_schedule_is_there_before_the_endpoint() -> None:
    desk, request = await a_desk_with_a_model()
    scheduler = desk.ports.aws.scheduler
    order: list[str] = []
    put, create = scheduler.put, desk.bedrock.create_endpoint

    async def noted_put(deletion: Any) -> None:
        order.append("schedule")
        await put(deletion)

    async def noted_create(*given: Any) -> str:
        order.append("endpoint")
        return await create(*given)

    scheduler.put = noted_put  # type: ignore[method-assign]
    desk.bedrock.create_endpoint = noted_create  # type: ignore[method-assign,assignment]

    event = await request_serving(request, desk.ports)

    assert order == ["schedule", "endpoint"]
    assert event.deleted_at == await scheduler.due(request.switch.schedule_name)


async def test_without_a_schedule_nothing_is_rented() -> None:
    desk, request = await a_desk_with_a_model()

    async def denied(_: Any) -> None:
        raise AccessDenied("scheduler:CreateSchedule is denied.")

    desk.ports.aws.scheduler.put = denied  # type: ignore[method-assign,assignment]

    with pytest.raises(AwsRefused):
        await request_serving(request, desk.ports)

    assert desk.bedrock.endpoints_created == 0


async def test_a_runner_that_never_comes_back_costs_no_more_than_was_said() -> None:
    """Killed while the endpoint bills, and nobody resumes: AWS deletes it after two hours."""
    world = World(bedrock=FakeBedrock(warming_takes=1800), **SERVING)
    dying = Process(Plan(choose=_on_nth("bedrock.find_endpoint", 4, Fault.CRASH_BEFORE)))

    with pytest.raises(Crash):
        await world.live(dying)
    born = world.bedrock.ledger[-1].created
    assert world.bedrock.alive
    await asyncio.sleep(3 * 3600)
    world.aws.scheduler.settle()

    assert world.bedrock.alive == []
    assert (await world.outcome()).run.may_bill
    run = await world.live()
    assert run.outcome == "failed"
    assert "dead man's switch" in (run.reason or "")
    assert world.bedrock.endpoints_created == 1
    assert world.bedrock.ledger[-1].created == born


async def test_a_runner_that_lives_releases_in_time_even_if_the_schedule_never_strikes() -> None:
    """The endpoint takes longer to come up than it may live: nobody waits for AWS to end that."""
    world = World(bedrock=FakeBedrock(warming_takes=2.5 * 3600), **SERVING)
    world.aws.scheduler.settle = lambda: None  # type: ignore[method-assign]
    world.bedrock.before_each = lambda: None

    run = await world.live()

    assert run.outcome == "failed"
    assert "its dead man's switch was set to" in (run.reason or "")
    assert world.bedrock.alive == []
    assert world.aws.scheduler.schedules == {}


async def test_a_switch_that_strikes_while_it_is_creating_waits_until_it_can() -> None:
    world = World(bedrock=FakeBedrock(warming_takes=4 * 3600), **SERVING)
    dying = Process(Plan(choose=_on_nth("bedrock.find_endpoint", 4, Fault.CRASH_BEFORE)))

    with pytest.raises(Crash):
        await world.live(dying)
    await asyncio.sleep(3 * 3600)
    world.aws.scheduler.settle()
    assert world.bedrock.alive
    await asyncio.sleep(2 * 3600)
    world.aws.scheduler.settle()

    assert world.bedrock.alive == []


async def test_release_takes_the_schedule_away() -> None:
    world = World(**SERVING)

    run = await world.live()

    assert run.outcome == "succeeded"
    assert world.aws.scheduler.schedules == {}
    assert world.aws.scheduler.fired == []


async def test_a_schedule_that_cannot_be_taken_away_ends_no_run() -> None:
    world = World(**SERVING)

    async def denied(_: str) -> None:
        raise AccessDenied("scheduler:DeleteSchedule is denied.")

    world.aws.scheduler.delete = denied  # type: ignore[method-assign,assignment]

    run = await world.live()

    assert run.outcome == "succeeded"
    assert any("deleting the schedule" in str(signal) for signal in world.signals)


@pytest.mark.parametrize("error", [AccessDenied, AwsUnavailable])
async def test_a_schedule_that_is_taken_away_at_the_second_attempt_is_gone(
    error: type[VlmRunnerError],
) -> None:
    """The one that tries the switch out, and the one that was for the endpoint."""
    world = World(**SERVING)
    delete, asked = world.aws.scheduler.delete, list[str]()

    async def refused_once(name: str) -> None:
        asked.append(name)
        if asked.count(name) == 1:
            raise error("scheduler:DeleteSchedule: not now.")
        await delete(name)

    world.aws.scheduler.delete = refused_once  # type: ignore[method-assign]

    run = await world.live()

    assert run.outcome == "succeeded"
    assert len(set(asked)) == 2
    assert world.aws.scheduler.schedules == {}


async def test_what_is_kept_for_a_time_is_deleted_by_aws_when_it_is_over() -> None:
    world = World(serving={"keep": "5h", "dead_man_switch": SWITCH})
    run = await world.live()
    assert run.handed_over is not None
    assert run.handed_over.arn in world.bedrock.alive

    await asyncio.sleep(5 * 3600)
    world.aws.scheduler.settle()

    assert world.bedrock.alive == []


async def test_what_is_kept_without_an_end_has_no_schedule() -> None:
    world = World(serving={"keep": True, "dead_man_switch": SWITCH})

    await world.live()

    assert world.aws.scheduler.schedules == {}
    assert world.bedrock.alive


async def test_nothing_is_handed_over_while_its_switch_may_strike() -> None:
    """A schedule that could not be moved would delete what its user was promised."""
    world = World(serving={"keep": True, "dead_man_switch": SWITCH})

    async def denied(_: str) -> None:
        raise AccessDenied("scheduler:DeleteSchedule is denied.")

    real, world.aws.scheduler.delete = world.aws.scheduler.delete, denied  # type: ignore[method-assign,assignment]
    with anyio.move_on_after(7200):
        await world.live()
    assert (await world.outcome()).run.handed_over is None
    assert any("DeleteSchedule" in one.message for one in world.signals if isinstance(one, Trouble))
    world.aws.scheduler.delete = real  # type: ignore[method-assign]

    run = await world.live()

    assert run.handed_over is not None


async def test_adopting_keeps_the_time_that_was_set_first() -> None:
    desk, request = await a_desk_with_a_model()
    first = await request_serving(request, desk.ports)
    await desk.clock.sleep(1800)

    second = await request_serving(request, desk.ports)

    assert second.adopted
    assert second.deleted_at == first.deleted_at


async def test_a_gone_endpoint_is_told_by_whom_it_was_deleted() -> None:
    desk, request = await a_desk_with_a_model()
    rented = await request_serving(request, desk.ports)
    assert rented.deleted_at is not None
    waiting = command(Phase.WARMING, **SERVING)
    waiting = replace(waiting, arn=rented.arn, deleted_at=rented.deleted_at)
    await desk.clock.sleep(timedelta(hours=2).total_seconds())

    event = await await_endpoint(waiting, desk.ports)

    assert isinstance(event, EndpointFailed)
    assert "its dead man's switch" in event.reason


async def test_schedules_are_named_as_our_other_things_are() -> None:
    assert REQUEST.switch.schedule_name.startswith(NAME_PREFIX)
    assert REQUEST.switch.schedule_name != REQUEST.intent.name
    assert len(REQUEST.switch.schedule_name) <= 64


def test_a_time_in_which_nothing_can_get_ready_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"serving\.dead_man_switch: after is 10m"):
        tiny_spec(serving={"dead_man_switch": {"after": "10m", "role_arn": ROLE}})


def test_a_field_that_is_left_out_does_not_change_which_run_a_spec_is() -> None:
    """A version with more fields must not take the spec of a run under way for a new one, and pay twice."""
    plain = tiny_spec()
    spelled = RunSpec.from_table(plain.model_dump(mode="json", exclude_none=True))

    assert spelled.fingerprint == plain.fingerprint
    assert tiny_spec(**SERVING).fingerprint != plain.fingerprint


def _on_nth(call: str, nth: int, fault: Fault) -> Any:
    seen = 0

    def choose(name: str) -> Fault | None:
        nonlocal seen
        seen += name == call
        return fault if name == call and seen == nth else None

    return choose


async def submitting(error: Exception | None = None) -> tuple[Desk, list[str]]:
    """What a desk is asked for while a job with a switch is submitted, in order."""
    desk, asked = Desk(), []
    scheduler, create = desk.ports.aws.scheduler, desk.bedrock.create_job
    put, delete = scheduler.put, scheduler.delete

    async def noted_put(deletion: Any) -> None:
        asked.append(f"create {deletion.name}")
        if error is not None:
            raise error
        await put(deletion)

    async def noted_delete(name: str) -> None:
        asked.append(f"delete {name}")
        await delete(name)

    async def noted_create(request: Any) -> str:
        asked.append("job")
        return await create(request)

    scheduler.put = noted_put  # type: ignore[method-assign]
    scheduler.delete = noted_delete  # type: ignore[method-assign]
    desk.bedrock.create_job = noted_create  # type: ignore[method-assign]
    with pytest.raises(type(error)) if error is not None else nullcontext():
        await submit_job(command(Phase.SUBMITTING, "job_intended", **SERVING), desk.ports)
    return desk, asked


async def test_the_switch_is_tried_out_before_the_training_is_paid() -> None:
    desk, asked = await submitting()

    name = command(Phase.SUBMITTING, "job_intended", **SERVING).switch_to_verify.schedule_name
    assert asked == [f"create {name}", f"delete {name}", "job"]
    assert name != REQUEST.switch.schedule_name
    assert await desk.ports.aws.scheduler.due(name) is None


@pytest.mark.parametrize(("mode", "tried"), [("on-demand", True), ("provisioned", True), ("none", False)])
def test_a_switch_is_tried_out_where_an_endpoint_will_be_rented(mode: str, tried: bool) -> None:
    run = begun(sections={"serving": {"mode": mode, "dead_man_switch": SWITCH}})

    assert (switch_to_verify(run) is not None) is tried


async def test_a_switch_that_cannot_be_used_is_refused_before_the_training_is_paid() -> None:
    refused = RoleNotAssumable("The execution role must allow AWS EventBridge Scheduler to assume the role.")

    _, asked = await submitting(refused)

    assert [each.split()[0] for each in asked] == ["create"]


async def test_a_kept_endpoint_is_not_deleted_by_a_schedule_that_only_seemed_to_be_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A deletion that found nothing, and a look that did not, may both have met a stale read."""
    world = World(serving={"keep": True, "dead_man_switch": SWITCH})
    delete, stale = world.aws.scheduler.delete, iter([True])

    async def sometimes(name: str) -> None:
        # The schedule that is tried out before the training has another name.
        if name in world.aws.scheduler.schedules and world.bedrock.alive and next(stale, False):
            return
        await delete(name)

    monkeypatch.setattr(world.aws.scheduler, "delete", sometimes)

    run = await world.live()

    assert run.handed_over is not None
    assert next(stale, None) is None
    assert world.aws.scheduler.schedules == {}

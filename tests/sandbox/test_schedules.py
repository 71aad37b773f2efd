"""One-time schedules of EventBridge Scheduler that delete something of Bedrock's."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from vlm_runner.sandbox.clock import SimulatedClock
from vlm_runner.sandbox.schedules import run_due
from vlm_runner.sandbox.state import SandboxState

from .desk import Desk
from .test_refusals import refusal
from .test_serving import rent


def delete_later(desk: Desk, seconds: float, **changes: Any) -> Any:
    scheduler = desk.client("scheduler")
    at = datetime.now(UTC) + timedelta(seconds=seconds)
    target = {
        "Arn": "arn:aws:scheduler:::aws-sdk:bedrock:deleteProvisionedModelThroughput",
        "RoleArn": "arn:aws:iam::123456789012:role/vlm-runner-switch",
        "Input": json.dumps({"ProvisionedModelId": "pt"}),
    }
    request = {
        "Name": "switch",
        "ScheduleExpression": f"at({at:%Y-%m-%dT%H:%M:%S})",
        "FlexibleTimeWindow": {"Mode": "OFF"},
        "ActionAfterCompletion": "DELETE",
        "Target": target | changes,
    }
    scheduler.create_schedule(**request)
    return scheduler


def test_a_schedule_that_was_moved_still_strikes(desk: Desk) -> None:
    rent(desk, desk.finished_model())
    scheduler = delete_later(desk, 60)
    found = scheduler.get_schedule(Name="switch")
    kept = ("Name", "ScheduleExpression", "FlexibleTimeWindow", "ActionAfterCompletion", "Target")
    scheduler.update_schedule(**{name: found[name] for name in kept})

    desk.advance(3600)

    assert not alive(desk)


def test_another_sandbox_of_the_process_does_not_run_it(desk: Desk) -> None:
    """What moto stores is global to the process, and the other's clock is a year ahead."""
    ours = desk.sandbox.state
    ahead = SimulatedClock(datetime(2027, 11, 22, tzinfo=UTC))
    other = SandboxState(ours.account, ahead, seed=1, prices=ours.prices)
    rent(desk, desk.finished_model())
    scheduler = delete_later(desk, 7200)

    with other.lock:
        run_due(other, other.now())

    assert [one["Name"] for one in scheduler.list_schedules()["Schedules"]] == ["switch"]
    assert alive(desk)


def test_a_name_that_is_taken_is_a_conflict_with_its_own_status(desk: Desk) -> None:
    delete_later(desk, 60)

    code, _, status = refusal(delete_later, desk=desk, seconds=60)

    assert (code, status) == ("ConflictException", 409)


def alive(desk: Desk) -> bool:
    return bool(desk.bedrock.list_provisioned_model_throughputs()["provisionedModelSummaries"])


def test_a_schedule_deletes_the_throughput_and_then_itself(desk: Desk) -> None:
    rent(desk, desk.finished_model())
    scheduler = delete_later(desk, 7200)
    desk.advance(7100)
    assert alive(desk)

    desk.advance(200)

    assert not alive(desk)
    assert refusal(scheduler.get_schedule, Name="switch")[0] == "ResourceNotFoundException"
    assert not desk.call("GET", "ledger")["entries"][-1]["still_billing"]


def test_what_is_creating_is_deleted_once_it_can_be(desk: Desk) -> None:
    rent(desk, desk.finished_model())
    scheduler = delete_later(desk, 60)
    desk.advance(120)
    assert alive(desk)
    assert scheduler.get_schedule(Name="switch")["State"] == "ENABLED"

    desk.advance(1200)

    assert not alive(desk)


def test_a_schedule_without_anything_to_delete_gives_up_after_its_age(desk: Desk) -> None:
    scheduler = delete_later(desk, 60, RetryPolicy={"MaximumEventAgeInSeconds": 3600})
    desk.advance(1800)
    assert scheduler.get_schedule(Name="switch")["State"] == "ENABLED"

    desk.advance(2000)

    assert refusal(scheduler.get_schedule, Name="switch")[0] == "ResourceNotFoundException"


@pytest.mark.parametrize(
    "target",
    [
        {"Arn": "arn:aws:scheduler:::aws-sdk:bedrock:deleteGuardrail"},
        {"Arn": "arn:aws:lambda:us-east-1:123456789012:function:anything"},
        {"Input": json.dumps({"ProvisionedModelId": "another"})},
    ],
)
def test_a_schedule_for_something_else_deletes_nothing(desk: Desk, target: dict[str, str]) -> None:
    rent(desk, desk.finished_model())
    delete_later(desk, 2000, **target)

    desk.advance(4000)

    assert alive(desk)


@pytest.mark.parametrize("ahead", [0, 30 * 86400])
def test_a_schedule_is_due_in_the_sandboxs_time_whatever_its_clock_shows(desk: Desk, ahead: float) -> None:
    """
    A sandbox that has run fast is days ahead of its clients, who date schedules by their own clock.
    """
    desk.advance(ahead)
    rent(desk, desk.finished_model())
    scheduler = delete_later(desk, 12 * 3600)

    desk.advance(12 * 3600 - 60)
    before = alive(desk)
    desk.advance(120)

    assert (before, alive(desk)) == (True, False)
    assert refusal(scheduler.get_schedule, Name="switch")[0] == "ResourceNotFoundException"

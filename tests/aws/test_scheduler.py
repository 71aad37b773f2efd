"""The port `Scheduler`: one contract for the double and for real botocore over real HTTP."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from tests.credentials import sandbox_credentials
from vlm_runner.aws.answers import AwsAnswer, AwsService
from vlm_runner.aws.ports import Deletion
from vlm_runner.aws.scheduler import request_for
from vlm_runner.aws.session import AwsSession
from vlm_runner.errors import AwsUnavailable
from vlm_runner.sandbox import Sandbox, SandboxOptions
from vlm_runner.spec import ServingMode
from vlm_runner.testing.scheduler import FakeScheduler

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from vlm_runner.aws.ports import Scheduler

DUE = datetime(2027, 1, 31, 23, 59, 1, tzinfo=UTC)
DELETION = Deletion(
    "vr-cats-1", DUE, ServingMode.PROVISIONED, "vr-cats-2", "arn:aws:iam::123456789012:role/vlm-runner-switch"
)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with Sandbox(SandboxOptions(model_units=2)) as sandbox:
        yield sandbox.url


@pytest.fixture(params=["double", "sandbox"])
async def scheduler(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Scheduler]:
    if request.param == "double":
        yield FakeScheduler(lambda _: False)
        return
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    async with AwsSession(region="us-east-1", endpoint_url=request.getfixturevalue("url")) as session:
        await session.scheduler.delete(DELETION.name)
        yield session.scheduler


async def test_what_was_never_made_is_not_due(scheduler: Scheduler) -> None:
    assert await scheduler.due("vr-none") is None


async def test_a_schedule_says_when_it_runs(scheduler: Scheduler) -> None:
    await scheduler.put(DELETION)

    assert await scheduler.due(DELETION.name) == DUE


async def test_putting_it_again_moves_it(scheduler: Scheduler) -> None:
    later = Deletion(DELETION.name, DUE + timedelta(days=1), *_rest())
    await scheduler.put(DELETION)

    await scheduler.put(later)

    assert await scheduler.due(DELETION.name) == later.due


async def test_a_deleted_one_is_gone_and_may_be_deleted_again(scheduler: Scheduler) -> None:
    await scheduler.put(DELETION)

    await scheduler.delete(DELETION.name)
    await scheduler.delete(DELETION.name)

    assert await scheduler.due(DELETION.name) is None


async def test_a_deletion_that_is_answered_and_not_done_is_an_error(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A portal's answer is as empty as Scheduler's own, and the schedule would delete what its user keeps."""
    sandbox_credentials(monkeypatch)
    real = AwsService.call

    async def call(service: AwsService, operation: str, /, **named: Any) -> AwsAnswer:
        if operation == "DeleteSchedule":
            return AwsAnswer(operation, {})
        return await real(service, operation, **named)

    async with AwsSession(region="us-east-1", endpoint_url=url) as session:
        await session.scheduler.put(DELETION)
        monkeypatch.setattr(AwsService, "call", call)
        with pytest.raises(AwsUnavailable, match="was not deleted"):
            await session.scheduler.delete(DELETION.name)

        assert await session.scheduler.due(DELETION.name) == DUE


def test_times_go_out_in_utc_whatever_their_zone() -> None:
    there = DUE.astimezone(datetime.fromisoformat("2027-02-01T09:00:00+09:00").tzinfo)

    request = request_for(Deletion(DELETION.name, there, *_rest()))

    assert request["ScheduleExpression"] == "at(2027-01-31T23:59:01)"
    assert request["ScheduleExpressionTimezone"] == "UTC"


@pytest.mark.parametrize(
    ("mode", "action", "given"),
    [
        (ServingMode.PROVISIONED, "deleteProvisionedModelThroughput", '{"ProvisionedModelId": "vr-cats-2"}'),
        (
            ServingMode.ON_DEMAND,
            "deleteCustomModelDeployment",
            '{"CustomModelDeploymentIdentifier": "vr-cats-2"}',
        ),
    ],
)
def test_each_kind_of_endpoint_has_its_own_deletion(mode: ServingMode, action: str, given: str) -> None:
    target = request_for(Deletion("vr-cats-1", DUE, mode, "vr-cats-2", DELETION.role_arn))["Target"]

    assert target["Arn"] == f"arn:aws:scheduler:::aws-sdk:bedrock:{action}"
    assert target["Input"] == given


def _rest() -> tuple[ServingMode, str, str]:
    return DELETION.mode, DELETION.endpoint_name, DELETION.role_arn

"""EventBridge Scheduler: one-time schedules that delete an endpoint."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from vlm_runner.errors import AwsUnavailable, Conflict, NotFound
from vlm_runner.spec import ServingMode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vlm_runner.aws.answers import AwsAnswer, AwsService
    from vlm_runner.aws.ports import Deletion

TARGETS: Final[Mapping[ServingMode, tuple[str, str]]] = {
    ServingMode.PROVISIONED: ("deleteProvisionedModelThroughput", "ProvisionedModelId"),
    ServingMode.ON_DEMAND: ("deleteCustomModelDeployment", "CustomModelDeploymentIdentifier"),
}
"""
The API action of a universal target, and its parameter that takes a name.

Scheduler user guide, managing-targets-universal: `arn:aws:scheduler:::aws-sdk:service:apiAction`. That
Bedrock is among the services is not documented; only read-only actions are documented as excluded.
"""

RETRY: Final = {"MaximumEventAgeInSeconds": 86400, "MaximumRetryAttempts": 185}
"""The most that AWS allows (API reference, RetryPolicy): what is Creating cannot be deleted at once."""

_AT: Final = "at(%Y-%m-%dT%H:%M:%S)"


class EventBridgeScheduler:
    """Schedules of the default group."""

    def __init__(self, service: AwsService) -> None:
        self._service = service

    async def due(self, name: str) -> datetime | None:
        found = await self._find(name)
        if found is None:
            return None
        return found.parsed(
            "ScheduleExpression", lambda text: datetime.strptime(text, _AT).replace(tzinfo=UTC)
        )

    async def put(self, deletion: Deletion) -> None:
        request = request_for(deletion)
        try:
            # Its own token is random, which is as good as none: the name is what makes this once.
            answer = await self._service.call("CreateSchedule", about=deletion.name, **request)
        except Conflict:
            answer = await self._service.call("UpdateSchedule", about=deletion.name, **request)
        answer.arn("ScheduleArn")  # an answer without it is not one of Scheduler, and nothing is scheduled

    async def delete(self, name: str) -> None:
        with suppress(NotFound):
            await self._service.call("DeleteSchedule", about=name, Name=name)
        # The answer is empty, so that nothing tells it from one that is not AWS's, and a schedule that is
        # still there deletes what its user keeps.
        if await self._find(name) is not None:
            raise AwsUnavailable(f"The schedule {name} was not deleted.")

    async def _find(self, name: str) -> AwsAnswer | None:
        try:
            return await self._service.call("GetSchedule", about=name, Name=name)
        except NotFound:
            return None


def request_for(deletion: Deletion) -> dict[str, Any]:
    """CreateSchedule's parameters, and UpdateSchedule's, which replaces all of them."""
    action, parameter = TARGETS[deletion.mode]
    partition = deletion.role_arn.split(":")[1]
    return {
        "Name": deletion.name,
        "Description": f"vlm-runner: deletes {deletion.endpoint_name} if nothing else does.",
        "ScheduleExpression": deletion.due.astimezone(UTC).strftime(_AT),
        "ScheduleExpressionTimezone": "UTC",
        "FlexibleTimeWindow": {"Mode": "OFF"},
        "ActionAfterCompletion": "DELETE",
        "Target": {
            "Arn": f"arn:{partition}:scheduler:::aws-sdk:bedrock:{action}",
            "RoleArn": deletion.role_arn,
            "Input": json.dumps({parameter: deletion.endpoint_name}),
            "RetryPolicy": RETRY,
        },
    }

"""
EventBridge Scheduler: one-time schedules whose universal target deletes a Bedrock resource.

moto stores schedules but never runs them. Here each runs when it is due, and again until it succeeds or
the maximum age of its retry policy is reached (API reference, RetryPolicy: 24 hours where none is given).
"""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from vlm_runner.sandbox import deployments, throughputs
from vlm_runner.sandbox.errors import AwsError
from vlm_runner.sandbox.resources import Region
from vlm_runner.sandbox.state import SandboxState

_TARGET = ":scheduler:::aws-sdk:bedrock:"
_ACTIONS: dict[str, Callable[[SandboxState, Region, Mapping[str, Any]], dict[str, Any]]] = {
    "deleteProvisionedModelThroughput": throughputs.delete_throughput,
    "deleteCustomModelDeployment": deployments.delete_deployment,
}


def run_due(state: SandboxState, now: datetime) -> None:
    """The caller holds the lock of the state."""
    for region, group, schedule in list(_schedules(state.account)):
        due = _due(schedule)
        if schedule.state != "ENABLED" or due is None or due > now:
            continue
        age = timedelta(seconds=schedule.target["RetryPolicy"].get("MaximumEventAgeInSeconds", 86400))
        if _ran(state, region, schedule.target) or now > due + age:
            schedule.state = "DISABLED"
            if schedule.action_after_completion == "DELETE":
                del group.schedules[schedule.name]


def _schedules(account: str) -> Iterator[tuple[str, Any, Any]]:
    """Region, group and schedule; moto's scheduler is imported only if schedules are used."""
    models = sys.modules.get("moto.scheduler.models")
    if models is None:
        return
    for region, backend in list(models.scheduler_backends[account].items()):
        for group in list(backend.schedule_groups.values()):
            for schedule in list(group.schedules.values()):
                if _TARGET in schedule.target["Arn"]:
                    yield region, group, schedule


def _due(schedule: Any) -> datetime | None:
    """Of `at(yyyy-mm-ddThh:mm:ss)` in its time zone; None for recurring schedules."""
    expression = schedule.schedule_expression
    if not expression.startswith("at("):
        return None
    zone = schedule.schedule_expression_timezone
    local = datetime.fromisoformat(expression[3:-1]).replace(tzinfo=ZoneInfo(zone) if zone != "UTC" else UTC)
    return local.astimezone(UTC)


def _ran(state: SandboxState, region: str, target: Mapping[str, Any]) -> bool:
    act = _ACTIONS.get(target["Arn"].rpartition(":")[2])
    if act is None:
        return False
    # Bedrock's parameters begin with a lower-case letter, those of universal targets with a capital.
    given = {name[:1].lower() + name[1:]: value for name, value in json.loads(target["Input"]).items()}
    try:
        act(state, state.region(region), given)
    except (AwsError, KeyError):
        return False
    return True

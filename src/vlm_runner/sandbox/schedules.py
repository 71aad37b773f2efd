"""
EventBridge Scheduler: one-time schedules whose universal target deletes a Bedrock resource.

moto stores schedules but never runs them, and checks neither target nor role. Here each runs when it is due,
with the rights of its role, and again until it succeeds or the maximum age of its retry policy is reached
(API reference, RetryPolicy: 24 hours where none is given); one that may not be retried runs once. What failed
is told to the dead-letter queue, if the schedule has one (user guide, configuring-schedule-dlq).

Clients date schedules by their own clock, and this one may be days ahead of it. What a client calls twelve
hours from now, by the time that it signed the request with, is twelve hours of simulated time.
"""

import json
import re
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from vlm_runner.sandbox import deployments, throughputs
from vlm_runner.sandbox.authorization import deletion
from vlm_runner.sandbox.errors import AwsError, invalid
from vlm_runner.sandbox.guard import denial
from vlm_runner.sandbox.http import HttpReply, HttpRequest
from vlm_runner.sandbox.policies import Question
from vlm_runner.sandbox.resources import Region
from vlm_runner.sandbox.roles import assumable
from vlm_runner.sandbox.service_api import service_api
from vlm_runner.sandbox.state import SandboxState

_TARGET = ":scheduler:::aws-sdk:bedrock:"
_ACTIONS: dict[str, Callable[[SandboxState, Region, Mapping[str, Any]], dict[str, Any]]] = {
    "deleteProvisionedModelThroughput": throughputs.delete_throughput,
    "deleteCustomModelDeployment": deployments.delete_deployment,
}
_READ_ONLY = (
    # User guide, managing-targets-universal, "Unsupported actions"
    "get", "describe", "list", "poll", "receive", "search", "scan", "query", "select", "read", "lookup",
    "discover", "validate", "batchGet", "batchDescribe", "batchRead", "transactGet", "adminGet", "adminList",
    "testMigration", "retrieve", "testConnection", "translateDocument", "isAuthorized", "invokeModel",
)  # fmt: skip


def check_schedule(state: SandboxState, region: str, body: Mapping[str, Any]) -> None:
    """
    What CreateSchedule and UpdateSchedule refuse; the Input is not looked at (configuring-schedule-dlq).

    Raises:
        AwsError: ValidationException. The sentence about the role is AWS's; those about the target are not
            known, but for "not valid for the service".
    """
    target = body.get("Target", {})
    universal = re.fullmatch(r"arn:aws[^:]*:scheduler:::aws-sdk:([^:]+):([^:]+)", str(target.get("Arn", "")))
    if universal is not None:
        service, action = universal.groups()
        if action.startswith(_READ_ONLY) or (service == "bedrock" and not _is_action(action)):
            raise invalid(f"The api {action} is not valid for the service {service}.")
    group = body.get("GroupName", "default")
    source = f"arn:aws:scheduler:{region}:{state.account}:schedule-group/{group}"
    service = "scheduler.amazonaws.com"
    if state.scenario.require_roles and not assumable(
        str(target.get("RoleArn", "")), state.roles, service=service, account=state.account, source=source
    ):
        raise invalid(
            "The execution role you provide must allow AWS EventBridge Scheduler to assume the role."
        )


def note_lead(state: SandboxState, region: str, request: HttpRequest) -> None:
    """Of a schedule that was created or changed just now. The caller holds the lock of the state."""
    signed = request.headers.get("x-amz-date")
    name = request.path.strip("/").removeprefix("schedules/")
    group = request.json().get("GroupName", "default")
    lead = timedelta()
    if signed is not None:
        lead = state.now() - datetime.strptime(signed, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    state.leads[region, group, name] = lead


def mended(reply: HttpReply) -> HttpReply:
    """Of moto, which answers errors with 400 whatever their status, and absent members with null."""
    if not reply.body:
        return reply
    body = json.loads(reply.body)
    headers = {name.lower(): value for name, value in reply.headers}
    code = headers.get("x-amzn-errortype") or body.get("__type", "")
    status = service_api("scheduler").status_of(code) if reply.status >= 400 else None
    kept = {name: value for name, value in body.items() if value is not None}
    sent = [(name, value) for name, value in reply.headers if name.lower() != "content-length"]
    return HttpReply(status or reply.status, sent, json.dumps(kept).encode())


def _is_action(action: str) -> bool:
    return action[:1].islower() and service_api("bedrock").has(action[:1].upper() + action[1:])


def run_due(state: SandboxState, now: datetime) -> None:
    """
    Run what is due of the schedules that this sandbox was asked for. The caller holds the lock of the state.

    Another sandbox of this process sees the same ones: what moto holds is global, and its clock is another.
    """
    for region, group, schedule in list(_schedules(state.account)):
        lead = state.leads.get((region, group.name, schedule.name))
        if lead is None:
            continue
        due = _due(schedule, lead)
        # An UpdateSchedule without State means ENABLED (API reference); moto keeps None.
        if (schedule.state or "ENABLED") != "ENABLED" or due is None or due > now:
            continue
        retries = schedule.target["RetryPolicy"]
        age = timedelta(seconds=retries.get("MaximumEventAgeInSeconds", 86400))
        error = _error(state, region, schedule.target)
        over = now > due + age or retries.get("MaximumRetryAttempts") == 0
        if error is not None and over:
            _tell_queue(state, schedule, due, error)
        if error is None or over:
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


def _due(schedule: Any, lead: timedelta) -> datetime | None:
    """In simulated time, of `at(yyyy-mm-ddThh:mm:ss)` in its time zone; None for recurring schedules."""
    expression = schedule.schedule_expression
    if not expression.startswith("at("):
        return None
    zone = schedule.schedule_expression_timezone
    local = datetime.fromisoformat(expression[3:-1]).replace(tzinfo=ZoneInfo(zone) if zone != "UTC" else UTC)
    return local.astimezone(UTC) + lead


def _error(state: SandboxState, region: str, target: Mapping[str, Any]) -> AwsError | None:
    """What the target answers; None: done."""
    action = target["Arn"].rpartition(":")[2]
    act = _ACTIONS.get(action)
    if act is None:
        return AwsError(
            "AWS.Scheduler.InternalServerError", "Unexpected error occurred while processing the request"
        )
    # Bedrock's parameters begin with a lower-case letter, those of universal targets with a capital.
    given = {name[:1].lower() + name[1:]: value for name, value in json.loads(target["Input"]).items()}
    principal = state.roles.principal(target["RoleArn"].rpartition("/")[2])
    try:
        needed = deletion(state, region, action[:1].upper() + action[1:], given)
        if principal is not None and (refused := state.guard.denied(principal, [needed])):
            return denial("bedrock", principal.arn, *refused)
        act(state, state.region(region), given)
    except AwsError as error:
        return error
    except KeyError as error:
        return invalid(f"{error.args[0]} is missing.")
    return None


def _tell_queue(state: SandboxState, schedule: Any, due: datetime, error: AwsError) -> None:
    """A dead-letter event: the input as its body, and what failed in its attributes."""
    from moto.sqs.models import sqs_backends  # noqa: PLC0415 -- moto is imported when first needed

    queue = schedule.target.get("DeadLetterConfig", {}).get("Arn")
    principal = state.roles.principal(schedule.target["RoleArn"].rpartition("/")[2])
    if queue is None or (
        principal is not None and state.guard.denied(principal, [Question("sqs:SendMessage", queue, {})])
    ):
        return
    told = {
        "ERROR_CODE": error.code,
        "ERROR_MESSAGE": error.message,
        "EXECUTION_ID": uuid.uuid4().hex[:16],
        "IS_PAYLOAD_TRUNCATED": "false",
        "RETRY_ATTEMPTS": "0",
        "SCHEDULED_TIME": due.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "SCHEDULE_ARN": schedule.arn,
        "TARGET_ARN": schedule.target["Arn"],
    }
    attributes = {name: {"DataType": "String", "StringValue": text} for name, text in told.items()}
    _, _, _, region, _, name = queue.split(":")
    backend = sqs_backends[state.account][region]
    if name in backend.queues:  # else the event is lost, as at AWS
        backend.send_message(name, schedule.target["Input"], attributes)

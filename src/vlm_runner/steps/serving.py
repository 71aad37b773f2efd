"""
REQUESTING, WARMING and SERVING: create what bills by the hour at most once, wait until it can be called, and
watch over it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from vlm_runner.core.decide import AwaitEndpoint, IntendServing, RequestServing, RunTests, Serve
from vlm_runner.core.events import EndpointFailed, EndpointReady, ServingIntended, ServingRequested
from vlm_runner.core.intents import intend_serving
from vlm_runner.core.names import TAG_UID
from vlm_runner.core.pace import OVERDUE, Unseen, rest_at_most
from vlm_runner.core.signals import RemoteStatusChanged
from vlm_runner.core.text import storable
from vlm_runner.errors import AwsRefused
from vlm_runner.spec import ServingMode
from vlm_runner.steps.as_written import questions_as_written
from vlm_runner.steps.dead_man_switch import arm, deletion_time
from vlm_runner.steps.polling import counts_as_gone, poll
from vlm_runner.steps.registry import performs

if TYPE_CHECKING:
    from vlm_runner.aws.ports import Endpoint
    from vlm_runner.steps.ports import Ports

READY = frozenset({"InService", "Active"})
WARMING = frozenset({"Creating", "Updating"})


@performs(IntendServing)
async def intend(command: IntendServing, ports: Ports) -> ServingIntended:
    """
    What is to be rented, once the questions that it is rented for have been read.

    Raises:
        DataError: the records in S3 are not this run's any more.
        ObjectChanged: something else replaced or deleted them.
        AwsRefused, AwsUnavailable: they cannot be read.
    """
    run = command.run
    await questions_as_written(run, ports)
    return intend_serving(run)


@performs(RequestServing)
async def request_serving(command: RequestServing, ports: Ports) -> ServingRequested:
    """
    Create the throughput or deployment, or adopt the one that an earlier attempt created.

    Raises:
        AwsRefused: Bedrock will not create it (a quota, a right), or one that is not ours has its name.
        UncertainCreate: it may have been created.
        AwsUnavailable: nothing was created; it may be retried.
    """
    if found := await _ours(command, ports):
        return await _adopted(found, command, ports)
    # Before the create: from its first second on, the endpoint is one that AWS will delete.
    deleted_at = await arm(command.switch, ports)
    intent = command.intent
    try:
        arn = await ports.aws.bedrock.create_endpoint(intent.mode, intent.request)
        return ServingRequested(arn=arn, deleted_at=deleted_at)
    except AwsRefused:
        if found := await _ours(command, ports):
            return await _adopted(found, command, ports)
        raise


async def _adopted(found: Endpoint, command: RequestServing, ports: Ports) -> ServingRequested:
    due = await deletion_time(command.switch, ports)
    return ServingRequested(arn=found.arn, adopted=True, deleted_at=due)


async def _ours(command: RequestServing, ports: Ports) -> Endpoint | None:
    intent = command.intent
    found = await ports.aws.bedrock.find_endpoint(intent.mode, intent.name)
    if found is not None and not await is_ours(found, command.uid, ports):
        raise AwsRefused(
            f"{found.arn} is named {intent.name} and is not this run's: it lacks the tag {TAG_UID}.",
            hint="It was not created by vlm-runner. Start again with another --run-id.",
        )
    return found


async def is_ours(endpoint: Endpoint, uid: str, ports: Ports) -> bool:
    """By its tags: Bedrock does not echo the token of a throughput or deployment."""
    return (await ports.aws.bedrock.tags(endpoint.arn)).get(TAG_UID) == uid


@performs(AwaitEndpoint)
async def await_endpoint(command: AwaitEndpoint, ports: Ports) -> EndpointReady | EndpointFailed:
    """
    Wait until it can be called; while Creating it can neither be used nor deleted.

    Meanwhile the base model is asked, if the run compares with it: once the endpoint is ready, its rent
    should pay for nothing but its own calls. What is not answered by then is answered beside them.
    """
    base_calls = ports.base_calls
    if base_calls is None:
        return await _until_ready(command, ports)
    if command.meanwhile is not None:
        base_calls.begin(RunTests(command.meanwhile, command.arn), ports)
    ready = False
    try:
        event = await _until_ready(command, ports)
        ready = isinstance(event, EndpointReady)
    finally:
        if not ready:
            base_calls.cancel()
    return event


async def _until_ready(command: AwaitEndpoint, ports: Ports) -> EndpointReady | EndpointFailed:
    shown: str | None = None
    began, unseen = ports.clock.elapsed(), Unseen()
    told = began

    async def look() -> Endpoint | None:
        return await ports.aws.bedrock.find_endpoint(command.mode, command.arn)

    def at_most() -> float:
        rented = command.mode is ServingMode.PROVISIONED
        return rest_at_most(ports.clock.elapsed() - began) if rented else math.inf

    async for endpoint in poll(ports, "watching the endpoint", look, at_most=at_most):
        if endpoint is None:
            unseen = unseen.another(ports.clock.elapsed())
            if not counts_as_gone(unseen, began, ports):
                continue
            return EndpointFailed(reason=_gone(command, ports))
        unseen = Unseen()
        if endpoint.status != shown:
            shown = endpoint.status
            ports.signal(RemoteStatusChanged(what="endpoint", arn=endpoint.arn, status=endpoint.status))
            if endpoint.status not in READY | WARMING | {"Failed"}:
                ports.trouble("watching the endpoint", f"unknown status '{endpoint.status}', still waiting")
        if endpoint.status == "Failed":
            return EndpointFailed(reason=_failure(endpoint, command.mode))
        if endpoint.status in READY:
            return EndpointReady()
        told = _told_if_overdue(endpoint, began, told, ports)
    raise AssertionError("poll never ends")


def _told_if_overdue(endpoint: Endpoint, began: float, told: float, ports: Ports) -> float:
    """When it was last told that the endpoint, waited for since `began`, is not ready: `told`, or now."""
    now = ports.clock.elapsed()
    if now - told < OVERDUE:
        return told
    ports.trouble(
        "watching the endpoint",
        f"{endpoint.arn} is {endpoint.status} after {(now - began) / 3600:.0f} h, and may bill; "
        "who cancels the run gives it up",
    )
    return now


@performs(Serve)
async def serve(command: Serve, ports: Ports) -> EndpointFailed:
    """
    Watch the endpoint for as long as it is served. Its end is the driver's to find, and interrupts this.

    Returns only where the endpoint ended of itself.
    """
    began, unseen = ports.clock.elapsed(), Unseen()

    async def look() -> Endpoint | None:
        return await ports.aws.bedrock.find_endpoint(command.mode, command.arn)

    async for endpoint in poll(ports, "watching the endpoint", look):
        unseen = Unseen() if endpoint is not None else unseen.another(ports.clock.elapsed())
        if endpoint is None and counts_as_gone(unseen, began, ports):
            return EndpointFailed(reason=_gone(command, ports))
        if endpoint is not None and endpoint.status == "Failed":
            return EndpointFailed(reason=_failure(endpoint, command.mode))
    raise AssertionError("poll never ends")


def _gone(command: AwaitEndpoint | Serve, ports: Ports) -> str:
    due = command.deleted_at
    by = "its dead man's switch" if due is not None and ports.clock.now() >= due else "someone else"
    return f"{command.arn} was deleted by {by}."


def _failure(endpoint: Endpoint, mode: ServingMode) -> str:
    return storable(
        f"The {mode} endpoint {endpoint.arn} failed: {endpoint.failure or 'Bedrock gave no reason.'}"
    )

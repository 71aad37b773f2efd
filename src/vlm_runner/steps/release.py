"""RELEASING: stop and delete whatever of this run may cost, and see it gone."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from vlm_runner.core.events import Released
from vlm_runner.core.signals import RemoteStatusChanged
from vlm_runner.errors import AwsRefused, AwsUnavailable
from vlm_runner.steps.job import RUNNING
from vlm_runner.steps.serving import is_ours
from vlm_runner.steps.watching import looks

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from vlm_runner.aws.ports import Endpoint, Job
    from vlm_runner.core.commands import Release
    from vlm_runner.spec import ServingMode
    from vlm_runner.steps.ports import Ports

T = TypeVar("T")


async def release(command: Release, ports: Ports) -> Released:
    """
    Returns only when Bedrock has been seen to know nothing of it any more.

    A refusal to delete is told, and tried again: giving up would leave it billing.

    Raises:
        CredentialsError: for as long as `looks` bears it, AWS did not take our credentials.
    """
    stopped = await _stop_job(command, ports)
    deleted: list[str] = []
    while True:
        deleted += await _delete_endpoints(command, ports)
        if command.sweep_until is None or ports.clock.now() >= command.sweep_until:
            break
        left = (command.sweep_until - ports.clock.now()).total_seconds()
        await ports.clock.sleep(min(ports.poll.longest, max(left, 0.1)))
        # What was created late may be a job as well.
        stopped = await _stop_job(command, ports) or stopped
    return Released(deleted=tuple(dict.fromkeys(deleted)), job_stopped=stopped)


async def _stop_job(command: Release, ports: Ports) -> bool:
    if command.job_name is None:
        return False
    name, asked = command.job_name, False

    async def look() -> Job | None:
        nonlocal asked
        job = await ports.aws.bedrock.find_job(name)
        if job is None or job.token != command.job_token:
            return None
        if job.status == "InProgress":
            await ports.aws.bedrock.stop_job(job.arn)
            asked = True
        return job

    async for job in looks(ports, "stopping the job", _bearing(look, "stopping the job")):
        if job is None or job.status not in RUNNING:
            break
        ports.signal(RemoteStatusChanged(what="job", arn=job.arn, status=job.status))
    return asked


async def _delete_endpoints(command: Release, ports: Ports) -> list[str]:
    if command.mode is None or command.endpoint_name is None:
        return []
    mode, name = command.mode, command.endpoint_name
    deleted: list[str] = []

    async def look() -> list[Endpoint]:
        there = await _find_all(mode, name, command, ports)
        for endpoint in there:
            gone = await ports.aws.bedrock.delete_endpoint(mode, endpoint.arn)
            deleted.extend([endpoint.arn] if gone else [])
        return there

    async for there in looks(ports, "deleting the endpoint", _bearing(look, "deleting the endpoint")):
        if not there:
            break
        for endpoint in there:
            ports.signal(RemoteStatusChanged(what="endpoint", arn=endpoint.arn, status=endpoint.status))
    return deleted


async def _find_all(mode: ServingMode, name: str, command: Release, ports: Ports) -> list[Endpoint]:
    """By ARN, by name and by listing; each is checked to be ours before anything is deleted."""
    bedrock = ports.aws.bedrock
    known = [await bedrock.find_endpoint(mode, key) for key in (command.endpoint_arn, name) if key]
    found = {endpoint.arn: endpoint for endpoint in known if endpoint is not None}
    if command.sweep_until is not None:
        found |= {endpoint.arn: endpoint async for endpoint in bedrock.list_endpoints(mode, name)}
    return [
        endpoint
        for endpoint in found.values()
        if endpoint.arn == command.endpoint_arn or await is_ours(endpoint, command.uid, ports)
    ]


def _bearing(look: Callable[[], Awaitable[T]], doing: str) -> Callable[[], Awaitable[T]]:
    """`look`, with every refusal turned into something to be tried again."""

    async def bear() -> T:
        try:
            return await look()
        except AwsRefused as error:
            raise AwsUnavailable(f"{doing}: {error.message}", hint=error.hint) from error

    return bear

"""RELEASING: stop and delete everything of this run that may cost, and confirm that it is gone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from vlm_runner.core.decide import HandOver, Release
from vlm_runner.core.events import HandedOver, Released
from vlm_runner.core.names import NEVER, TAG_EXPIRES
from vlm_runner.core.pace import Unseen, between_looks
from vlm_runner.core.signals import RemoteStatusChanged
from vlm_runner.errors import AwsRefused, AwsUnavailable
from vlm_runner.steps.dead_man_switch import disarm, move
from vlm_runner.steps.job import ENDED
from vlm_runner.steps.polling import poll
from vlm_runner.steps.registry import performs
from vlm_runner.steps.serving import is_ours
from vlm_runner.steps.tagging import put_tags
from vlm_runner.steps.whose_account import refuse_other_account

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from vlm_runner.aws.ports import Endpoint, Job
    from vlm_runner.spec import ServingMode
    from vlm_runner.steps.ports import Ports

T = TypeVar("T")


@performs(Release)
async def release(command: Release, ports: Ports) -> Released:
    """
    Returns only when Bedrock has been seen to list nothing of this run any more.

    A refusal to delete is reported and retried: giving up would leave the endpoint billing.

    Raises:
        CredentialsError: AWS has rejected our credentials for longer than `poll` retries.
        OtherAccount: nothing was found, and it was looked for in another account.
    """
    if ports.base_calls is not None:
        ports.base_calls.cancel()
    began, seen = ports.clock.elapsed(), _Seen()
    while True:
        # The last pass must begin after the last moment in which a create can arrive: one that began
        # earlier could miss it.
        over = _is_over(command, seen, ports.clock.elapsed() - began)
        await _stop_job(command, ports, seen)
        await _delete_endpoints(command, ports, seen)
        if over or (seen.anything and command.sweep_for <= 0):
            await refuse_other_account(command.account, ports)
            await disarm(command.switch, ports)
            return Released(deleted=tuple(dict.fromkeys(seen.deleted)), job_stopped=seen.stopped)
        left = max(command.sweep_for, command.unseen_for) - (ports.clock.elapsed() - began)
        await ports.clock.sleep(min(ports.poll.longest, max(left, 0.1)))


@dataclass(slots=True)
class _Seen:
    anything: bool = False
    stopped: bool = False
    deleted: list[str] = field(default_factory=list[str])


def _is_over(command: Release, seen: _Seen, passed: float) -> bool:
    visible = seen.anything or passed >= command.unseen_for
    return visible and passed >= command.sweep_for


@performs(HandOver)
async def hand_over(command: HandOver, ports: Ports) -> HandedOver:
    """
    Tag the endpoint with its expiry, for `reap`, and leave it running.

    Raises:
        AwsRefused, AwsUnavailable: its dead man's switch would delete it at another time.
        AwsUnavailable: its tag is not seen yet.
    """
    # Before the tag: were it the other way round, a kept endpoint could still be deleted at the old time.
    await move(command.switch, command.expires_at, ports)
    expires = NEVER if command.expires_at is None else command.expires_at.isoformat(timespec="seconds")
    try:
        await put_tags(ports.aws, command.arn, {TAG_EXPIRES: expires})
    except AwsRefused as error:
        # Not fatal: the checkpoint holds the expiry too.
        ports.trouble("tagging the endpoint with its expiry", error)
    return HandedOver(
        arn=command.arn,
        name=command.name,
        delete_command=command.delete_command,
        expires_at=command.expires_at,
    )


async def _stop_job(command: Release, ports: Ports, seen: _Seen) -> None:
    if command.job_name is None:
        return
    name = command.job_name

    async def look() -> Job | None:
        job = await ports.aws.bedrock.find_job(name)
        if job is None or (job.arn != command.job_arn and job.token != command.job_token):
            return None
        seen.anything = True
        if job.status not in ENDED | {"Stopping"}:
            await ports.aws.bedrock.stop_job(job.arn)
            seen.stopped = True
        return job

    unseen = Unseen()
    async for job in poll(ports, "stopping the job", _refusals_retried(look, "stopping the job")):
        if job is None:
            unseen = unseen.another(now := ports.clock.elapsed())
            expected = command.job_expected or seen.anything
            if not expected or unseen.is_gone(now, ports.poll.gone_after):
                break
            continue
        unseen = Unseen()
        if job.status in ENDED:
            break
        ports.signal(RemoteStatusChanged(what="job", arn=job.arn, status=job.status))


async def _delete_endpoints(command: Release, ports: Ports, seen: _Seen) -> None:
    if command.mode is None or command.endpoint_name is None:
        return
    mode, name = command.mode, command.endpoint_name

    async def look() -> list[Endpoint]:
        # First of all what is known to be ours: under throttling each further look may fail, and what is not
        # deleted bills meanwhile.
        known = command.endpoint_arn
        if known is not None and await _may_be_there(mode, known, ports):
            await _delete(mode, known, ports, seen)
        there: list[Endpoint] = []
        async for endpoint in _each(mode, name, command, ports):
            there.append(endpoint)
            ports.signal(RemoteStatusChanged(what="endpoint", arn=endpoint.arn, status=endpoint.status))
            if endpoint.arn != known:
                await _delete(mode, endpoint.arn, ports, seen)
        return there

    doing, unseen = "deleting the endpoint", Unseen()
    while True:
        async for there in poll(ports, doing, _refusals_retried(look, doing)):
            if not there:
                break
            unseen = Unseen()
        unseen = unseen.another(now := ports.clock.elapsed())
        expected = command.endpoint_arn is not None or seen.anything
        # One round of stale reads must not end the release of something that is known to have been there.
        if not expected or unseen.is_gone(now, ports.poll.gone_after):
            return
        await ports.clock.sleep(between_looks(ports.poll.gone_after))


async def _may_be_there(mode: ServingMode, arn: str, ports: Ports) -> bool:
    try:
        return await ports.aws.bedrock.find_endpoint(mode, arn) is not None
    except AwsUnavailable as error:
        ports.trouble("looking for the endpoint", error)
        return True


async def _delete(mode: ServingMode, arn: str, ports: Ports, seen: _Seen) -> None:
    accepted = await ports.aws.bedrock.delete_endpoint(mode, arn)
    seen.anything = True
    seen.deleted.extend([arn] if accepted else [])


async def _each(mode: ServingMode, name: str, command: Release, ports: Ports) -> AsyncIterator[Endpoint]:
    """
    By ARN, by name and by listing, each once; each is checked to be ours before anything is deleted.

    One after the other: a list that is refused or never ends must not keep from deletion what a name finds.
    """
    found = set[str]()
    async for endpoint in _shown(mode, name, command, ports):
        if endpoint.arn not in found:
            found.add(endpoint.arn)
            if endpoint.arn == command.endpoint_arn or await is_ours(endpoint, command.uid, ports):
                yield endpoint


async def _shown(mode: ServingMode, name: str, command: Release, ports: Ports) -> AsyncIterator[Endpoint]:
    bedrock = ports.aws.bedrock
    for key in (command.endpoint_arn, name):
        if key and (endpoint := await bedrock.find_endpoint(mode, key)) is not None:
            yield endpoint
    # That a name is unique among throughputs is nowhere promised.
    async for endpoint in bedrock.list_endpoints(mode, name):
        yield endpoint


def _refusals_retried(look: Callable[[], Awaitable[T]], doing: str) -> Callable[[], Awaitable[T]]:
    """`look`, with each refusal turned into an error that `poll` retries."""

    async def retried() -> T:
        try:
            return await look()
        except AwsRefused as error:
            raise AwsUnavailable(f"{doing}: {error}") from error

    return retried

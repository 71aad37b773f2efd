"""
Find what bills and outlived its run, and delete it: the last net, fit for a schedule.

Needs bedrock:List…, ListTagsForResource, Get… and Delete… of throughputs and deployments, and read access to
the checkpoints.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vlm_runner.aws.seen_gone import seen_gone, spaced_looks
from vlm_runner.checkpoint import lease
from vlm_runner.clock import SystemClock
from vlm_runner.core.expiry import ExpiryVerdict, Rented, judge
from vlm_runner.core.names import NAME_PREFIX, delete_command
from vlm_runner.core.pace import LOOKS_UNTIL_GONE, PollPace, between_looks
from vlm_runner.errors import AwsRefused, AwsUnavailable, NotFound, RunNotFound, VlmRunnerError
from vlm_runner.spec import ServingMode
from vlm_runner.task_groups import task_group

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from datetime import timedelta

    from vlm_runner.aws.ports import Aws, Endpoint
    from vlm_runner.checkpoint.base import CheckpointStore
    from vlm_runner.clock import Clock
    from vlm_runner.core.run import Run
    from vlm_runner.models import Catalogue

MODES = (ServingMode.PROVISIONED, ServingMode.ON_DEMAND)


@dataclass(frozen=True, slots=True)
class RentedEndpoint:
    """An endpoint of our runs that bills, or may; `gone` once it was deleted and seen to be gone."""

    rented: Rented
    verdict: ExpiryVerdict
    delete_command: str
    price_per_hour: str | None
    gone: bool = False
    trouble: str | None = None


async def find_rented(
    aws: Aws,
    store: CheckpointStore,
    clock: Clock,
    catalogue: Catalogue,
    *,
    older_than: timedelta | None = None,
    gone_after: float = PollPace().gone_after,
    on_unlisted: Callable[[VlmRunnerError], None] | None = None,
) -> list[RentedEndpoint]:
    """
    All throughputs and deployments of our runs in this account and region, and what is to become of each.

    Each is judged by itself: one whose tags, run or model cannot be read is in the list, unexplained, and
    keeps nothing else from being judged. Takes `gone_after` seconds: a list may be stale, so that what one
    does not show, another may. And twice that where tags do not show whose an endpoint is.

    `on_unlisted` is called where not everything could be listed: that is no reason to leave what was.

    Raises:
        AwsRefused, AwsUnavailable: the same, without `on_unlisted`: nothing can be said.
    """
    found: list[RentedEndpoint] = []
    for listed in await _listed(aws, clock, gone_after, on_unlisted):
        judged = await _judged(listed, store, clock=clock, older_than=older_than)
        found += [] if judged is None else [_priced(*judged, aws, catalogue)]
    return found


@dataclass(slots=True)
class _Listed:
    """An endpoint with our name, as it was shown last, and all that any look has shown of its tags."""

    mode: ServingMode
    endpoint: Endpoint
    tags: dict[str, str] = field(default_factory=dict[str, str])
    unread: VlmRunnerError | None = None
    """Why the last look showed no tags."""

    async def look(self, aws: Aws) -> None:
        try:
            self.tags |= await aws.bedrock.tags(self.endpoint.arn)
            self.unread = None
        except VlmRunnerError as error:
            self.unread = error

    @property
    def rented(self) -> Rented:
        shown = self.endpoint
        return Rented(self.mode, shown.arn, shown.name, shown.status, shown.created_at, self.tags)


async def _named(
    aws: Aws, mode: ServingMode, on_unlisted: Callable[[VlmRunnerError], None] | None
) -> AsyncIterator[Endpoint]:
    """Those with our name, as far as they are listed."""
    try:
        async for endpoint in aws.bedrock.list_endpoints(mode, NAME_PREFIX):
            if endpoint.name.startswith(NAME_PREFIX):
                yield endpoint
    except (AwsRefused, AwsUnavailable) as error:
        if on_unlisted is None:
            raise
        on_unlisted(error)


async def _listed(
    aws: Aws, clock: Clock, gone_after: float, on_unlisted: Callable[[VlmRunnerError], None] | None
) -> list[_Listed]:
    """What any of several looks shows."""
    found: dict[str, _Listed] = {}
    async for _ in spaced_looks(clock, gone_after):
        for mode in MODES:
            async for endpoint in _named(aws, mode, on_unlisted):
                found.setdefault(endpoint.arn, _Listed(mode, endpoint)).endpoint = endpoint
        for one in found.values():
            await one.look(aws)
    for _ in range(LOOKS_UNTIL_GONE - 1):
        unclear = [one for one in found.values() if one.unread is not None or not one.rented.is_ours]
        if unclear:
            await clock.sleep(between_looks(gone_after))
        for one in unclear:
            await one.look(aws)
    return list(found.values())


async def reap(
    aws: Aws,
    found: Sequence[RentedEndpoint],
    *,
    clock: Clock | None = None,
    gone_after: float = PollPace().gone_after,
) -> list[RentedEndpoint]:
    """
    `found`, with those deleted that have outlived their run. What cannot be deleted says why.

    Takes `gone_after` seconds more where something is deleted: then it is seen to be gone.
    """
    reaped = list(found)

    async def delete(place: int) -> None:
        reaped[place] = await _deleted(aws, clock or SystemClock(), found[place], gone_after)

    async with task_group() as group:
        for place, one in enumerate(found):
            if one.verdict.outlived:
                group.start_soon(delete, place)
    return reaped


def may_still_bill(found: Sequence[RentedEndpoint]) -> list[RentedEndpoint]:
    """What is still there and outlived its run, or is explained by no run that can be read."""
    return [one for one in found if not one.gone and (one.verdict.outlived or not one.verdict.explained)]


async def _judged(
    listed: _Listed, store: CheckpointStore, *, clock: Clock, older_than: timedelta | None
) -> tuple[Rented, ExpiryVerdict, Run | None] | None:
    """None for what is gone by now, or not ours."""
    rented, unread_tags = listed.rented, listed.unread
    if isinstance(unread_tags, NotFound):
        return None
    if not rented.is_ours:
        if unread_tags is None:
            return None
        # Ours or not, nobody can say; by its name it may be.
        reason = f"its tags cannot be read: {unread_tags.message}"
        return rented, ExpiryVerdict(outlived=False, reason=reason, explained=False), None
    try:
        run = (await lease.load(store, rented.run_id, clock=clock))[0].run
    except RunNotFound:
        return rented, judge(rented, None, now=clock.now(), older_than=older_than), None
    except VlmRunnerError as error:
        unread = f"its run cannot be read: {error.message}"
        return rented, judge(rented, None, now=clock.now(), older_than=older_than, unread=unread), None
    return rented, judge(rented, run, now=clock.now(), older_than=older_than), run


def _priced(
    rented: Rented, verdict: ExpiryVerdict, run: Run | None, aws: Aws, catalogue: Catalogue
) -> RentedEndpoint:
    price = None
    if run is not None and rented.mode is ServingMode.PROVISIONED:
        profile = catalogue.known(run.spec.model.base)
        price = None if profile is None else profile.throughput_price(run.spec.serving.model_units)
    command = delete_command(rented.mode, rented.arn, aws.region)
    return RentedEndpoint(rented, verdict, command, None if price is None else str(price))


async def _deleted(aws: Aws, clock: Clock, one: RentedEndpoint, gone_after: float) -> RentedEndpoint:
    rented = one.rented
    trouble: str | None = f"it is {rented.status}, and Bedrock does not delete it yet"
    gone = False
    try:
        if await aws.bedrock.delete_endpoint(rented.mode, rented.arn):
            gone = await seen_gone(aws, clock, rented.mode, rented.arn, gone_after)
            trouble = None if gone else "it was asked to be deleted, and is still there"
    except VlmRunnerError as error:
        trouble = error.message
    return RentedEndpoint(rented, one.verdict, one.delete_command, one.price_per_hour, gone, trouble)

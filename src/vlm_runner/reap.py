"""
Find what bills and outlived its run, and delete it: the last net, fit for a schedule.

Needs bedrock:List…, ListTagsForResource, Get… and Delete… of throughputs and deployments, and read access to
the checkpoints.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vlm_runner.checkpoint import lease
from vlm_runner.core.expiry import ExpiryVerdict, Rented, judge
from vlm_runner.core.names import NAME_PREFIX, delete_command
from vlm_runner.errors import AwsRefused, AwsUnavailable, CheckpointError, NotFound, RunNotFound
from vlm_runner.models import load_catalogue
from vlm_runner.spec import ServingMode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from datetime import timedelta

    from vlm_runner.aws.ports import Aws
    from vlm_runner.checkpoint.base import CheckpointStore
    from vlm_runner.clock import Clock
    from vlm_runner.core.run import Run

MODES = (ServingMode.PROVISIONED, ServingMode.ON_DEMAND)


@dataclass(frozen=True, slots=True)
class RentedEndpoint:
    """Something of ours that bills, or may; `gone` once it was deleted and seen to be gone."""

    rented: Rented
    verdict: ExpiryVerdict
    delete_command: str
    price_per_hour: str | None
    gone: bool = False
    trouble: str | None = None


async def find_rented(
    aws: Aws, store: CheckpointStore, clock: Clock, *, older_than: timedelta | None = None
) -> list[RentedEndpoint]:
    """
    All throughputs and deployments of ours in this account and region, and what is to become of each.

    Raises:
        AwsRefused, AwsUnavailable: not everything could be seen, so nothing can be said.
    """
    return [
        await _found(rented, aws, store, clock, older_than)
        for mode in MODES
        async for rented in _ours(aws, mode)
    ]


async def reap(aws: Aws, found: Sequence[RentedEndpoint]) -> list[RentedEndpoint]:
    """`found`, with those deleted that have outlived their run. What cannot be deleted says why."""
    return [await _deleted(aws, one) if one.verdict.outlived else one for one in found]


def may_still_bill(found: Sequence[RentedEndpoint]) -> list[RentedEndpoint]:
    """What outlived its run, and is still there."""
    return [one for one in found if one.verdict.outlived and not one.gone]


async def _ours(aws: Aws, mode: ServingMode) -> AsyncIterator[Rented]:
    listed = [one async for one in aws.bedrock.list_endpoints(mode, NAME_PREFIX)]
    for one in listed:
        if not one.name.startswith(NAME_PREFIX):
            continue
        try:
            tags = await aws.bedrock.tags(one.arn)
        except NotFound:
            continue
        rented = Rented(mode, one.arn, one.name, one.status, one.created_at, tags)
        if rented.is_ours:
            yield rented


async def _found(
    rented: Rented, aws: Aws, store: CheckpointStore, clock: Clock, older_than: timedelta | None
) -> RentedEndpoint:
    command = delete_command(rented.mode, rented.arn, aws.region)
    try:
        run = await _run_of(rented, store, clock)
    except CheckpointError as error:
        return RentedEndpoint(
            rented,
            ExpiryVerdict(outlived=False, reason=f"its run cannot be read: {error.message}"),
            command,
            None,
        )
    verdict = judge(rented, run, now=clock.now(), older_than=older_than)
    return RentedEndpoint(
        rented, verdict, command, _price(run) if rented.mode is ServingMode.PROVISIONED else None
    )


async def _run_of(rented: Rented, store: CheckpointStore, clock: Clock) -> Run | None:
    try:
        checkpoint, _ = await lease.load(store, rented.run_id, clock=clock)
    except (RunNotFound, ValueError):
        return None
    return checkpoint.run


def _price(run: Run | None) -> str | None:
    if run is None:
        return None
    price = load_catalogue().find(run.spec.model.base).throughput_price(run.spec.serving.model_units)
    return None if price is None else str(price)


async def _deleted(aws: Aws, one: RentedEndpoint) -> RentedEndpoint:
    rented = one.rented
    trouble: str | None = f"it is {rented.status}, and Bedrock does not delete it yet"
    gone = False
    try:
        if await aws.bedrock.delete_endpoint(rented.mode, rented.arn):
            gone = await aws.bedrock.find_endpoint(rented.mode, rented.arn) is None
            trouble = None if gone else "it was asked to be deleted, and is still there"
    except (AwsRefused, AwsUnavailable) as error:
        trouble = error.message
    return RentedEndpoint(rented, one.verdict, one.delete_command, one.price_per_hour, gone, trouble)

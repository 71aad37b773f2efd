"""
Deleting a run: its endpoint, its model, its objects, and its checkpoint last, so that whatever interrupts it,
the same command finds the run again and goes on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from vlm_runner.aws.seen_gone import seen_gone
from vlm_runner.checkpoint import lease
from vlm_runner.core import places
from vlm_runner.core.deletion import plan_deletion
from vlm_runner.core.names import run_folder
from vlm_runner.core.places import ClosedPlace, KeyClaim
from vlm_runner.errors import Conflict, UsageError
from vlm_runner.steps.custom_models import is_kept
from vlm_runner.task_groups import task_group

if TYPE_CHECKING:
    from collections.abc import Callable

    from vlm_runner.aws.ports import Aws, Objects
    from vlm_runner.checkpoint.base import CheckpointStore
    from vlm_runner.clock import Clock
    from vlm_runner.core.deletion import PlaceFate, RunDeletion
    from vlm_runner.core.events import Place
    from vlm_runner.core.run import Run

AT_ONCE = 16
"""Deletions of objects."""


async def prepare_deletion(run_id: str, store: CheckpointStore, clock: Clock) -> RunDeletion:
    """
    What `delete_run` would delete. Reads every run of the store.

    Raises:
        RunNotFound, CheckpointError: the run does not exist, or cannot be read.
    """
    run = (await lease.load(store, run_id, clock=clock))[0].run
    others, unread = await lease.load_all(store, clock=clock, but=run_id)
    return plan_deletion(run, [other.run for other in others], unread)


async def delete_run(
    run_id: str,
    aws: Aws,
    store: CheckpointStore,
    clock: Clock,
    *,
    gone_after: float,
    told: Callable[[str], None] = lambda _: None,
) -> RunDeletion:
    """
    Delete all that `prepare_deletion` says; `told` hears of each thing that is gone. Interrupted anywhere, it
    can be repeated, and comes to the same end.

    Raises:
        UsageError: something uses it; nothing was deleted.
        Conflict: something that no run of the store knows serves the model, or its endpoint is still there.
        AwsRefused, AwsUnavailable: not all was deleted; repeat it.
    """
    plan = await prepare_deletion(run_id, store, clock)
    refuse_in_use(plan)
    run = plan.run
    if plan.model_arn is not None and await is_kept(aws, clock, plan.model_arn, gone_after):
        raise UsageError(
            f"The model of run {run_id} is marked to be kept. Nothing was deleted.",
            hint=f"Remove the mark with: vlm-runner keep {run_id} --undo",
        )
    if plan.endpoint is not None:
        mode, arn = plan.endpoint
        if not await aws.bedrock.delete_endpoint(mode, arn):
            raise Conflict(
                f"{arn} cannot be deleted yet; it is Creating, Updating or Deleting. Repeat it later."
            )
        # Once the checkpoint is deleted, nothing knows of it.
        if not await seen_gone(aws, clock, mode, arn, gone_after):
            raise Conflict(f"{arn} was asked to be deleted, and is still there. Repeat it later.")
        told(f"endpoint {arn}")
    if plan.model_arn is not None:
        await aws.bedrock.delete_model(plan.model_arn)
        if await aws.bedrock.find_model(plan.model_arn) is not None:
            raise Conflict(f"{plan.model_arn} was asked to be deleted, and is still there. Repeat it later.")
        told(f"custom model {plan.model_arn}")
    objects = aws.objects(run.bucket, owner=run.account)
    await _delete_places(plan, objects, store, clock, told)
    # The run last: while its checkpoint is there, this can be repeated.
    for one in (*plan.servings, run):
        await _delete_all(objects, run_folder(one), told)
        await store.delete(one.run_id)
        told(f"run {one.run_id}")
    return plan


def refuse_in_use(plan: RunDeletion) -> None:
    """
    Raises:
        UsageError: something uses what would be deleted.
    """
    if plan.in_use:
        raise UsageError(
            f"{' '.join(plan.in_use)} Nothing was deleted.",
            hint=f"End it first, with vlm-runner cancel, or delete it before run {plan.run.run_id}.",
        )


async def _delete_places(
    plan: RunDeletion, objects: Objects, store: CheckpointStore, clock: Clock, told: Callable[[str], None]
) -> None:
    """
    Delete what no other run uses of the places.

    Their claims are closed first, so that no run that begins meanwhile comes to share one, and only then it
    is asked, once more, who uses them. What another deletion holds keeps the rest from nothing.
    """
    closed: list[_PlaceDeletion] = []
    refusal: UsageError | None = None
    for place in (fate.place for fate in plan.places):
        one = _PlaceDeletion(place, plan.run, objects, store=store, told=told)
        try:
            await one.close()
            closed.append(one)
        except UsageError as error:
            refusal = refusal or error
    if closed:
        fates = {fate.place: fate for fate in (await prepare_deletion(plan.run.run_id, store, clock)).places}
        for one in closed:
            await one.delete(fates.get(one.place))
    if refusal is not None:
        raise refusal


class _PlaceDeletion:
    """Deletes what of a place no other run uses, once its claim is closed."""

    def __init__(
        self,
        place: Place,
        run: Run,
        objects: Objects,
        *,
        store: CheckpointStore,
        told: Callable[[str], None],
    ) -> None:
        self.place = place
        self._run, self._objects, self._store, self._told = run, objects, store, told
        self._closed: ClosedPlace | None = None

    async def close(self) -> None:
        """
        Raises:
            UsageError: another run that shares it is being deleted.
        """
        self._closed = await self._close()

    async def delete(self, fate: PlaceFate | None) -> None:
        """`fate` is None if somebody else has deleted the run that used it."""
        if fate is not None and not fate.records_used_by:
            await _delete_all(self._objects, self.place.shards, self._told)
            await self._objects.delete(self.place.records)
        if fate is None or fate.images_used_by:
            await self._reopen(self._closed)
            return
        for prefix in (self.place.images, self.place.data):
            await _delete_all(self._objects, prefix, self._told, but=places.claim_key(self.place))
        await self._objects.delete(places.claim_key(self.place))

    async def _close(self) -> ClosedPlace | None:
        """What the claim was closed with; None: there is none, so nobody new can find the place."""
        key = places.claim_key(self.place)
        while (found := await self._objects.get(key)) is not None:
            if (closed := ClosedPlace.parse(found.body)) is not None:
                if closed.deleting != self._run.run_id and await self._exists(closed.deleting):
                    raise UsageError(
                        f"Run {closed.deleting} is being deleted, and shares s3://{self._objects.bucket}/{key}.",
                        hint=f"Finish that first: vlm-runner delete {closed.deleting} --yes",
                    )
                return closed
            closed = ClosedPlace(deleting=self._run.run_id, claim=KeyClaim.parse(found.body))
            body = closed.model_dump_json().encode()
            if await self._objects.put_if(key, body, replacing=found.etag) is not None:
                return closed
        return None

    async def _exists(self, run_id: str) -> bool:
        return await self._store.read(run_id) is not None

    async def _reopen(self, closed: ClosedPlace | None) -> None:
        if closed is None:
            return
        key = places.claim_key(self.place)
        while (found := await self._objects.get(key)) is not None and ClosedPlace.parse(
            found.body
        ) is not None:
            body = closed.claim.model_dump_json().encode()
            if await self._objects.put_if(key, body, replacing=found.etag) is not None:
                return


async def _delete_all(objects: Objects, prefix: str, told: Callable[[str], None], *, but: str = "") -> None:
    """Every object under `prefix` except `but`."""
    slots, count = anyio.Semaphore(AT_ONCE), 0

    async def one(key: str) -> None:
        try:
            await objects.delete(key)
        finally:
            slots.release()

    async with task_group() as group:
        async for item in objects.list(prefix):
            if item.key == but:
                continue
            await slots.acquire()
            group.start_soon(one, item.key)
            count += 1
    if count:
        told(f"{count:,} object{'s' * (count != 1)} of s3://{objects.bucket}/{prefix}")

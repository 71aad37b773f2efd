"""The custom models that runs of this account trained: who trained and who uses them, and which may go."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from vlm_runner.aws.seen_gone import spaced_looks
from vlm_runner.checkpoint import lease
from vlm_runner.core.names import KEPT, NOT_KEPT, TAG_KEEP, TAG_RUN, TAG_UID, may_be_ours
from vlm_runner.errors import NotFound, VlmRunnerError
from vlm_runner.spec import ServingMode
from vlm_runner.steps.tagging import put_tags

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime, timedelta

    from vlm_runner.aws.ports import Aws, CustomModel
    from vlm_runner.checkpoint.base import CheckpointStore
    from vlm_runner.clock import Clock
    from vlm_runner.core.run import Run

MODES: Final = (ServingMode.PROVISIONED, ServingMode.ON_DEMAND)


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """A custom model of one of our runs, as AWS has it."""

    arn: str
    name: str
    run_id: str
    """That trained it, by its tags."""
    created_at: datetime | None
    status: str
    kept: bool
    """Marked to be kept: no schedule deletes it."""
    endpoints: tuple[str, ...]
    """ARNs of what serves it now."""
    run: Run | None = None
    """That trained it; None: this store has no such run, or cannot read it."""
    used_by: tuple[str, ...] = ()
    """Ids of runs that are not done and need it."""
    trouble: str | None = None
    """
    Why its tags, or runs that may use it, could not be read, or it could not be deleted. With one, no
    schedule deletes it.
    """
    gone: bool = False

    @property
    def in_use(self) -> bool:
        return bool(self.endpoints or self.used_by)


@dataclass(frozen=True, slots=True)
class _Runs:
    by_uid: dict[str, Run] = field(default_factory=dict[str, "Run"])
    users: dict[str, list[str]] = field(default_factory=dict[str, "list[str]"])
    """By model ARN, runs that are not done and serve it or train on from it."""
    unread: tuple[str, ...] = ()
    """Ids of runs that cannot be read: any of them may use any model."""


async def trained_models(aws: Aws, store: CheckpointStore, clock: Clock) -> list[TrainedModel]:
    """
    All models of our runs in this account and region, by name and by tag, the oldest first.

    Raises:
        AwsRefused, AwsUnavailable: not everything could be listed, so nothing can be said.
    """
    runs = await _runs(store, clock)
    serving = await _serving(aws)
    found = [model async for model in aws.bedrock.list_models() if may_be_ours(model.name)]
    described = [await _described(model, aws, runs, serving) for model in found]
    known = [one for one in described if one is not None]
    return sorted(known, key=lambda one: (one.created_at is None, str(one.created_at), one.name))


async def reap_models(
    aws: Aws, found: Sequence[TrainedModel], *, now: datetime, older_than: timedelta
) -> list[TrainedModel]:
    """`found`, with those deleted that are `outworn`. What cannot be deleted says why."""
    return [await _deleted(aws, one) if outworn(one, now, older_than) else one for one in found]


def outworn(one: TrainedModel, now: datetime, older_than: timedelta) -> bool:
    """Whether a schedule may delete it: ours, old enough, unused, and not marked to be kept."""
    if one.kept or one.in_use or one.trouble is not None or one.created_at is None:
        return False
    return now - one.created_at >= older_than


async def mark(aws: Aws, model_arn: str, *, keep: bool) -> None:
    """
    Mark a model to be kept, or take the mark away.

    Raises:
        AwsRefused, AwsUnavailable: it may be marked or not.
    """
    await put_tags(aws, model_arn, {TAG_KEEP: KEPT if keep else NOT_KEPT})


async def is_kept(aws: Aws, clock: Clock, model_arn: str, gone_after: float) -> bool:
    """
    Whether a model is marked to be kept; one that is gone is not.

    Takes `gone_after` seconds where its tags are not shown: one look may be stale, and a model that is
    deleted does not come back.
    """
    async for _ in spaced_looks(clock, gone_after):
        with suppress(NotFound):
            tags = await aws.bedrock.tags(model_arn)
            if TAG_UID in tags or _kept(tags):
                return _kept(tags)
    return False


def _kept(tags: Mapping[str, str]) -> bool:
    # Anything but our own "no" keeps it: a mark that somebody made by hand counts, however it is spelt.
    return tags.get(TAG_KEEP, NOT_KEPT) != NOT_KEPT


async def _runs(store: CheckpointStore, clock: Clock) -> _Runs:
    checkpoints, unread = await lease.load_all(store, clock=clock)
    runs = _Runs(unread=tuple(unread))
    for checkpoint in checkpoints:
        run = checkpoint.run
        runs.by_uid[run.uid] = run
        for used in _used_models(run) if not run.done else ():
            runs.users.setdefault(used, []).append(run.run_id)
    return runs


def _used_models(run: Run) -> list[str]:
    """Its own or the one that it serves, and the one that it trains on from."""
    own = [run.model.model_arn] if run.model is not None else []
    return own + ([run.created.parent.model_arn] if run.created.parent is not None else [])


async def _serving(aws: Aws) -> dict[str, list[str]]:
    """Endpoints by the ARN of their model."""
    found: dict[str, list[str]] = {}
    for mode in MODES:
        async for endpoint in aws.bedrock.list_endpoints(mode, ""):
            if endpoint.model_arn is not None:
                found.setdefault(endpoint.model_arn, []).append(endpoint.arn)
    return found


async def _described(
    model: CustomModel, aws: Aws, runs: _Runs, serving: dict[str, list[str]]
) -> TrainedModel | None:
    """None for what is gone by now, or not ours."""
    found = TrainedModel(
        arn=model.arn,
        name=model.name,
        run_id="",
        created_at=model.created_at,
        status=model.status,
        kept=False,
        endpoints=tuple(serving.get(model.arn, ())),
        used_by=tuple(runs.users.get(model.arn, ())),
    )
    try:
        tags = await aws.bedrock.tags(model.arn)
    except NotFound:
        return None
    except VlmRunnerError as error:
        return replace(found, trouble=f"its tags cannot be read: {error.message}")
    if TAG_UID not in tags:
        return None
    run = runs.by_uid.get(tags[TAG_UID])
    unread = ", ".join(runs.unread)
    trouble = f"it may be used by runs that cannot be read: {unread}" if unread else None
    return replace(found, run_id=tags.get(TAG_RUN, ""), kept=_kept(tags), run=run, trouble=trouble)


async def _deleted(aws: Aws, one: TrainedModel) -> TrainedModel:
    try:
        await aws.bedrock.delete_model(one.arn)
        gone = await aws.bedrock.find_model(one.arn) is None
    except VlmRunnerError as error:
        return replace(one, trouble=error.message)
    return replace(one, gone=gone, trouble=None if gone else "it was asked to be deleted, and is still there")

"""What outlived its run is found and deleted; what did not, and what is not ours, is left alone."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from importlib.resources import files
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from tests.histories import AT, ENDPOINT, after, event_of, happy_runs
from vlm_runner.checkpoint.base import Stored
from vlm_runner.core.expiry import Rented, judge
from vlm_runner.core.names import NEVER, TAG_EXPIRES, TAG_RUN, TAG_UID
from vlm_runner.core.run import Phase, Run
from vlm_runner.errors import AccessDenied, NotFound, VlmRunnerError
from vlm_runner.models import load_catalogue
from vlm_runner.reap import find_rented, may_still_bill, reap
from vlm_runner.spec import ServingMode
from vlm_runner.testing import Crash, FakeBedrock, FakeClock, Fault, Plan, World

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from vlm_runner.checkpoint.base import CheckpointStore

MINE = "amazon.nova-mine-v9:0:300k"
NOW = AT + timedelta(hours=10)
DONE, RUNNING = happy_runs()[-1][0], happy_runs()[9][0]


def rented(*, created: datetime | None = AT, **tags: str) -> Rented:
    ours = {TAG_UID: "0" * 32, TAG_RUN: "cats"}
    named = {f"vlm-runner:{name.replace('_', '-')}": value for name, value in tags.items()}
    return Rented(ServingMode.PROVISIONED, ENDPOINT, "vr-cats", "InService", created, ours | named)


def outlived(one: Rented, run: Run | None, older_than: timedelta | None = None) -> bool:
    return judge(one, run, now=NOW, older_than=older_than).outlived


def handed_over(**changes: object) -> Run:
    run = next(
        run for run, _ in happy_runs(sections={"serving": {"keep": True}}) if run.phase is Phase.RELEASING
    )
    event = event_of("handed_over", run).model_copy(update=changes)
    return after(run, event, event_of("report_written", run))


def test_what_a_done_run_left_has_outlived_it() -> None:
    assert outlived(rented(), DONE)


def test_what_a_run_is_using_has_not() -> None:
    assert not outlived(rented(), RUNNING)


def test_what_was_kept_stays_until_its_time() -> None:
    assert not outlived(rented(expires_at=NEVER), DONE)
    assert not outlived(rented(expires_at=(NOW + timedelta(minutes=1)).isoformat()), DONE)
    assert outlived(rented(expires_at=NOW.isoformat()), None)


@pytest.mark.parametrize("tag", ["", "soon", "2026-13-01", "2026-11-22T12:00:00", "\x00"])
def test_a_time_that_cannot_be_read_deletes_nothing(tag: str) -> None:
    assert not outlived(rented(expires_at=tag), DONE)


@pytest.mark.parametrize(("expires", "over"), [(None, False), (NOW, True), (NOW + timedelta(hours=1), False)])
def test_a_run_that_kept_it_says_until_when_where_the_tag_does_not(
    expires: datetime | None, over: bool
) -> None:
    assert outlived(rented(), handed_over(expires_at=expires)) is over


def test_another_endpoint_of_a_run_that_kept_one_has_outlived_it() -> None:
    assert outlived(rented(), handed_over(arn="arn:the-other"))


def test_what_no_run_here_knows_is_deleted_only_if_told_how_old() -> None:
    assert not outlived(rented(), None)
    assert not outlived(rented(), None, timedelta(hours=11))
    assert outlived(rented(), None, timedelta(hours=10))
    assert not outlived(rented(created=None), None, timedelta(0))


def test_a_run_of_the_same_name_and_another_uid_is_not_its_run() -> None:
    stranger = next(run for run, _ in happy_runs(uid="1" * 32) if run.done)

    assert not outlived(rented(), stranger)


@pytest.mark.parametrize(("name", "tags"), [("vr-cats", {}), ("cats", {TAG_UID: "x"})])
def test_ours_has_both_name_and_tag(name: str, tags: dict[str, str]) -> None:
    assert not Rented(ServingMode.PROVISIONED, "a", name, "InService", AT, tags).is_ours


async def stranded() -> World:
    """A run whose process died while its endpoint was in service, and whose checkpoint says so."""
    world = World()
    with pytest.raises(Crash):
        await world.live(
            world.process(
                Plan(choose=lambda call: Fault.CRASH_BEFORE if call == "runtime.converse" else None)
            )
        )
    assert len(world.bedrock.alive) == 1
    return world


async def test_what_a_living_run_rents_is_shown_and_left() -> None:
    world = await stranded()

    found = await reap(world.aws, await find_rented(world.aws, world.store, FakeClock(), load_catalogue()))

    assert [one.verdict.reason for one in found] == ["its run is in phase testing"]
    assert len(world.bedrock.alive) == 1
    assert may_still_bill(found) == []


@pytest.mark.parametrize("seconds", [1, 60])
async def test_a_list_that_is_stale_hides_nothing(seconds: float) -> None:
    world = await stranded()
    now = asyncio.get_running_loop().time()
    world.bedrock.stale = [(now, now + seconds)]

    found = await find_rented(world.aws, World().store, FakeClock(), load_catalogue())

    assert [one.rented.arn for one in found] == world.bedrock.alive
    assert len(may_still_bill(found)) == 1


async def test_a_dry_run_deletes_nothing_and_a_reaping_all() -> None:
    world = await stranded()
    found = await find_rented(
        world.aws, World().store, FakeClock(), load_catalogue(), older_than=timedelta(0)
    )
    assert len(may_still_bill(found)) == 1
    assert len(world.bedrock.alive) == 1

    reaped = await reap(world.aws, found)

    assert (world.bedrock.alive, may_still_bill(reaped)) == ([], [])


async def test_what_cannot_be_deleted_is_still_billing_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    world = await stranded()

    async def denied(*_: object) -> bool:
        raise AccessDenied("bedrock:DeleteProvisionedModelThroughput")

    monkeypatch.setattr(world.bedrock, "delete_endpoint", denied)
    found = await find_rented(
        world.aws, World().store, FakeClock(), load_catalogue(), older_than=timedelta(0)
    )

    left = may_still_bill(await reap(world.aws, found))

    assert [one.trouble for one in left] == ["bedrock:DeleteProvisionedModelThroughput"]
    assert left[0].delete_command.startswith("aws bedrock delete-provisioned-model-throughput")


async def test_what_is_still_creating_is_left_for_the_next_time() -> None:
    world = World(bedrock=FakeBedrock(warming_takes=600))
    with pytest.raises((Crash, VlmRunnerError)):
        await world.live(
            world.process(
                Plan(choose=lambda call: Fault.CRASH_AFTER if call == "bedrock.create_endpoint" else None)
            )
        )
    found = await find_rented(
        world.aws, World().store, FakeClock(), load_catalogue(), older_than=timedelta(0)
    )

    left = may_still_bill(await reap(world.aws, found))

    assert [one.trouble for one in left] == ["it is Creating, and Bedrock does not delete it yet"]


async def test_a_kept_endpoint_is_reaped_when_its_time_is_over() -> None:
    world = World(serving={"keep": "2h"})
    run = await world.live()
    assert run.handed_over is not None
    assert (await world.bedrock.tags(run.handed_over.arn))[TAG_EXPIRES]

    before = await reap(world.aws, await find_rented(world.aws, world.store, FakeClock(), load_catalogue()))
    later = await reap(
        world.aws,
        await find_rented(world.aws, world.store, FakeClock(offset=3 * 3600), load_catalogue()),
    )

    assert [one.gone for one in before] == [False]
    assert [one.gone for one in later] == [True]


async def test_a_model_that_only_the_users_catalogue_knows_has_its_price_there(tmp_path: Path) -> None:
    own = tmp_path / "mine.toml"
    shipped = (files("vlm_runner.models") / "catalogue.toml").read_text(encoding="utf-8")
    own.write_text(shipped.replace("amazon.nova-lite-v1:0:300k", MINE))
    world = World(model={"base": MINE})
    world.settings = world.settings.model_copy(update={"catalogue": own})
    with pytest.raises(Crash):
        await world.live(
            world.process(
                Plan(choose=lambda call: Fault.CRASH_BEFORE if call == "runtime.converse" else None)
            )
        )

    for catalogue in (load_catalogue(own), load_catalogue()):
        (found,) = await find_rented(world.aws, world.store, FakeClock(), catalogue)
        assert found.verdict.reason == "its run is in phase testing"


@pytest.mark.parametrize("run_id", ["a b/../c", "", "x" * 200, "\x1b[2J"])
async def test_one_odd_tag_keeps_nothing_else_from_being_judged(run_id: str) -> None:
    world = await stranded()
    (arn,) = world.bedrock.alive
    world.bedrock.model_units = 2
    model = (await world.outcome()).run.model
    assert model is not None
    other = await world.bedrock.create_endpoint(
        ServingMode.PROVISIONED,
        {
            "provisionedModelName": "vr-odd",
            "modelId": model.model_arn,
            "modelUnits": 1,
            "clientRequestToken": "odd",
            "tags": [{"key": TAG_UID, "value": "f" * 32}, {"key": TAG_RUN, "value": run_id}],
        },
    )

    found = {
        one.rented.arn: one.verdict
        for one in await find_rented(world.aws, world.store, FakeClock(), load_catalogue())
    }

    assert found[arn].explained
    assert (found[other].outlived, found[other].explained) == (False, False)


async def test_an_endpoint_whose_run_cannot_be_read_is_unexplained_and_counts_by_its_age() -> None:
    world = await stranded()
    store = _Damaged(world.store)

    (young,) = await find_rented(world.aws, store, FakeClock(), load_catalogue())
    (old,) = await find_rented(world.aws, store, FakeClock(), load_catalogue(), older_than=timedelta(0))

    assert may_still_bill([young]) == [young]
    assert "cannot be read" in young.verdict.reason
    assert old.verdict.outlived


async def test_an_endpoint_whose_tags_cannot_be_read_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    world = await stranded()

    async def denied(_: str) -> dict[str, str]:
        raise AccessDenied("bedrock:ListTagsForResource")

    monkeypatch.setattr(world.bedrock, "tags", denied)

    (found,) = await find_rented(world.aws, world.store, FakeClock(), load_catalogue())

    assert may_still_bill([found]) == [found]
    assert "its tags cannot be read" in found.verdict.reason


def found_nothing(_: str) -> dict[str, str]:
    raise NotFound("The resource does not exist.", code="ResourceNotFoundException")


@pytest.mark.parametrize("stale", [found_nothing, lambda _: {}])
@pytest.mark.parametrize("looks", [1, 2])
@pytest.mark.parametrize("after", [0, 2])
async def test_tags_that_one_look_does_not_show_hide_no_endpoint(
    stale: Callable[[str], dict[str, str]], looks: int, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = await stranded()
    tags, looked = world.bedrock.tags, count()

    async def now_and_then(arn: str) -> Any:
        return stale(arn) if after <= next(looked) < after + looks else await tags(arn)

    monkeypatch.setattr(world.bedrock, "tags", now_and_then)

    found = await find_rented(world.aws, World().store, FakeClock(), load_catalogue())

    assert [one.rented.arn for one in may_still_bill(found)] == world.bedrock.alive


async def test_an_expiry_that_the_last_look_does_not_show_keeps_what_was_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(serving={"keep": True})
    await world.live()
    tags, looked = world.bedrock.tags, count()

    async def older(arn: str) -> dict[str, str]:
        shown = dict(await tags(arn))
        return shown if next(looked) < 2 else {key: shown[key] for key in shown if key != TAG_EXPIRES}

    monkeypatch.setattr(world.bedrock, "tags", older)

    (found,) = await find_rented(
        world.aws, World().store, FakeClock(), load_catalogue(), older_than=timedelta(0)
    )

    assert not found.verdict.outlived


async def test_a_deletion_that_only_seems_to_be_done_is_still_billing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A portal answered it, or a read was stale: neither tells it from one that was done."""
    world = await stranded()
    find, looked = world.bedrock.find_endpoint, count()

    async def answered(*_: object) -> bool:
        return True

    async def stale(mode: ServingMode, arn: str) -> Any:
        return None if next(looked) < 1 else await find(mode, arn)

    monkeypatch.setattr(world.bedrock, "delete_endpoint", answered)
    monkeypatch.setattr(world.bedrock, "find_endpoint", stale)
    found = await find_rented(
        world.aws, World().store, FakeClock(), load_catalogue(), older_than=timedelta(0)
    )

    (left,) = may_still_bill(await reap(world.aws, found))

    assert left.trouble == "it was asked to be deleted, and is still there"


async def test_a_list_that_is_refused_keeps_nothing_that_another_shows_from_being_deleted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = await stranded()
    listed, unlisted = world.bedrock.list_endpoints, list[VlmRunnerError]()

    async def denied(mode: ServingMode, name: str) -> Any:
        if mode is ServingMode.ON_DEMAND:
            raise AccessDenied("bedrock:ListCustomModelDeployments")
        async for one in listed(mode, name):
            yield one

    monkeypatch.setattr(world.bedrock, "list_endpoints", denied)
    store, catalogue = World().store, load_catalogue()

    with pytest.raises(AccessDenied):
        await find_rented(world.aws, store, FakeClock(), catalogue)
    found = await find_rented(
        world.aws,
        store,
        FakeClock(),
        catalogue,
        older_than=timedelta(0),
        on_unlisted=unlisted.append,
    )
    await reap(world.aws, found)

    assert world.bedrock.alive == []
    assert unlisted


class _Damaged:
    """A store whose every checkpoint has lost its second half."""

    def __init__(self, store: CheckpointStore) -> None:
        self._store = store

    async def read(self, run_id: str) -> Stored | None:
        found = await self._store.read(run_id)
        return None if found is None else Stored(found.body[: len(found.body) // 2], found.version)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


async def test_a_deployment_that_is_deleting_is_no_alarm() -> None:
    """AWS shows it for some minutes; an hourly reap would raise one each time."""
    world = World(bedrock=FakeBedrock(deleting_takes=300.0), serving={"mode": "on-demand", "keep": "1s"})
    await world.live()
    clock = FakeClock()
    await clock.sleep(2)

    reaped = await reap(world.aws, await find_rented(world.aws, world.store, clock, load_catalogue()))

    assert [one.gone for one in reaped] == [True]
    assert may_still_bill(reaped) == []

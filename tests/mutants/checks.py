"""Small worlds in which one rule of the protocol is all that stands between a run and a loss."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anyio

from vlm_runner.aws.answers import AwsService
from vlm_runner.aws.bedrock import BedrockControl
from vlm_runner.aws.ports import Caller
from vlm_runner.checkpoint import lease
from vlm_runner.cli import exit_codes
from vlm_runner.core.names import TAG_EXPIRES
from vlm_runner.core.places import ClosedPlace, KeyClaim, claim_key
from vlm_runner.core.run import Phase, known
from vlm_runner.errors import AwsRefused, AwsUnavailable, CredentialsError, StoreUnavailable, VlmRunnerError
from vlm_runner.models import load_catalogue
from vlm_runner.reap import find_rented, may_still_bill
from vlm_runner.testing import (
    Crash,
    FakeAws,
    FakeBedrock,
    FakeClock,
    Fault,
    MemoryStore,
    Plan,
    Process,
    World,
    run_virtual,
)
from vlm_runner.testing.faults import FREEZES
from vlm_runner.testing.world import outlive

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from vlm_runner.aws.ports import Deletion
    from vlm_runner.core.events import Entry
    from vlm_runner.core.run import Run


def at(call: str, fault: Fault, nth: int = 0) -> Process:
    """A process whose `nth` call of this name goes wrong."""
    seen = 0

    def choose(name: str) -> Fault | None:
        nonlocal seen
        if name != call:
            return None
        seen += 1
        return fault if seen == nth + 1 else None

    return Process(Plan(choose=choose))


async def disturbed(world: World, *processes: Process) -> list[str]:
    for process in processes:
        if any(process.plan.choose.__defaults__ or ()):
            continue
        try:
            await world.live(process)
        except (Crash, VlmRunnerError):
            continue
    return await ended(world)


async def ended(world: World) -> list[str]:
    with anyio.move_on_after(40_000) as patience:
        await world.live()
    await asyncio.sleep(400)
    wrong = ["it does not end"] if patience.cancelled_caught else await world.violations()
    if world.bedrock.endpoints_created > 2:
        wrong.append("endpoints are rented again and again")
    return wrong


async def cancelled_after(world: World, seconds: float) -> None:
    await asyncio.sleep(seconds)
    await world.cancel()


async def crash_after_creating(kind: str) -> list[str]:
    return await disturbed(
        World(bedrock=FakeBedrock(token_memory=0)), at(f"bedrock.create_{kind}", Fault.CRASH_AFTER)
    )


def soon_believing(world: World) -> World:
    """A world in which "not found" is believed within a second, so that other rules must hold alone."""
    poll = world.settings.poll.model_copy(update={"gone_after": 1.0})
    world.settings = world.settings.model_copy(update={"poll": poll})
    return world


async def late_create_and_cancel(kind: str) -> list[str]:
    world = soon_believing(World(bedrock=FakeBedrock(training_takes=60 if kind == "endpoint" else 5000)))
    first = at(f"bedrock.create_{kind}", Fault.LATE)
    try:
        await world.live(first)
    except (Crash, VlmRunnerError):
        await world.cancel()
    return await ended(world)


async def late_create_and_takeover() -> list[str]:
    return await disturbed(World(), at("bedrock.create_endpoint", Fault.LATE))


async def delayed_create() -> list[str]:
    return await disturbed(World(), at("bedrock.create_endpoint", Fault.DELAYED))


async def lost_saves() -> list[str]:
    """Each save of a run loses its answer in turn; the process needs no help."""
    wrong = []
    for nth in range(3, 12):
        world = World()
        try:
            run = await world.live(at("store.write", Fault.LOST, nth))
        except VlmRunnerError as error:
            wrong.append(f"save {nth}: {error}")
        else:
            wrong += [] if run.done else [f"save {nth}: {run.phase}"]
    return wrong


async def frozen_buyer(fault: Fault) -> list[str]:
    """One freezes between signing and sending, another is cancelled and done with, and the first wakes."""
    world = World(bedrock=FakeBedrock(warming_takes=0))
    first = at("bedrock.create_endpoint", fault)
    asyncio.get_running_loop().create_task(_cancel_when_frozen(world, first))
    await outlive(world, first)
    return await ended(world)


async def _cancel_when_frozen(world: World, process: Process) -> None:
    await process.frozen.wait()
    await world.cancel()


async def two_at_once() -> list[str]:
    """A second process waits for an hour while the first one renews."""
    world = World(bedrock=FakeBedrock(training_takes=3600))
    wrong: list[str] = []

    async def live(process: Process) -> None:
        try:
            await world.live(process)
        except VlmRunnerError as error:
            wrong.append(f"{type(error).__name__}: {error}")

    async with anyio.create_task_group() as group:
        group.start_soon(live, Process())
        await asyncio.sleep(300)
        group.start_soon(live, Process(clock=FakeClock(offset=7200)))
    return wrong + await ended(world)


async def stale_writer() -> list[str]:
    """One that was frozen in the middle of a save wakes after another one has gone on."""
    wrong = []
    for nth in (4, 6, 8):
        world = World()
        await outlive(world, at("store.write", Fault.FREEZE_BEFORE, nth))
        wrong += await ended(world)
    return wrong


async def cancel_while_warming() -> list[str]:
    world = World(bedrock=FakeBedrock(warming_takes=600))
    asyncio.get_running_loop().create_task(cancelled_after(world, 200))
    return await ended(world)


async def cancel_before_it_can_be_seen(seconds: float) -> list[str]:
    training_takes = 60 if seconds > 70 else 5000
    world = soon_believing(World(bedrock=FakeBedrock(visible_after=60, training_takes=training_takes)))
    asyncio.get_running_loop().create_task(cancelled_after(world, seconds))
    return await ended(world)


async def stopped_and_resumed() -> list[str]:
    wrong = []
    for nth in (1, 3, 5):
        world = World()
        wrong += await disturbed(world, at("bedrock.find_endpoint", Fault.STOP, nth))
        if any(saved.epoch == 0 for saved in world.saved[2:]):
            wrong.append("an epoch was forgotten")
    return wrong


async def model_never_answers() -> list[str]:
    """The runtime is away for good: what bills must not wait for somebody to come and resume."""
    world = World()

    async def away(_: str) -> object:
        raise AwsUnavailable("503")

    world.bedrock.reply = away  # type: ignore[method-assign,assignment]
    try:
        await world.live()
    except VlmRunnerError as error:
        return [f"halted while it rented: {error}"]
    return [f"it bills on: {world.bedrock.alive}"] if world.bedrock.alive else []


async def create_away_for_an_hour() -> list[str]:
    """However long AWS does not answer a create, the checkpoint does not grow."""
    world = World()
    process = Process(Plan(choose=lambda call: Fault.LOST if call == "bedrock.create_job" else None))

    async def lose(_: object) -> str:
        from vlm_runner.errors import UncertainCreate

        raise UncertainCreate("no answer")

    real, world.bedrock.create_job = world.bedrock.create_job, lose  # type: ignore[method-assign,assignment]
    with contextlib.suppress(VlmRunnerError):
        await world.live(process)
    world.bedrock.create_job = real  # type: ignore[method-assign]
    events = (await world.outcome()).history
    return [f"{len(events)} events"] if len(events) > 6 else []


async def quota_then_resume() -> list[str]:
    """A quota that is mended in between: the same run goes on, and nothing was said to bill."""
    world = World(bedrock=FakeBedrock(model_units=0))
    with contextlib.suppress(VlmRunnerError):
        await world.live()
    run: Run = (await world.outcome()).run
    wrong = ["it is said to bill"] if run.may_bill else []
    wrong += [] if run.phase is Phase.REQUESTING else [f"it is in {run.phase}"]
    world.bedrock.model_units = 1
    return wrong + await ended(world)


SWITCH = {"dead_man_switch": {"after": "2h", "role_arn": "arn:aws:iam::123456789012:role/switch"}}


async def nobody_comes_back() -> list[str]:
    """Killed while it bills, and never resumed: a dead man's switch is all that is left."""
    world = World(serving=SWITCH)
    with contextlib.suppress(Crash):
        await world.live(at("bedrock.create_endpoint", Fault.CRASH_AFTER))
    await asyncio.sleep(3 * 3600)
    world.aws.scheduler.settle()
    return [f"it bills on: {world.bedrock.alive}"] if world.bedrock.alive else []


async def kept_for_longer_than_the_switch() -> list[str]:
    """What was handed over for five hours is there for five hours, and no longer."""
    world = World(serving=SWITCH | {"keep": "5h"})
    await world.live()
    await asyncio.sleep(4 * 3600)
    world.aws.scheduler.settle()
    wrong = [] if world.bedrock.alive else ["it was deleted too soon"]
    await asyncio.sleep(2 * 3600)
    world.aws.scheduler.settle()
    return wrong + (["it bills on"] if world.bedrock.alive else [])


async def kept_and_a_portal_took_its_tag() -> list[str]:
    world = World(serving={"keep": "5h"})
    tag = world.bedrock.tag

    async def answered_by_a_portal(arn: str, tags: Mapping[str, str]) -> None:
        world.bedrock.tag = tag  # type: ignore[method-assign]

    world.bedrock.tag = answered_by_a_portal  # type: ignore[method-assign]
    await world.live()
    (arn,) = world.bedrock.alive
    return [] if TAG_EXPIRES in world.bedrock.tags_of(arn) else ["its expiry is not on it"]


async def released_with_its_switch() -> list[str]:
    world = World(serving=SWITCH)
    wrong = await ended(world)
    return wrong + [f"left behind: {name}" for name in world.aws.scheduler.schedules]


async def a_schedule_whose_deletion_is_refused_once() -> list[str]:
    world = World(serving=SWITCH)
    delete, refused = world.aws.scheduler.delete, set[str]()

    async def delete_but_once(name: str) -> None:
        if name not in refused:
            refused.add(name)
            raise AwsRefused("not now")
        await delete(name)

    world.aws.scheduler.delete = delete_but_once  # type: ignore[method-assign]
    wrong = await ended(world)
    return wrong + [f"left behind: {name}" for name in world.aws.scheduler.schedules]


async def no_schedule_to_be_had() -> list[str]:
    """Refused once the training is paid, though it could be had before."""
    world = World(serving=SWITCH)
    put = world.aws.scheduler.put

    async def denied(deletion: Deletion) -> None:
        from vlm_runner.errors import AccessDenied

        if world.bedrock.jobs_created:
            raise AccessDenied("no")
        await put(deletion)

    world.aws.scheduler.put = denied  # type: ignore[method-assign]
    with contextlib.suppress(VlmRunnerError):
        await world.live()
    return ["rented without a net"] if world.bedrock.endpoints_created else []


async def a_switch_that_cannot_be_used() -> list[str]:
    world = World(serving=SWITCH)

    async def denied(_: object) -> None:
        from vlm_runner.errors import AccessDenied

        raise AccessDenied("no")

    world.aws.scheduler.put = denied  # type: ignore[method-assign,assignment]
    with contextlib.suppress(VlmRunnerError):
        await world.live()
    return ["trained in vain"] if world.bedrock.jobs_created else []


async def foreign_job() -> list[str]:
    """Somebody else's job has our name: it is never taken for ours."""
    world = World()
    apply = world.bedrock.apply_job
    world.bedrock.apply_job = lambda request: apply({**request, "clientRequestToken": "foreign"})  # type: ignore[method-assign]
    first = at("bedrock.create_job", Fault.CRASH_AFTER)
    for process in (first, Process()):
        try:
            await world.live(process)
        except (Crash, VlmRunnerError):
            continue
    return ["a foreign job was adopted"] if (await world.outcome()).run.job is not None else []


class FailingStore(MemoryStore):
    """A store whose documents can be deleted, and that can refuse."""

    refusal: Exception | None = None

    def clear(self) -> None:
        self._documents.clear()

    async def write(self, run_id: str, body: bytes, *, replacing: str | None) -> str:
        if self.refusal is not None:
            raise self.refusal
        return await super().write(run_id, body, replacing=replacing)


async def release_that_fails_for_an_hour() -> list[str]:
    world = World()
    await world.live(until=Phase.TESTING)
    until, real = asyncio.get_running_loop().time() + 3600, world.bedrock.find_endpoint

    async def broken(*args: Any) -> Any:
        if asyncio.get_running_loop().time() < until:
            raise CredentialsError("expired")
        return await real(*args)

    world.bedrock.find_endpoint = broken  # type: ignore[method-assign,assignment]
    try:
        await world.live()
    except Exception as error:  # noqa: BLE001 - that it ended at all is what is wrong
        return [f"ended by {type(error).__name__}, and billing: {world.bedrock.alive}"]
    return await world.violations()


async def deleted_store() -> list[str]:
    store = FailingStore()
    world = World(store=store)
    asyncio.get_running_loop().call_later(60, store.clear)
    return await ended(world)


async def store_that_fails_for_good() -> list[str]:
    """In mid-run, while something bills; nobody can resume it from there."""
    store = FailingStore()
    world = World(store=store, bedrock=FakeBedrock(training_takes=60, warming_takes=600))
    asyncio.get_running_loop().call_later(300, lambda: setattr(store, "refusal", StoreUnavailable("full")))
    with contextlib.suppress(VlmRunnerError):
        await world.live()
    return [f"it bills on: {world.bedrock.alive}"] if world.bedrock.alive else []


async def taken_over_while_warming() -> list[str]:
    """The first process wakes while the second one waits for the endpoint, which is its own now."""
    world = World(bedrock=FakeBedrock(warming_takes=3000))
    first = at("bedrock.find_endpoint", Fault.FREEZE_BEFORE, 1)

    async def sleeper() -> None:
        with contextlib.suppress(VlmRunnerError):
            await world.live(first)

    async with anyio.create_task_group() as group:
        group.start_soon(sleeper)
        await first.frozen.wait()
        with anyio.move_on_after(600):
            await world.live()
        first.thaw()
    return [] if world.bedrock.alive else ["what another process drives was deleted"]


async def cancelled_before_the_create() -> list[str]:
    """The mark is there before the create, and the time to look for one is not."""
    world = World()
    poll = world.settings.poll.model_copy(update={"cancel_every": 1e6})
    world.settings = world.settings.model_copy(update={"poll": poll})
    real = world.store.write

    async def marked(run_id: str, body: bytes, *, replacing: str | None) -> str:
        if b'"kind":"job_intended"' in body:
            await world.cancel()
        return await real(run_id, body, replacing=replacing)

    world.store.write = marked  # type: ignore[method-assign]
    await world.live()
    return ["bought after a cancel"] if world.bedrock.jobs_created else []


async def spec_that_fills_a_checkpoint() -> list[str]:
    world = World(prompt={"user": "x" * 1_700_000, "assistant": "{{ output }}"})
    with contextlib.suppress(VlmRunnerError):
        await world.live()
    return ["it trained, with no room for what follows"] if world.bedrock.ledger else []


async def records_replaced_while_training() -> list[str]:
    world = World()
    await world.live(until=Phase.TRAINING)
    bucket = world.aws.s3.buckets[(await world.outcome()).run.bucket]
    bucket.update({key: b"not ours" for key in bucket if key.endswith(".jsonl")})
    with contextlib.suppress(VlmRunnerError):
        await world.live()
    return ["rented for questions that are not there"] if world.bedrock.endpoints_created else []


async def throttled_release() -> list[str]:
    """No look works for an hour, and deletions do."""
    world = World()
    await world.live(until=Phase.TESTING)
    until = asyncio.get_running_loop().time() + 3600

    def choose(call: str) -> Fault | None:
        looks = call.startswith("bedrock.") and call != "bedrock.delete_endpoint"
        return Fault.UNAVAILABLE if looks and asyncio.get_running_loop().time() < until else None

    with anyio.move_on_after(600):
        await world.live(Process(Plan(choose=choose)))
    return [f"it bills on: {world.bedrock.alive}"] if world.bedrock.alive else []


async def one_stale_look_in_training() -> list[str]:
    world = World(bedrock=FakeBedrock(training_takes=1200))
    began = asyncio.get_running_loop().time()
    world.bedrock.stale = [(began + 400, began + 430)]
    run = await world.live()
    return [] if run.outcome == "succeeded" else [f"a paid job was abandoned: {run.reason}"]


async def bought_and_not_saved() -> list[str]:
    """Stopped while nothing can be saved, just after the job was created; then the run is cancelled."""
    store = FailingStore()
    world = World(store=store, bedrock=FakeBedrock(training_takes=5000, visible_after=100))
    process, real = Process(), world.bedrock.create_job

    async def created(request: Any) -> str:
        arn = await real(request)
        store.refusal = StoreUnavailable("full")
        if process.stop is not None:
            process.stop()
        return arn

    world.bedrock.create_job = created  # type: ignore[method-assign]
    release = lease.Claim.release

    async def releasing(claim: lease.Claim, *, halted: str | None = None) -> None:
        store.refusal = None
        await release(claim, halted=halted)

    lease.Claim.release = releasing  # type: ignore[method-assign,assignment]
    try:
        with contextlib.suppress(VlmRunnerError):
            await world.live(process)
    finally:
        lease.Claim.release = release  # type: ignore[method-assign]
    world.bedrock.create_job = real  # type: ignore[method-assign]
    await world.cancel()
    return await ended(world)


async def bucket_of(world: World) -> dict[str, bytes]:
    return world.aws.s3.buckets[(await world.outcome()).run.bucket]


def swap_records(bucket: dict[str, bytes]) -> None:
    """Records that this run could have written, in another order: nothing but a comparison shows it."""
    lines = bucket["data/train.jsonl"].split(b"\n")
    bucket["data/train.jsonl"] = b"\n".join([lines[-1], *lines[1:-1], lines[0]])


def change_image(bucket: dict[str, bytes]) -> None:
    """To another one of the same size."""
    key = next(key for key in bucket if key.startswith("images/train/"))
    bucket[key] = bucket[key][:-1] + b"?"


def delete_image(bucket: dict[str, bytes]) -> None:
    del bucket[next(key for key in bucket if key.startswith("images/train/"))]


async def changed_after(phase: Phase, change: Callable[[dict[str, bytes]], None]) -> list[str]:
    """What is bought, or asked, by data that somebody else put there."""
    world = World()
    await world.live(until=phase)
    change(await bucket_of(world))
    before = len(world.bedrock.ledger)
    with contextlib.suppress(VlmRunnerError):
        await world.live()
    run = (await world.outcome()).run
    wrong = [f"bought by changed data: {paid.kind}" for paid in world.bedrock.ledger[before:]]
    return wrong + (["asked with changed data"] if run.tests is not None else [])


async def claimed_by_others(change: Callable[[KeyClaim], KeyClaim | ClosedPlace | None]) -> list[str]:
    """Between the claim of a place and its first upload somebody else takes it, or deletes the claim."""
    world = World()
    with contextlib.suppress(Crash):
        await world.live(at("objects.put_once", Fault.CRASH_BEFORE))
    bucket = await bucket_of(world)
    key = claim_key(known((await world.outcome()).run.places).train)
    claim = KeyClaim.parse(bucket[key])
    theirs = change(claim)
    if theirs is None:
        del bucket[key]
    else:
        bucket[key] = theirs.model_dump_json().encode()
    with contextlib.suppress(VlmRunnerError):
        await world.live()
    if theirs is None:
        return (
            [] if KeyClaim.parse(bucket.get(key, b"")) == claim else ["uploaded to a place without a claim"]
        )
    return ["uploaded to another's place"] if any(name.startswith("images/") for name in bucket) else []


TRAINING = {"role_arn": "arn:aws:iam::123456789012:role/bedrock-sft"}


async def job_that_hangs() -> list[str]:
    """It is reported once, however long it goes on, and waited for."""
    world = World(bedrock=FakeBedrock(training_takes=7200), training=TRAINING | {"stalled_after": "10m"})
    with anyio.move_on_after(20_000):
        await world.live()
    told = [one.event.kind for one in world.told].count("job_stalled")
    wrong = [] if told == 1 else [f"reported {told} times"]
    return wrong + ([] if (await world.outcome()).run.outcome == "succeeded" else ["it was not waited for"])


async def job_that_hangs_for_ever() -> list[str]:
    """
    A deadline ends it, also where whoever goes on has a clock that is behind.
    """
    world = World(bedrock=FakeBedrock(training_takes=1e6), training=TRAINING | {"deadline": "40m"})
    began = asyncio.get_running_loop().time()
    with contextlib.suppress(Crash):
        await world.live(at("bedrock.find_job", Fault.CRASH_AFTER, 5))
    with anyio.move_on_after(9000):
        await world.live(Process(clock=FakeClock(offset=-7200)))
    wrong = [f"it trains on: {arn}" for arn in world.bedrock.training()]
    late = asyncio.get_running_loop().time() - began > 50 * 60
    return wrong + (["the deadline was missed"] if late else [])


async def jobs_that_err(jobs: int) -> list[str]:
    """So many jobs end by an internal error before they train; one other may follow."""
    world = World()
    world.bedrock.internal_errors = jobs
    told = world.on_entry

    def enough(run: Run, entry: Entry) -> None:
        told(run, entry)
        if sum(one.event.kind == "job_erred" for one in world.told) > 1:
            scope.cancel()

    world.on_entry = enough  # type: ignore[method-assign]
    with anyio.move_on_after(9000) as scope:
        await world.live()
    run = (await world.outcome()).run
    wrong = [] if run.done else [f"it is in {run.phase}"]
    names = [paid.request["jobName"] for paid in world.bedrock.ledger if paid.kind == "job"]
    wrong += [] if len(names) == 2 else [f"jobs: {names}"]
    expected = "succeeded" if jobs < 2 else "failed"
    return wrong + ([] if run.outcome == expected else [f"{run.outcome}: {run.reason}"])


async def job_that_failed_on_its_data() -> list[str]:
    """Another job would fail on the same data, before it trains as well."""
    world = World()
    world.bedrock.internal_errors = 1
    real = world.bedrock.find_job

    async def refused(name_or_arn: str) -> Any:
        found = await real(name_or_arn)
        return (
            found if found is None or found.failure is None else replace(found, failure="The data was bad.")
        )

    world.bedrock.find_job = refused  # type: ignore[method-assign]
    await world.live()
    return [] if world.bedrock.jobs_created == 1 else [f"{world.bedrock.jobs_created} jobs"]


async def job_that_erred_while_training() -> list[str]:
    """What it trained is paid for, so that no other job follows."""
    world = World()
    world.bedrock.internal_errors = 1
    real = world.bedrock.find_job

    async def trained(name_or_arn: str) -> Any:
        found = await real(name_or_arn)
        return found if found is None else replace(found, details={"training": "Failed"})

    world.bedrock.find_job = trained  # type: ignore[method-assign]
    await world.live()
    return [] if world.bedrock.jobs_created == 1 else [f"{world.bedrock.jobs_created} jobs"]


async def cancelled_after_an_error() -> list[str]:
    """The job that follows one that erred is this run's as well, and is stopped."""
    world = World(bedrock=FakeBedrock(training_takes=5000))
    world.bedrock.internal_errors = 1
    asyncio.get_running_loop().create_task(cancelled_after(world, 1000))
    with anyio.move_on_after(9000):
        await world.live()
    return [f"it trains on: {arn}" for arn in world.bedrock.training()]


async def job_lost_for_minutes() -> list[str]:
    """It is not found for so long that it counts as gone; it trains all the same, and is stopped."""
    world = World(bedrock=FakeBedrock(training_takes=3600))
    began = asyncio.get_running_loop().time()
    world.bedrock.stale = [(began + 200, began + 350)]
    await world.live()
    return [f"a lost job trains on: {arn}" for arn in world.bedrock.training()]


class Portal:
    """A client of botocore's that has a dict without members for each answer."""

    def __getattr__(self, _: str) -> Any:
        async def call(**_: Any) -> dict[str, Any]:
            await asyncio.sleep(0)
            return {}

        return call

    def get_paginator(self, _: str) -> Portal:
        return self

    async def paginate(self, **_: Any) -> Any:
        yield {}


def behind_a_portal() -> BedrockControl:
    async def client() -> Portal:
        await asyncio.sleep(0)
        return Portal()

    return BedrockControl(AwsService(client), AwsService(client))


async def rent_answered_by_a_portal() -> list[str]:
    """It is made, and its answer is none of Bedrock's; the process dies, and the run is cancelled."""
    world = soon_believing(World(bedrock=FakeBedrock(training_takes=60, visible_after=60)))
    real = world.bedrock.create_endpoint

    async def created(mode: Any, request: Any) -> str:
        await real(mode, request)
        return await behind_a_portal().create_endpoint(mode, request)

    world.bedrock.create_endpoint = created  # type: ignore[method-assign]
    process = at("bedrock.create_endpoint", Fault.STOP)
    with contextlib.suppress(Crash, VlmRunnerError):
        await world.live(process)
    world.bedrock.create_endpoint = real  # type: ignore[method-assign]
    return [] if (await world.outcome()).run.uncertain_serving is not None else ["nothing is in doubt"]


async def reaped(world: World) -> list[str]:
    """What `reap` says of a run whose process died while it rented."""
    try:
        found = await find_rented(world.aws, world.store, FakeClock(), load_catalogue())
    except VlmRunnerError:
        return []
    return [] if may_still_bill(found) else [f"reap says nothing of {world.bedrock.alive}"]


async def reap_behind_a_portal() -> list[str]:
    world = World()
    await world.live(until=Phase.WARMING)
    world.bedrock.list_endpoints = behind_a_portal().list_endpoints  # type: ignore[method-assign]
    return await reaped(world)


async def reap_with_a_stale_list() -> list[str]:
    world = World()
    await world.live(until=Phase.WARMING)
    now = asyncio.get_running_loop().time()
    world.bedrock.stale = [(now, now + 60)]
    world.store = MemoryStore()
    return await reaped(world)


async def reap_without(what: str) -> list[str]:
    """Tags or a checkpoint that cannot be read explain nothing."""
    world = World()
    await world.live(until=Phase.WARMING)

    async def refused(*_: Any, **__: Any) -> Any:
        raise AwsRefused("no")

    if what == "tags":
        world.bedrock.tags = refused  # type: ignore[method-assign]
    else:
        world.store.read = refused  # type: ignore[method-assign]
    return await reaped(world)


async def reap_with_stale_tags() -> list[str]:
    """The last list shows it for the first time, and its tags are not shown with it."""
    world = World()
    await world.live(until=Phase.WARMING)
    now, tags = asyncio.get_running_loop().time(), world.bedrock.tags
    world.bedrock.stale = [(now, now + 60)]
    world.store = MemoryStore()

    async def stale(arn: str) -> Any:
        return {} if asyncio.get_running_loop().time() < now + 100 else await tags(arn)

    world.bedrock.tags = stale  # type: ignore[method-assign]
    return await reaped(world)


async def cut_off_while_renting() -> list[str]:
    """The event loop of a service ends while a create is under way: all tasks are cancelled."""
    world = World(bedrock=FakeBedrock(visible_after=100))
    create, done = world.bedrock.create_endpoint, asyncio.Event()

    async def slowly(*given: Any) -> Any:
        arn = await create(*given)
        done.set()
        await asyncio.sleep(5)
        return arn

    world.bedrock.create_endpoint = slowly  # type: ignore[method-assign,assignment]
    service = asyncio.create_task(world.live())
    await done.wait()
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    with contextlib.suppress(asyncio.CancelledError, VlmRunnerError):
        await service
    await world.cancel()
    await world.live()
    return await world.violations()


async def cancelled_from_another_account() -> list[str]:
    world = World(bedrock=FakeBedrock(training_takes=9000))
    await world.live(until=Phase.SUBMITTING)
    await world.cancel()
    own, world.aws = world.aws, FakeAws()

    async def caller() -> Caller:
        return Caller("999999999999", "arn:aws:iam::999999999999:user/somebody", "aws")

    world.aws.account.caller = caller  # type: ignore[method-assign]
    with contextlib.suppress(VlmRunnerError):
        await world.live()
    world.aws = own
    if not (await world.outcome()).run.done:
        await world.live()
    return await world.violations()


async def halted_while_training() -> list[str]:
    """An error of a look that lasts halts the run; the exit code says that its job goes on."""
    world = World(bedrock=FakeBedrock(training_takes=9000))
    began = asyncio.get_running_loop().time()

    def choose(call: str) -> Fault | None:
        late = asyncio.get_running_loop().time() - began > 100
        return Fault.EXPIRED if call == "bedrock.find_job" and late else None

    try:
        await world.live(Process(Plan(choose=choose)))
    except VlmRunnerError as error:
        code = exit_codes.halted_exit_code(error, (await world.outcome()).run)
        return [] if code in {75, 104} else [f"exit code {code}, and training: {world.bedrock.training()}"]
    return ["it did not halt"]


CHECKS: dict[str, Callable[[], Coroutine[Any, Any, list[str]]]] = {
    "crash after creating a job": lambda: crash_after_creating("job"),
    "crash after renting": lambda: crash_after_creating("endpoint"),
    "late rent, then cancel": lambda: late_create_and_cancel("endpoint"),
    "late job, then cancel": lambda: late_create_and_cancel("job"),
    "late rent, then takeover": late_create_and_takeover,
    "delayed rent": delayed_create,
    "lost saves": lost_saves,
    "frozen buyer dies": lambda: frozen_buyer(Fault.FREEZE_CRASH),
    "frozen buyer lives": lambda: frozen_buyer(Fault.FREEZE_BEFORE),
    "two at once": two_at_once,
    "stale writer": stale_writer,
    "cancel while warming": cancel_while_warming,
    "cancel of an unseen rent": lambda: cancel_before_it_can_be_seen(85),
    "cancel of an unseen job": lambda: cancel_before_it_can_be_seen(5),
    "stop and resume": stopped_and_resumed,
    "model never answers": model_never_answers,
    "create away for an hour": create_away_for_an_hour,
    "quota, then resume": quota_then_resume,
    "foreign job": foreign_job,
    "nobody comes back": nobody_comes_back,
    "kept for longer than the switch": kept_for_longer_than_the_switch,
    "kept, and a portal took its tag": kept_and_a_portal_took_its_tag,
    "released with its switch": released_with_its_switch,
    "deletion of a schedule refused once": a_schedule_whose_deletion_is_refused_once,
    "no schedule to be had": no_schedule_to_be_had,
    "release that fails for an hour": release_that_fails_for_an_hour,
    "deleted store": deleted_store,
    "store that fails for good": store_that_fails_for_good,
    "taken over while warming": taken_over_while_warming,
    "cancelled before the create": cancelled_before_the_create,
    "spec that fills a checkpoint": spec_that_fills_a_checkpoint,
    "records replaced while training": records_replaced_while_training,
    "throttled release": throttled_release,
    "one stale look in training": one_stale_look_in_training,
    "bought and not saved": bought_and_not_saved,
    "a switch that cannot be used": a_switch_that_cannot_be_used,
    "records swapped before the job": lambda: changed_after(Phase.RECORDING, swap_records),
    "records swapped before the rent": lambda: changed_after(Phase.TRAINING, swap_records),
    "records swapped before the tests": lambda: changed_after(Phase.WARMING, swap_records),
    "image changed before the job": lambda: changed_after(Phase.RECORDING, change_image),
    "image deleted under its marker": lambda: changed_after(Phase.STAGING, delete_image),
    "claim deleted": lambda: claimed_by_others(lambda _: None),
    "claim closed": lambda: claimed_by_others(lambda claim: ClosedPlace(deleting="theirs", claim=claim)),
    "claim taken": lambda: claimed_by_others(
        lambda claim: claim.model_copy(update={"fingerprint": "f" * 64, "holds": ()})
    ),
    "job that hangs": job_that_hangs,
    "job that hangs for ever": job_that_hangs_for_ever,
    "job that erred": lambda: jobs_that_err(1),
    "jobs that err": lambda: jobs_that_err(4),
    "job that failed on its data": job_that_failed_on_its_data,
    "job that erred while training": job_that_erred_while_training,
    "cancelled after an error": cancelled_after_an_error,
    "job lost for minutes": job_lost_for_minutes,
    "rent answered by a portal": rent_answered_by_a_portal,
    "reap behind a portal": reap_behind_a_portal,
    "reap with a stale list": reap_with_a_stale_list,
    "reap with stale tags": reap_with_stale_tags,
    "cut off while renting": cut_off_while_renting,
    "cancelled from another account": cancelled_from_another_account,
    "reap without tags": lambda: reap_without("tags"),
    "reap without a checkpoint": lambda: reap_without("checkpoint"),
    "halted while training": halted_while_training,
}


def check(name: str) -> list[str]:
    """What is wrong in this world, with the code as it is now; empty is good."""
    try:
        return run_virtual(CHECKS[name])
    except (Exception, Crash) as error:  # noqa: BLE001 - a mutant may break in any way
        return [f"{type(error).__name__}: {error}"]


__all__ = ["CHECKS", "FREEZES", "check"]

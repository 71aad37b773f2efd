"""Small worlds in which one rule of the protocol is all that stands between a run and a loss."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import anyio

from vlm_runner.core.run import Phase
from vlm_runner.errors import AwsUnavailable, VlmRunnerError
from vlm_runner.testing import Crash, FakeBedrock, FakeClock, Fault, Plan, Process, World, run_virtual
from vlm_runner.testing.faults import FREEZES
from vlm_runner.testing.world import outlive

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from vlm_runner.aws.ports import Deletion
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


async def released_with_its_switch() -> list[str]:
    world = World(serving=SWITCH)
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
    "released with its switch": released_with_its_switch,
    "no schedule to be had": no_schedule_to_be_had,
    "a switch that cannot be used": a_switch_that_cannot_be_used,
}


def check(name: str) -> list[str]:
    """What is wrong in this world, with the code as it is now; empty is good."""
    try:
        return run_virtual(CHECKS[name])
    except (Exception, Crash) as error:  # noqa: BLE001 - a mutant may break in any way
        return [f"{type(error).__name__}: {error}"]


__all__ = ["CHECKS", "FREEZES", "check"]

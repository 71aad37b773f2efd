"""Jobs that hang, and jobs that Bedrock ends by an error of its own: seen in live accounts."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import pytest

from vlm_runner.checkpoint.integrity import LATER_EVENTS
from vlm_runner.cli.exit_codes import run_exit_code
from vlm_runner.cli.run_view import RunView
from vlm_runner.core.failure import erred_before_training
from vlm_runner.core.retry import JOB, POLICIES, table
from vlm_runner.core.run import Phase
from vlm_runner.testing import Crash, FakeBedrock, FakeClock, Fault, Plan, Process, World
from vlm_runner.testing.world import ACCOUNT

HOUR = 3600.0
TRAINING = {"role_arn": f"arn:aws:iam::{ACCOUNT}:role/bedrock-sft", "stalled_after": "10m"}
INTERNAL = "Encountered an internal error when processing the request."


def clock() -> float:
    return asyncio.get_running_loop().time()


def kinds(world: World) -> list[str]:
    return [one.event.kind for one in world.told]


async def test_a_job_that_does_not_move_is_told_of_once_and_waited_for() -> None:
    world = World(bedrock=FakeBedrock(training_takes=HOUR / 2), training=TRAINING)

    await world.live(until=Phase.SUBMITTING)
    began = clock()
    run = await world.live()

    assert run.outcome == "succeeded"
    assert kinds(world).count("job_stalled") == 1
    assert clock() - began > HOUR / 2
    stall = next(one for one in world.told if one.event.kind == "job_stalled")
    submitted = next(one for one in world.told if one.event.kind == "job_submitted")
    assert timedelta(minutes=10) <= stall.at - submitted.at < timedelta(minutes=12)
    assert (await world.outcome()).min_reader == LATER_EVENTS
    assert await world.violations() == []


async def test_a_deadline_counts_from_the_create_and_stops_the_job() -> None:
    """Whatever is told meanwhile, and whoever drives."""
    world = World(bedrock=FakeBedrock(training_takes=9 * HOUR), training=TRAINING | {"deadline": "40m"})
    began = clock()
    died = Process(Plan(choose=lambda _: Fault.CRASH_BEFORE if clock() - began > HOUR / 3 else None))
    with pytest.raises(Crash):
        await world.live(died)

    run = await world.live()

    assert "job_stalled" in kinds(world)
    assert run.failure is not None
    assert run.failure.error == "DeadlineReached"
    assert run.released is not None
    assert run.released.job_stopped
    assert world.bedrock.training() == []
    assert world.bedrock.endpoints_created == 0
    assert 40 * 60 <= clock() - began < 45 * 60
    assert run_exit_code(RunView.of(run)) == 100
    assert await world.violations() == []


class SetBack(FakeClock):
    """Shows three hours less from a moment on."""

    def now(self) -> datetime:
        return super().now() - timedelta(hours=3 if self.elapsed() > HOUR / 3 else 0)


@pytest.mark.parametrize("second", [lambda: FakeClock(offset=-3 * HOUR), SetBack], ids=["behind", "set back"])
async def test_a_limit_holds_on_a_clock_that_is_behind(second: type[FakeClock]) -> None:
    """As `max_cost` and the time to be served do: one function judges all of them."""
    world = World(bedrock=FakeBedrock(training_takes=9 * HOUR), training=TRAINING | {"deadline": "40m"})
    began = clock()
    died = Process(Plan(choose=lambda _: Fault.CRASH_BEFORE if clock() - began > HOUR / 6 else None))
    with pytest.raises(Crash):
        await world.live(died)

    run = await world.live(Process(clock=second()))

    assert run.failure is not None
    assert run.failure.error == "DeadlineReached"
    assert 40 * 60 <= clock() - began < 45 * 60


@pytest.mark.parametrize("fault", [None, Fault.CRASH_AFTER, Fault.LOST])
async def test_an_internal_error_before_training_is_followed_by_one_other_job(fault: Fault | None) -> None:
    world = World()
    world.bedrock.internal_errors = 1
    creates = 0

    def choose(call: str) -> Fault | None:
        nonlocal creates
        creates += call == "bedrock.create_job"
        return fault if call == "bedrock.create_job" and creates == 2 else None

    process = Process(Plan(choose=choose))
    if fault is Fault.CRASH_AFTER:
        with pytest.raises(Crash):
            await world.live(process)
        process = Process()
    run = await world.live(process)

    assert run.outcome == "succeeded"
    jobs = [paid.request for paid in world.bedrock.ledger if paid.kind == "job"]
    assert len(jobs) == len({each["jobName"] for each in jobs}) == 2
    assert len({each["clientRequestToken"] for each in jobs}) == 2
    assert len({each["customModelName"] for each in jobs}) == 2
    assert world.bedrock.alive == []


async def test_the_other_job_is_created_as_soon_as_the_table_says() -> None:
    world = World()
    world.bedrock.internal_errors = 1

    await world.live()

    at = {entry.event.kind: entry.at for entry in world.told}  # of two, the later one
    assert (at["job_submitted"] - at["job_erred"]).total_seconds() <= JOB.longest + 1
    assert "| none |" in table()[2 + POLICIES.index(JOB)]


async def test_a_second_internal_error_fails_the_run() -> None:
    world = World()
    world.bedrock.internal_errors = 2

    run = await world.live()

    assert run.job_failure is not None
    assert INTERNAL in run.job_failure.reason
    assert world.bedrock.jobs_created == 2


@pytest.mark.parametrize(
    ("failure", "details", "erred", "expected"),
    [
        (INTERNAL, {"training": "NotStarted"}, 0, True),
        (INTERNAL, {"training": "NotStarted"}, 1, False),
        (INTERNAL, {"training": "Failed"}, 0, False),
        (INTERNAL, {}, 0, False),
        ("The data was bad.", {"training": "NotStarted"}, 0, False),
        (None, {"training": "NotStarted"}, 0, False),
    ],
)
def test_only_what_cost_nothing_is_followed_by_another(
    failure: str | None, details: dict[str, str], erred: int, *, expected: bool
) -> None:
    assert erred_before_training(failure, details, erred) is expected

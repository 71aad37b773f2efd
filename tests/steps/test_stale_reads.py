"""Not found is believed only in several looks, spaced over minutes, wherever money hangs on it."""

from __future__ import annotations

import asyncio

import pytest

from vlm_runner.core.decide import decide
from vlm_runner.core.pace import LOOKS_UNTIL_GONE, PollPace, Unseen
from vlm_runner.core.run import Phase
from vlm_runner.testing import FakeBedrock, World

from .world import at

AFTER = PollPace().gone_after


def now() -> float:
    return asyncio.get_running_loop().time()


@pytest.mark.parametrize("seconds", [1, 60])
@pytest.mark.parametrize("since", [130, 400, 900])
async def test_a_stale_read_in_training_abandons_no_job(since: float, seconds: float) -> None:
    """After two minutes a job is visible, and a read that does not find it proves nothing."""
    world = World(bedrock=FakeBedrock(training_takes=1200))
    world.bedrock.stale = [(now() + since, now() + since + seconds)]

    run = await world.live()

    assert run.outcome == "succeeded"
    assert await world.violations() == []


async def test_a_job_that_is_not_found_for_minutes_is_looked_for_and_stopped_at_the_release() -> None:
    world = World(bedrock=FakeBedrock(training_takes=3600))
    world.bedrock.stale = [(now() + 200, now() + 200 + AFTER + 60)]

    run = await world.live()

    assert run.job_failure is not None
    assert run.job_failure.status == "Gone"
    assert world.bedrock.training() == []
    assert run.released is not None
    assert run.released.job_stopped


def test_a_release_is_given_the_job_that_was_not_found_any_more() -> None:
    gone = at(Phase.TRAINING, "job_failed")
    assert gone.job_failure is not None
    lost = gone.model_copy(update={"job_failure": gone.job_failure.model_copy(update={"status": "Gone"})})

    assert not gone.may_train
    assert lost.may_train
    assert getattr(decide(lost), "job_name", None) is not None


@pytest.mark.parametrize("seconds", [1, 60])
async def test_a_round_of_stale_reads_in_the_release_leaves_nothing_billing(seconds: float) -> None:
    world = World()
    await world.live(until=Phase.TESTING)
    assert len(world.bedrock.alive) == 1
    world.bedrock.stale = [(now(), now() + seconds)]

    run = await world.live()

    assert run.outcome == "succeeded"
    assert world.bedrock.alive == []


@pytest.mark.parametrize("seconds", [1, 60])
async def test_a_stale_read_while_warming_gives_up_no_endpoint(seconds: float) -> None:
    world = World(bedrock=FakeBedrock(warming_takes=900))
    await world.live(until=Phase.REQUESTING)
    world.bedrock.stale = [(now() + 200, now() + 200 + seconds)]

    run = await world.live()

    assert run.outcome == "succeeded"
    assert await world.violations() == []


def test_gone_takes_both_several_looks_and_time() -> None:
    quick, slow = Unseen(), Unseen()
    for number in range(LOOKS_UNTIL_GONE):
        quick, slow = quick.another(number), slow.another(number * AFTER)

    assert not quick.is_gone(LOOKS_UNTIL_GONE, AFTER)
    assert slow.is_gone(2 * AFTER, AFTER)
    assert not Unseen().another(0).another(AFTER).is_gone(10 * AFTER, AFTER)

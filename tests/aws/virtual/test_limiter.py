"""How calls of the control plane are spread, on virtual time."""

from __future__ import annotations

import asyncio
from functools import partial
from itertools import pairwise

import anyio
import pytest

from vlm_runner.aws.limiter import IN_A_ROW, Limiter, limiter_of

RATE, BURST = 10.0, 20.0


def now() -> float:
    return asyncio.get_running_loop().time()


class Caller:
    """Calls, and notes who came through when."""

    def __init__(self, limiter: Limiter) -> None:
        self.limiter = limiter
        self.came: list[tuple[float, str]] = []
        self.began = now()

    async def call(self, name: str, *, urgent: bool = False) -> None:
        await self.limiter.take(urgent=urgent)
        self.came.append((now() - self.began, name))

    async def poll(self, name: str, times: int) -> None:
        for _ in range(times):
            await self.call(name)

    @property
    def names(self) -> list[str]:
        return [name for _, name in self.came]

    def at(self, name: str) -> float:
        return next(at for at, called in self.came if called == name)

    def most_within(self, seconds: float) -> int:
        times = [at for at, _ in self.came]
        return max(sum(begin <= at < begin + seconds for at in times) for begin in times)


@pytest.fixture
async def caller() -> Caller:
    return Caller(Limiter(RATE, BURST))


async def test_a_few_calls_after_a_rest_wait_for_nothing(caller: Caller) -> None:
    for number in range(int(BURST)):
        await caller.call(str(number))

    assert caller.came[-1][0] == 0


@pytest.mark.parametrize("seconds", [1, 5, 30])
async def test_hundreds_of_runs_together_stay_below_the_rate(caller: Caller, seconds: int) -> None:
    async with anyio.create_task_group() as group:
        for number in range(300):
            group.start_soon(caller.poll, f"run {number}", 3)

    assert len(caller.came) == 900
    assert caller.most_within(seconds) <= BURST + RATE * seconds + 1
    # Nor is it slower than it may be.
    assert caller.came[-1][0] == pytest.approx((900 - BURST) / RATE, rel=0.01)


async def test_first_come_first_served_so_no_run_is_left_behind(caller: Caller) -> None:
    async with anyio.create_task_group() as group:
        for number in range(50):
            group.start_soon(caller.poll, str(number), 4)

    turns = [caller.names[begin : begin + 50] for begin in range(0, 200, 50)]
    assert all(sorted(turn, key=int) == turn for turn in turns)


async def test_what_stops_a_bill_goes_before_hundreds_that_only_look(caller: Caller) -> None:
    async with anyio.create_task_group() as group:
        for number in range(300):
            group.start_soon(caller.call, f"look {number}")
        await anyio.sleep(3.05)
        came = len(caller.came)
        group.start_soon(partial(caller.call, "delete", urgent=True))

    assert caller.names.index("delete") == came
    assert caller.at("delete") <= 3.05 + 1 / RATE


async def test_looking_goes_on_however_much_is_urgent(caller: Caller) -> None:
    async with anyio.create_task_group() as group:
        for number in range(100):
            group.start_soon(partial(caller.call, f"delete {number}", urgent=True))
        for number in range(30):
            group.start_soon(caller.call, f"look {number}")

    after_the_burst = [name.split()[0] for name in caller.names[int(BURST) :]]
    looks = [place for place, kind in enumerate(after_the_burst) if kind == "look"]
    busy = looks[: after_the_burst.count("delete") // IN_A_ROW]
    assert {after - before for before, after in pairwise(busy)} == {IN_A_ROW + 1}
    assert len(caller.came) == 130


async def test_a_wait_that_is_cancelled_takes_no_turn_and_holds_up_nobody(caller: Caller) -> None:
    await caller.poll("before", int(BURST))
    waits = [asyncio.create_task(caller.call("given up", urgent=bool(number % 2))) for number in range(50)]
    await asyncio.sleep(0.05)
    for wait in waits:
        wait.cancel()

    await caller.call("next")

    assert caller.names[int(BURST) :] == ["next"]
    assert caller.at("next") == pytest.approx(1 / RATE)


async def test_a_refusal_halves_the_rate_for_all_once_however_many_were_refused_together(
    caller: Caller,
) -> None:
    await caller.poll("before", int(BURST))
    for _ in range(30):
        caller.limiter.refused()
    caller.began = now()

    async with anyio.create_task_group() as group:
        for number in range(5):
            group.start_soon(caller.call, str(number))

    assert caller.came[-1][0] == pytest.approx(5 / (RATE / 2), rel=0.05)


async def test_what_was_saved_up_is_not_sent_after_a_refusal(caller: Caller) -> None:
    caller.limiter.refused()

    await caller.call("next")

    assert caller.at("next") == pytest.approx(2 / RATE, rel=0.05)


async def test_the_rate_comes_back_within_a_minute(caller: Caller) -> None:
    caller.limiter.refused()
    await asyncio.sleep(60)

    await caller.call("next")

    assert caller.limiter.rate == RATE


async def test_an_account_that_bears_less_is_met_at_what_it_bears(caller: Caller) -> None:
    """
    AWS publishes no rates, so this one is unknown to the limiter: three a second, refused beyond.
    """
    bears, left, refusals, answers = 3.0, 3.0, 0, 0
    asked = now()
    while now() - caller.began < 300:
        await caller.call("look")
        left = min(bears, left + bears * (now() - asked))
        asked = now()
        if left >= 1:
            left, answers = left - 1, answers + 1
        else:
            refusals += 1
            caller.limiter.refused()

    assert answers >= 0.6 * bears * 300
    assert refusals <= 0.1 * answers


async def test_however_often_it_is_refused_a_call_is_tried_now_and_then(caller: Caller) -> None:
    for _ in range(100):
        caller.limiter.refused()
        await asyncio.sleep(1)
    began = now()

    await caller.call("look")

    assert now() - began < 2


async def test_all_sessions_of_a_process_share_one_an_account_and_region() -> None:
    assert limiter_of("profile", None, "us-east-1") is limiter_of("profile", None, "us-east-1")
    assert limiter_of("profile", None, "us-east-1") is not limiter_of("profile", None, "us-west-2")
    assert limiter_of("profile", None, "us-east-1") is not limiter_of("other", None, "us-east-1")

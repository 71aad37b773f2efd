"""How much is under way at once."""

import anyio
import pytest
from anyio.lowlevel import checkpoint

from vlm_runner.ingest.limits import START, AdaptiveLimit, ByteBudget


class Hand:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def elapsed(self) -> float:
        return self.seconds


def limit_of(most: int) -> tuple[AdaptiveLimit, Hand]:
    clock = Hand()
    return AdaptiveLimit(most, clock), clock  # type: ignore[arg-type]  # the rest of a clock is not needed


def test_grows_with_each_success_up_to_the_most() -> None:
    limit, _ = limit_of(40)
    assert limit.limit == START
    for _ in range(100):
        limit.succeeded()

    assert limit.limit == 40


def test_halves_once_for_refusals_that_come_together() -> None:
    limit, clock = limit_of(40)
    for _ in range(100):
        limit.succeeded()
    for _ in range(30):
        limit.refused()
    assert limit.limit == 20
    clock.seconds += 1.5
    limit.refused()

    assert limit.limit == 10


def test_never_falls_below_one() -> None:
    limit, clock = limit_of(8)
    for _ in range(20):
        clock.seconds += 2
        limit.refused()

    assert limit.limit == 1


def test_grows_slowly_after_a_refusal() -> None:
    """
    By one in as many successes as are in flight.
    """
    limit, _ = limit_of(64)
    limit.refused()
    at = limit.limit
    for _ in range(at + 1):
        limit.succeeded()

    assert limit.limit == at + 1


async def test_holds_no_more_than_the_limit() -> None:
    limit, _ = limit_of(3)
    most = 0

    async def work() -> None:
        nonlocal most
        await limit.acquire()
        most = max(most, limit.held)
        await checkpoint()
        limit.release()

    async with anyio.create_task_group() as group:
        for _ in range(50):
            group.start_soon(work)

    assert most == 3
    assert limit.held == 0


async def test_a_success_lets_in_who_waits_while_all_others_go_on() -> None:
    limit, _ = limit_of(START + 1)
    for _ in range(START):
        await limit.acquire()
    async with anyio.create_task_group() as group:
        group.start_soon(limit.acquire)
        await checkpoint()
        assert limit.held == START
        limit.succeeded()
        with anyio.fail_after(1):
            while limit.held == START:
                await checkpoint()

    assert limit.held == START + 1


@pytest.mark.parametrize("first", ["release", "cancel"])
async def test_a_waiter_that_gives_up_leaves_its_turn_to_the_next(first: str) -> None:
    limit, _ = limit_of(1)
    await limit.acquire()
    async with anyio.create_task_group() as group:
        impatient = anyio.CancelScope()

        async def give_up() -> None:
            with impatient:
                await limit.acquire()
                limit.release()

        group.start_soon(give_up)
        group.start_soon(limit.acquire)
        await anyio.wait_all_tasks_blocked()
        if first == "release":
            limit.release()
        impatient.cancel()
        await anyio.wait_all_tasks_blocked()
        if first == "cancel":
            limit.release()

    assert limit.held == 1


async def test_bytes_in_flight_stay_within_the_budget() -> None:
    budget, used, most = ByteBudget(100), 0, 0

    async def work(size: int) -> None:
        nonlocal used, most
        await budget.acquire(size)
        used += size
        most = max(most, used)
        await checkpoint()
        used -= size
        budget.release(size)

    async with anyio.create_task_group() as group:
        for size in (30, 50, 60, 10, 90, 40) * 5:
            group.start_soon(work, size)

    assert most <= 100


async def test_one_that_is_larger_than_the_budget_goes_alone() -> None:
    budget = ByteBudget(100)
    await budget.acquire(500)
    with pytest.raises(TimeoutError), anyio.fail_after(0.01):
        await budget.acquire(1)
    budget.release(500)

    await budget.acquire(1)


async def test_one_that_gave_up_waiting_takes_nothing_of_the_budget() -> None:
    """Else each row that is cancelled would slow down all that come after it, and in the end stop them."""
    budget = ByteBudget(100)
    await budget.acquire(50)
    with pytest.raises(TimeoutError), anyio.fail_after(0.01):
        await budget.acquire(90)

    budget.release(50)

    with anyio.fail_after(1):
        await budget.acquire(100)

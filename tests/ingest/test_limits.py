"""How much is under way at once."""

import anyio
import pytest
from anyio.lowlevel import checkpoint

from vlm_runner.ingest.limits import FEW, START, AdaptiveLimit, ByteBudget, UploadQueue


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


class Uploads:
    """Counts what is under way; each goes on until it is let go."""

    def __init__(self) -> None:
        self.begun = self.under_way = self.most = 0
        self.go_on = anyio.Event()

    async def __call__(self) -> None:
        self.begun += 1
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await self.go_on.wait()
        await checkpoint()
        self.under_way -= 1


async def test_no_more_uploads_at_once_than_the_limit_and_each_is_done() -> None:
    limit, _ = limit_of(3)
    uploads = Uploads()
    uploads.go_on.set()
    async with anyio.create_task_group() as group:
        queue = UploadQueue(limit, group)
        for _ in range(50):
            queue.add(uploads)

    assert (uploads.begun, uploads.under_way, uploads.most) == (50, 0, 3)


async def test_what_is_added_while_nothing_waits_is_begun_at_once() -> None:
    limit, _ = limit_of(3)
    uploads = Uploads()
    async with anyio.create_task_group() as group:
        queue = UploadQueue(limit, group)
        for begun in (1, 2, 3, 3):
            queue.add(uploads)
            await anyio.wait_all_tasks_blocked()
            assert uploads.under_way == begun
        uploads.go_on.set()
    assert uploads.begun == 4


async def test_a_success_lets_one_more_in_while_all_others_go_on() -> None:
    limit, _ = limit_of(START + 1)
    uploads = Uploads()

    async def succeed() -> None:
        limit.succeeded()

    async with anyio.create_task_group() as group:
        queue = UploadQueue(limit, group)
        queue.add(succeed)
        for _ in range(START + 5):
            queue.add(uploads)
        await anyio.wait_all_tasks_blocked()
        assert uploads.under_way == START + 1
        uploads.go_on.set()
    assert uploads.begun == START + 5


async def test_after_a_refusal_fewer_go_on() -> None:
    limit, _ = limit_of(8)
    first, then = Uploads(), Uploads()
    async with anyio.create_task_group() as group:
        queue = UploadQueue(limit, group)
        for _ in range(8):
            queue.add(first)
        await anyio.wait_all_tasks_blocked()
        limit.refused()
        for _ in range(20):
            queue.add(then)
        first.go_on.set()
        await anyio.wait_all_tasks_blocked()
        assert (first.most, then.under_way) == (8, 4)
        then.go_on.set()
    assert then.begun == 20


async def test_who_makes_uploads_ready_waits_until_few_are_waiting() -> None:
    """One that gives up meanwhile does not keep the others waiting."""
    limit, _ = limit_of(1)
    uploads = Uploads()
    async with anyio.create_task_group() as group:
        queue = UploadQueue(limit, group)
        for _ in range(FEW + 2):
            queue.add(uploads)
        with pytest.raises(TimeoutError), anyio.fail_after(0.01):
            await queue.until_few()
        group.start_soon(queue.until_few)
        await anyio.wait_all_tasks_blocked()
        assert uploads.begun == 1
        uploads.go_on.set()
        with anyio.fail_after(1):
            await queue.until_few()
        assert uploads.begun < FEW


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

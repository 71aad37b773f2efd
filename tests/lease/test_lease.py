"""Who drives a run, and what is known for certain about what was saved."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext as does_not_raise
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from tests.histories import AT, STAGED, after, begun, entry
from vlm_runner.checkpoint import lease
from vlm_runner.checkpoint.base import Replaced, Stored
from vlm_runner.checkpoint.document import Checkpoint, Holder, from_bytes
from vlm_runner.checkpoint.lease import Claim
from vlm_runner.checkpoint.timing import LeaseSettings
from vlm_runner.core.events import Entry
from vlm_runner.core.retry import SAVE
from vlm_runner.errors import (
    AwsUnavailable,
    CredentialsError,
    Fenced,
    LeaseExpired,
    StoreUnavailable,
    Unsaved,
)
from vlm_runner.testing import FakeClock, MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable

TIMING = LeaseSettings()


class Store(MemoryStore):
    """A store whose next writes and reads go wrong as told; it counts."""

    def __init__(self) -> None:
        super().__init__()
        self.before: list[Exception] = []
        self.after: list[Exception] = []
        self.reading: list[Exception] = []
        self.writes = 0

    async def write(self, run_id: str, body: bytes, *, replacing: str | None) -> str:
        self.writes += 1
        if self.before:
            raise self.before.pop(0)
        version = await super().write(run_id, body, replacing=replacing)
        if self.after:
            raise self.after.pop(0)
        return version

    async def read(self, run_id: str) -> Stored | None:
        if self.reading:
            raise self.reading.pop(0)
        return await super().read(run_id)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def store(clock: FakeClock) -> Store:
    store = Store()
    run = begun()
    assert await lease.create(store, Entry(sequence=1, at=AT, event=run.created), run, clock=clock)
    store.writes = 0
    return store


async def acquire(store: MemoryStore, name: str, clock: FakeClock, **named: Any) -> Claim:
    return await Claim.acquire(store, "cats", Holder(id=name), clock=clock, timing=TIMING, **named)


async def holder_in(store: MemoryStore) -> str | None:
    found = await store.read("cats")
    assert found is not None
    holder = from_bytes(found.body, where="x").holder
    return None if holder is None else holder.id


async def commit(claim: Claim) -> Checkpoint:
    run = claim.run
    await claim.commit(after(run, STAGED), entry(run, STAGED))
    return claim.checkpoint


async def test_a_run_that_nobody_holds_is_taken_at_once(store: Store, clock: FakeClock) -> None:
    began = clock.elapsed()

    claim = await acquire(store, "a", clock)

    assert clock.elapsed() == began
    assert await holder_in(store) == "a"
    assert not claim.inherited


async def test_a_silent_holder_is_waited_out_and_not_a_second_less(store: Store, clock: FakeClock) -> None:
    await acquire(store, "a", clock)
    began = clock.elapsed()

    claim = await acquire(store, "b", clock)

    assert TIMING.takeover_after <= clock.elapsed() - began <= TIMING.takeover_after + 2 * TIMING.look_every
    assert claim.inherited


async def test_a_holder_that_renews_is_never_taken_over(store: Store, clock: FakeClock) -> None:
    claim = await acquire(store, "a", clock)

    async with anyio.create_task_group() as group:
        group.start_soon(claim.keep_renewing)
        with anyio.move_on_after(3600) as scope:
            await acquire(store, "b", clock)
        group.cancel_scope.cancel()

    assert scope.cancelled_caught
    assert await holder_in(store) == "a"


@pytest.mark.parametrize(("offset", "rate"), [(1e6, 1.0), (-1e6, 1.0), (0, 1.09), (0, 0.91)])
async def test_what_a_clock_shows_does_not_matter(store: Store, offset: float, rate: float) -> None:
    """Only how fast it runs does, and only by less than a tenth."""
    one, other = FakeClock(), FakeClock(offset=offset, rate=rate)
    claim = await acquire(store, "a", one)

    async with anyio.create_task_group() as group:
        group.start_soon(claim.keep_renewing)
        with anyio.move_on_after(1000) as scope:
            await acquire(store, "b", other)
        group.cancel_scope.cancel()

    assert scope.cancelled_caught


async def test_a_holder_that_is_proved_dead_is_taken_over_at_once(store: Store, clock: FakeClock) -> None:
    await acquire(store, "a", clock)
    began = clock.elapsed()

    claim = await acquire(store, "b", clock, is_dead=lambda holder: holder.id == "a")

    assert clock.elapsed() == began
    assert claim.inherited


async def test_letting_go_lets_the_next_one_in_at_once(store: Store, clock: FakeClock) -> None:
    await (await acquire(store, "a", clock)).release()
    began = clock.elapsed()

    claim = await acquire(store, "b", clock)

    assert clock.elapsed() == began
    assert not claim.inherited


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit, asyncio.CancelledError])
async def test_what_ends_a_purchase_without_a_word_does_not_let_go(
    end: type[BaseException], store: Store, clock: FakeClock
) -> None:
    claim = await acquire(store, "a", clock)

    with pytest.raises(end), claim.settling():
        raise end
    await claim.release()

    assert (await acquire(store, "b", clock)).inherited


async def test_what_ends_a_purchase_by_an_error_lets_go(store: Store, clock: FakeClock) -> None:
    claim = await acquire(store, "a", clock)

    with pytest.raises(AwsUnavailable), claim.settling():
        raise AwsUnavailable("503")
    await claim.release()

    assert not (await acquire(store, "b", clock)).inherited


async def test_epochs_grow_through_release_and_takeover(store: Store, clock: FakeClock) -> None:
    epochs = []
    for name in "abc":
        claim = await acquire(store, name, clock)
        epochs.append(claim.checkpoint.epoch)
        await claim.release()

    assert epochs == [1, 2, 3]


async def test_of_two_contenders_one_wins_and_the_other_waits(store: Store, clock: FakeClock) -> None:
    won: list[str] = []

    async def contend(name: str) -> None:
        await acquire(store, name, clock)
        won.append(name)

    with anyio.move_on_after(TIMING.takeover_after / 2):
        async with anyio.create_task_group() as group:
            for name in "ab":
                group.start_soon(contend, name)

    assert won == [await holder_in(store)]


async def test_the_loser_can_save_nothing_any_more(store: Store, clock: FakeClock) -> None:
    loser = await acquire(store, "a", clock)
    winner = await acquire(store, "b", clock)

    with pytest.raises(Fenced):
        await commit(loser)
    with pytest.raises(Fenced):
        await loser.renew()
    await loser.release()

    assert await holder_in(store) == "b"
    assert (await commit(winner)).run.sequence == 2


@pytest.mark.parametrize(
    "lost", [AwsUnavailable("no answer"), Replaced(), CredentialsError("expired"), StoreUnavailable("full")]
)
async def test_a_write_whose_answer_was_lost_is_recognised(
    store: Store, clock: FakeClock, lost: Exception
) -> None:
    """Also where a copy of it that was sent below us is answered with 412."""
    claim = await acquire(store, "a", clock)
    store.after = [lost]

    saved = await commit(claim)

    found = await store.read("cats")
    assert found is not None
    assert from_bytes(found.body, where="x") == saved
    assert store.writes == 2
    await claim.renew()


@pytest.mark.parametrize("failing", range(6))
async def test_a_write_that_was_not_taken_is_sent_again(store: Store, clock: FakeClock, failing: int) -> None:
    claim = await acquire(store, "a", clock)
    store.before = [AwsUnavailable("503")] * failing
    store.reading = [AwsUnavailable("503")] * (failing // 2)

    await commit(claim)

    assert store.writes == 2 + failing


async def test_a_conflict_that_nobody_caused_is_not_taken_for_another_holder(
    store: Store, clock: FakeClock
) -> None:
    """S3 answers 409 to writes that overlap, and then neither may have been stored."""
    claim = await acquire(store, "a", clock)
    store.before = [Replaced()]

    await commit(claim)

    assert await holder_in(store) == "a"


async def test_an_expired_lease_stops_what_pays_until_it_is_renewed(store: Store, clock: FakeClock) -> None:
    claim = await acquire(store, "a", clock)
    claim.fence.check()
    await clock.sleep(TIMING.time_to_live - TIMING.guard)

    with pytest.raises(LeaseExpired):
        claim.fence.check()

    await claim.renew()
    claim.fence.check()


async def test_what_is_let_go_buys_nothing_any_more(store: Store, clock: FakeClock) -> None:
    claim = await acquire(store, "a", clock)

    await claim.release()

    with pytest.raises(LeaseExpired):
        claim.fence.check()


async def test_a_machine_that_slept_for_a_day_goes_on_if_nobody_took_its_run(
    store: Store, clock: FakeClock
) -> None:
    claim = await acquire(store, "a", clock)
    await clock.sleep(86400)
    store.before = [AwsUnavailable("the network is not up yet")] * 3

    await claim.renew()

    assert store.before == []
    with does_not_raise():
        claim.fence.check()


async def test_a_store_that_stays_away_is_given_up_and_the_write_may_still_land(
    store: Store, clock: FakeClock
) -> None:
    claim = await acquire(store, "a", clock)
    store.before = [AwsUnavailable("503")] * 10_000
    began = clock.elapsed()

    with pytest.raises(Unsaved):
        await commit(claim)

    assert clock.elapsed() - began >= SAVE.patience


async def test_one_that_is_stopped_does_not_try_for_long(store: Store, clock: FakeClock) -> None:
    claim = await acquire(store, "a", clock)
    store.before = [AwsUnavailable("503")] * 10_000
    began = clock.elapsed()

    claim.shorten_deadline(15)
    with pytest.raises(Unsaved):
        await commit(claim)
    await claim.release()

    assert clock.elapsed() - began < 60


async def test_a_takeover_that_is_cancelled_is_known_to_have_happened_or_not(
    store: Store, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the run would be held by nobody that knows of it."""
    write: Callable[..., Any] = store.write

    async def slow(*args: Any, **named: Any) -> str:
        version: str = await write(*args, **named)
        await clock.sleep(10)
        return version

    monkeypatch.setattr(store, "write", slow)
    taken: list[Claim] = []

    async def take() -> None:
        taken.append(await acquire(store, "a", clock))

    with anyio.move_on_after(5):
        await take()

    assert [claim.checkpoint.holder for claim in taken] == [Holder(id="a")]


async def test_reading_bears_a_passing_fault(store: Store, clock: FakeClock) -> None:
    store.reading = [AwsUnavailable("503")] * 4

    checkpoint, _ = await lease.load(store, "cats", clock=clock)

    assert checkpoint.run.run_id == "cats"


async def test_a_second_start_finds_the_first(store: Store, clock: FakeClock) -> None:
    run = begun(uid="1" * 32)

    assert not await lease.create(store, Entry(sequence=1, at=AT, event=run.created), run, clock=clock)

    checkpoint, _ = await lease.load(store, "cats", clock=clock)
    assert checkpoint.run.uid == "0" * 32


async def test_the_first_save_is_recognised_too(clock: FakeClock) -> None:
    store = Store()
    store.after = [AwsUnavailable("no answer")]
    run = begun()

    assert await lease.create(store, Entry(sequence=1, at=AT, event=run.created), run, clock=clock)


def test_the_guard_is_longer_than_a_call_that_pays() -> None:
    """3 s to connect and 20 s to read: vlm_runner.aws.session."""
    assert TIMING.guard > 23
    assert TIMING.renew_every * 1.2 < TIMING.time_to_live - TIMING.guard
    assert TIMING.takeover_after > TIMING.time_to_live

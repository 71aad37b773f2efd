"""Whatever goes wrong while something bills, it is released: no error ends a release, and no lost store."""

from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from structlog.testing import capture_logs

from vlm_runner.checkpoint.base import Stored
from vlm_runner.checkpoint.local import LocalStore
from vlm_runner.core.retry import SAVE
from vlm_runner.core.run import Phase
from vlm_runner.core.signals import Trouble
from vlm_runner.errors import (
    AccessDenied,
    AwsRefused,
    AwsUnavailable,
    CheckpointError,
    CredentialsError,
    Fenced,
    StoreUnavailable,
    Unrecorded,
    VlmRunnerError,
)
from vlm_runner.testing import FakeBedrock, Fault, MemoryStore, Plan, Process, World
from vlm_runner.testing.world import STATE_BUCKET

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

HOUR = 3600.0


class Store(MemoryStore):
    """A store that can be deleted, damaged, and refuse."""

    refusal: Exception | None = None

    def clear(self) -> None:
        self._documents.clear()

    def replace(self, run_id: str, body: bytes) -> None:
        self._documents[run_id] = Stored(body, "another")

    async def read(self, run_id: str) -> Stored | None:
        if self.refusal is not None:
            raise self.refusal
        return await super().read(run_id)

    async def write(self, run_id: str, body: bytes, *, replacing: str | None) -> str:
        if self.refusal is not None:
            raise self.refusal
        return await super().write(run_id, body, replacing=replacing)


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[Any]]:
    """What is logged; rendering a traceback takes seconds."""
    with capture_logs() as lines:
        yield lines


def troubles(world: World) -> list[str]:
    return [signal.message for signal in world.signals if isinstance(signal, Trouble)]


async def warming(world: World, then: Callable[[], None], process: Process | None = None) -> Any:
    """The run, driven by one process, where `then` happens a minute after the endpoint was rented."""

    rented, create = asyncio.Event(), world.bedrock.create_endpoint

    async def creating(*args: Any) -> str:
        arn = await create(*args)
        rented.set()
        return arn

    world.bedrock.create_endpoint = creating  # type: ignore[method-assign,assignment]

    async def watch() -> None:
        await rented.wait()
        await asyncio.sleep(60)
        then()

    async with anyio.create_task_group() as group:
        group.start_soon(watch)
        try:
            return await world.live(process)
        except Exception as error:  # noqa: BLE001 - returned
            return error


ERRORS: list[Exception] = [
    KeyError("provisionedModelArn"), AttributeError("status"), MemoryError(), RuntimeError("a bug"),
    AwsRefused("no"), AccessDenied("no"), AwsUnavailable("503"), CredentialsError("expired"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("operation", "error"),
    [
        *(("delete_endpoint", error) for error in ERRORS),
        *((operation, ERRORS[0]) for operation in ("find_endpoint", "list_endpoints")),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
async def test_no_error_ends_a_release(
    monkeypatch: pytest.MonkeyPatch, logged: list[Any], error: Exception, operation: str
) -> None:
    """Foreseen or not, for two hours: it is told, and the release goes on."""
    world = World()
    await world.live(until=Phase.TESTING)
    until, real = asyncio.get_running_loop().time() + 2 * HOUR, getattr(world.bedrock, operation)

    def broken(*args: Any, **named: Any) -> Any:
        if asyncio.get_running_loop().time() < until:
            raise error
        return real(*args, **named)

    monkeypatch.setattr(world.bedrock, operation, broken)

    run = await world.live()

    assert run.outcome == "succeeded"
    assert world.bedrock.alive == []
    assert len([one for one in troubles(world) if str(error) in one]) > 10
    if not isinstance(error, VlmRunnerError | MemoryError):  # which is OutOfResources
        assert "run.step_crashed" in {line["event"] for line in logged}


async def test_no_error_ends_the_release_after_a_cancel_in_training(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(bedrock=FakeBedrock(training_takes=20 * HOUR))
    await world.live(until=Phase.SUBMITTING)
    await world.cancel()
    real, failures = world.bedrock.stop_job, iter(range(40))

    async def broken(arn: str) -> None:
        if next(failures, None) is not None:
            raise KeyError("status")
        await real(arn)

    monkeypatch.setattr(world.bedrock, "stop_job", broken)

    run = await world.live()

    assert run.outcome == "cancelled"
    assert world.bedrock.training() == []


@pytest.mark.parametrize("since", [40, 300])
async def test_a_store_that_was_deleted_is_written_again_from_memory(since: float) -> None:
    """Absent is not taken over: the history is whole, and the run trains and rents once."""
    store = Store()
    world = World(store=store, bedrock=FakeBedrock(training_takes=200, warming_takes=600))
    asyncio.get_running_loop().call_later(since, store.clear)

    run = await world.live()

    assert run.outcome == "succeeded"
    assert await world.violations() == []
    assert (world.bedrock.jobs_created, world.bedrock.endpoints_created) == (1, 1)


async def test_a_folder_that_was_deleted_is_made_again(tmp_path: Path) -> None:
    world = World(store=LocalStore(tmp_path / "store"), bedrock=FakeBedrock(warming_takes=600))

    run = await warming(world, lambda: shutil.rmtree(tmp_path / "store"))

    assert run.outcome == "succeeded"
    assert await world.violations() == []


async def test_an_object_that_was_deleted_is_made_again() -> None:
    world = World(store="s3", bedrock=FakeBedrock(warming_takes=600))

    run = await warming(world, world.aws.s3.buckets[STATE_BUCKET].clear)

    assert run.outcome == "succeeded"
    assert await world.violations() == []


LASTING: list[Exception] = [
    StoreUnavailable("disk full"), AccessDenied("s3:PutObject"), AwsRefused("NoSuchBucket"),
    CredentialsError("expired"), CheckpointError("Input/output error"), KeyError("a bug"),
]  # fmt: skip


@pytest.mark.parametrize("error", LASTING, ids=lambda error: type(error).__name__)
async def test_a_run_that_cannot_be_saved_any_more_releases_what_it_rents(error: Exception) -> None:
    """Perhaps nobody can ever resume it."""
    store = Store()
    world = World(store=store, bedrock=FakeBedrock(warming_takes=600))

    ended = await warming(world, lambda: setattr(store, "refusal", error))

    assert isinstance(ended, Unrecorded)
    assert world.bedrock.alive == []


async def test_what_is_rented_and_cannot_be_recorded_bills_for_one_patience_only() -> None:
    """The renewal of the lease waits for its turn meanwhile, and is not as patient again."""
    store = Store()
    world = World(store=store)
    create = world.bedrock.create_endpoint

    async def created(*args: Any) -> str:
        arn = await create(*args)
        store.refusal = StoreUnavailable("full")
        return arn

    world.bedrock.create_endpoint = created  # type: ignore[method-assign,assignment]
    with pytest.raises(Unrecorded):
        await world.live()

    (rented,) = [paid for paid in world.bedrock.ledger if paid.kind != "job"]
    assert rented.ended is not None
    assert rented.ended - rented.created < SAVE.patience + 60


async def test_a_checkpoint_that_was_damaged_is_left_and_what_it_rented_released() -> None:
    store = Store()
    world = World(store=store, bedrock=FakeBedrock(warming_takes=600))

    ended = await warming(world, lambda: store.replace("cats", b'{"schema": 1'))

    assert isinstance(ended, Unrecorded)
    assert world.bedrock.alive == []
    assert (await store.read("cats") or Stored(b"", "")).body == b'{"schema": 1'


async def test_the_resume_after_that_finds_the_endpoint_gone_and_ends() -> None:
    store = Store()
    world = World(store=store, bedrock=FakeBedrock(warming_takes=600))
    await warming(world, lambda: setattr(store, "refusal", StoreUnavailable("disk full")))
    store.refusal = None

    run = await world.live()

    assert run.outcome == "failed"
    assert await world.violations() == []


async def test_another_run_of_the_same_id_leaves_nothing_of_the_first_behind() -> None:
    """The store was deleted and the same spec started again, by another process."""
    store = Store()
    world = World(store=store, bedrock=FakeBedrock(warming_takes=600))
    other = World(store=MemoryStore(), bedrock=FakeBedrock())
    await other.live(until=Phase.STAGING)
    foreign = await other.store.read("cats")
    assert foreign is not None

    ended = await warming(world, lambda: store.replace("cats", foreign.body))

    assert isinstance(ended, Unrecorded)
    assert world.bedrock.alive == []


async def test_what_was_taken_over_is_left_to_its_new_driver() -> None:
    world = World(bedrock=FakeBedrock(warming_takes=3000))
    first = Process(
        Plan(choose=lambda call: Fault.FREEZE_BEFORE if call == "bedrock.find_endpoint" else None)
    )
    runs: list[Any] = []

    async def slow() -> None:
        try:
            await world.live(first)
        except VlmRunnerError as error:
            runs.append(error)

    async with anyio.create_task_group() as group:
        group.start_soon(slow)
        await first.frozen.wait()
        first.plan = Plan()
        group.start_soon(asyncio.sleep, 0)
        with anyio.move_on_after(600):
            await world.live()
        first.thaw()

    assert isinstance(runs[0], Fenced)
    assert len(world.bedrock.alive) == 1


async def test_a_process_that_slept_past_its_lease_writes_no_deleted_run_again() -> None:
    """Another one may have finished it meanwhile, and its user deleted it."""
    store = Store()
    world = World(store=store, bedrock=FakeBedrock(training_takes=20 * HOUR))
    first = Process(Plan(choose=lambda call: Fault.FREEZE_BEFORE if call == "bedrock.find_job" else None))
    errors: list[Exception] = []

    async def sleeper() -> None:
        try:
            await world.live(first)
        except VlmRunnerError as error:
            errors.append(error)

    async with anyio.create_task_group() as group:
        group.start_soon(sleeper)
        await first.frozen.wait()
        first.plan = Plan()
        await asyncio.sleep(HOUR)
        store.clear()
        first.thaw()

    assert "was deleted" in str(errors[0])
    assert await store.read("cats") is None


async def test_a_deployment_that_is_shown_as_deleting_is_awaited_and_deleted_once() -> None:
    world = World(bedrock=FakeBedrock(deleting_takes=300.0), serving={"mode": "on-demand"})

    run = await world.live()

    assert run.outcome == "succeeded"
    assert world.bedrock.alive == []
    assert await world.violations() == []


@pytest.mark.parametrize("odd", [None, "Suspended"])
async def test_an_endpoint_that_does_not_become_ready_is_told_of_again_and_again(odd: str | None) -> None:
    """AWS's samples wait 15 to 30 minutes for a throughput; one that hangs may bill all the same."""
    world = World(bedrock=FakeBedrock(warming_takes=72 * HOUR))
    world.bedrock.odd_status = odd

    with anyio.move_on_after(12 * HOUR):
        await world.live()

    told = [text for text in troubles(world) if "may bill" in text]
    assert len(told) >= 10
    assert f"is {odd or 'Creating'} after 1 h" in told[0]

"""A cancelled run buys nothing more, and one that bought nothing ends at once."""

from __future__ import annotations

import asyncio

import pytest

from tests.histories import AT, STAGED, after, begun, entry
from vlm_runner.checkpoint import lease
from vlm_runner.checkpoint.document import Holder
from vlm_runner.checkpoint.lease import Claim
from vlm_runner.checkpoint.timing import LeaseSettings
from vlm_runner.core.events import Entry
from vlm_runner.core.run import Phase
from vlm_runner.errors import ObjectChanged, Stopped, StoreUnavailable, Unsaved, VlmRunnerError
from vlm_runner.testing import FakeClock, Fault, MemoryStore, Plan, Process, World


def now() -> float:
    return asyncio.get_running_loop().time()


@pytest.mark.parametrize("until", [None, Phase.STAGING, Phase.RECORDING])
async def test_a_cancel_is_seen_before_the_first_step(until: Phase | None) -> None:
    world = World()
    if until is not None:
        await world.live(until=until)
    else:
        async with world.runner() as runner:
            created = await runner.prepare(world.spec, run_id=world.run_id)
            assert created is not None
            await runner.create(created)
    await world.cancel()
    process, began = Process(), now()

    run = await world.live(process)

    assert run.outcome == "cancelled"
    assert [one.event.kind for one in world.told if one.event.kind.endswith("intended")] == []
    assert "bedrock.create_job" not in process.trace
    assert now() - began < 60


async def test_an_intent_that_was_never_sent_is_not_waited_for() -> None:
    """Stopped between intent and create, then cancelled: nothing was bought, so nothing is swept for."""
    world = World()

    def before_the_create(call: str) -> Fault | None:
        saved = world.saved[-1].run if world.saved else None
        intended = saved is not None and saved.job_intent is not None
        return Fault.STOP if intended and call == "store.cancel_reason" else None

    with pytest.raises(Stopped):
        await world.live(Process(Plan(choose=before_the_create)))
    run = (await world.outcome()).run
    assert run.job_intent is not None
    await world.cancel()
    began = now()

    ended = await world.live()

    assert ended.outcome == "cancelled"
    assert world.bedrock.jobs_created == 0
    assert now() - began < 60


@pytest.mark.parametrize("call", ["bedrock.create_job", "bedrock.create_endpoint"])
async def test_nothing_is_bought_after_the_mark(call: str) -> None:
    """However rarely the driver looks for a mark, it looks before it buys."""
    world = World()
    world.settings = world.settings.model_copy(
        update={"poll": world.settings.poll.model_copy(update={"cancel_every": 1e6})}
    )
    before = "objects.concatenate" if call == "bedrock.create_job" else "bedrock.find_model"
    process = Process()

    def choose(name: str) -> Fault | None:
        if name == before and not marked:
            marked.append(asyncio.get_running_loop().create_task(world.cancel()))
        return None

    marked: list[asyncio.Task[None]] = []
    process.plan = Plan(choose=choose)

    run = await world.live(process)

    assert run.outcome == "cancelled"
    assert call not in process.trace


async def test_one_that_could_not_save_what_it_bought_does_not_let_go() -> None:
    """Else its successor would take the intent for one that was never sent."""
    clock, store = FakeClock(), MemoryStore()
    run = begun()
    await lease.create(store, Entry(sequence=1, at=AT, event=run.created), run, clock=clock)
    claim = await Claim.acquire(store, "cats", Holder(id="a"), clock=clock, timing=LeaseSettings())
    real = store.write
    store.write = refused  # type: ignore[method-assign]
    claim.shorten_deadline(15)
    with pytest.raises(Unsaved):
        await claim.commit(after(run, STAGED), entry(run, STAGED))
    store.write = real  # type: ignore[method-assign]

    await claim.release()
    successor = await Claim.acquire(store, "cats", Holder(id="b"), clock=clock, timing=LeaseSettings())

    assert successor.inherited


async def refused(*_: object, **__: object) -> str:
    raise StoreUnavailable("disk full")


async def test_under_throttling_what_is_known_is_deleted_first() -> None:
    """Each look more before the deletion would cost rent."""
    world = World()
    await world.live(until=Phase.TESTING)
    process = Process()

    def no_look_works(call: str) -> Fault | None:
        looks = call.startswith("bedrock.") and call != "bedrock.delete_endpoint"
        return Fault.UNAVAILABLE if looks and len(process.trace) < 60 else None

    process.plan = Plan(choose=no_look_works)
    run = await world.live(process)

    assert run.outcome == "succeeded"
    tried = [call for call in process.trace if call.startswith("bedrock.")]
    assert tried.index("bedrock.delete_endpoint") <= 1


async def test_the_questions_are_read_before_anything_is_rented() -> None:
    world = World()
    await world.live(until=Phase.TRAINING)
    bucket = world.aws.s3.buckets[(await world.outcome()).run.bucket]
    for key in [key for key in bucket if key.endswith(".jsonl")]:
        bucket[key] = b"not a record of ours\n"

    with pytest.raises(ObjectChanged):
        await world.live()

    assert (await world.outcome()).run.phase is Phase.REQUESTING
    assert world.bedrock.endpoints_created == 0


async def test_questions_that_cannot_be_read_halt_the_run_before_it_rents() -> None:
    world = World()
    await world.live(until=Phase.TRAINING)
    bucket = world.aws.s3.buckets[(await world.outcome()).run.bucket]
    kept = dict(bucket)
    bucket.clear()

    with pytest.raises(VlmRunnerError):
        await world.live()
    bucket.update(kept)
    halted = (await world.outcome()).run
    run = await world.live()

    assert halted.phase is Phase.REQUESTING
    assert not halted.may_bill
    assert run.outcome == "succeeded"

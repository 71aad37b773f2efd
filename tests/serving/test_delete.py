"""Deleting a run leaves nothing of it, and takes nothing that another run uses."""

from __future__ import annotations

import contextlib
import copy
import functools
from typing import TYPE_CHECKING

import anyio
import pytest

from tests.sweep.test_drive import EPOCHS, PROMPTS, swept
from vlm_runner.core.names import TAG_KEEP
from vlm_runner.errors import Conflict, NotFound, RunNotFound, UsageError
from vlm_runner.spec import ServingMode
from vlm_runner.steps.prepare_serving import ServeOptions
from vlm_runner.testing import Crash, Fault, Plan, TinyDataset, World, run_virtual
from vlm_runner.testing.world import tiny_spec

from .world import in_world, serving

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vlm_runner.runner import Runner
    from vlm_runner.testing import Process

BUCKET = "vlm-accessibility-123456789012-us-east-1"


def left(world: World) -> list[str]:
    """Keys in the data bucket."""
    return sorted(world.aws.s3.buckets[BUCKET])


async def another(world: World, run_id: str, user: str) -> None:
    """A run of another prompt on the same images."""
    before = world.run_id, world.spec
    world.run_id = run_id
    world.spec = tiny_spec(prompt={"user": user, "assistant": "{{ output }}"})
    await world.live()
    world.run_id, world.spec = before


async def deleted(world: World, run_id: str = "cats", process: Process | None = None) -> None:
    async with world.runner(process) as runner:
        await runner.delete(run_id)


def test_nothing_is_left_of_a_run_and_of_those_that_served_it() -> None:
    async def act(world: World, runner: Runner) -> None:
        await (await runner.serve("cats", ServeOptions(rows=2))).result()
        world.dataset.shade, world.dataset.fingerprint = 100, "other"
        await (await runner.serve("cats", ServeOptions(rows=2, split="test"))).result()
        assert [key for key in left(world) if key.startswith("images/test/")]
        model = (await runner.get("cats")).model

        await runner.delete("cats")

        assert left(world) == []
        assert await world.store.run_ids() == []
        assert model is not None
        assert await world.bedrock.find_model(model.model_arn) is None
        with pytest.raises(RunNotFound):
            await runner.delete("cats")

    in_world(act)


def test_a_run_whose_endpoint_only_seems_to_be_deleted_is_not_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A portal answers a deletion as AWS does; without its checkpoint, nothing would know what was kept."""

    async def act(world: World, runner: Runner) -> None:
        async def answered(*_: object) -> bool:
            return True

        with monkeypatch.context() as portal:
            portal.setattr(world.bedrock, "delete_endpoint", answered)
            with pytest.raises(Conflict, match="is still there"):
                await runner.delete("cats")
        assert (await runner.get("cats")).may_bill

        await runner.delete("cats")
        assert world.bedrock.alive == []

    in_world(act, serving={"keep": True})


def test_a_run_whose_model_only_seems_to_be_deleted_is_not_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    async def act(world: World, runner: Runner) -> None:
        async def answered(_: str) -> None:
            """Nothing is done."""

        with monkeypatch.context() as portal:
            portal.setattr(world.bedrock, "delete_model", answered)
            with pytest.raises(Conflict, match="is still there"):
                await runner.delete("cats")
        assert await world.store.run_ids() == ["cats"]

        await runner.delete("cats")
        assert await world.store.run_ids() == []

    in_world(act)


@pytest.mark.parametrize("shown", [None, {}])
def test_a_model_whose_mark_one_look_does_not_show_is_kept(
    shown: dict[str, str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def act(world: World, runner: Runner) -> None:
        model = (await runner.get("cats")).model
        assert model is not None
        world.bedrock.tags_of(model.model_arn)[TAG_KEEP] = "true"
        tags, stale = world.bedrock.tags, iter([True])

        async def older(arn: str) -> Mapping[str, str]:
            if not next(stale, False):
                return await tags(arn)
            if shown is None:
                raise NotFound("The resource does not exist.", code="ResourceNotFoundException")
            return shown

        monkeypatch.setattr(world.bedrock, "tags", older)
        with pytest.raises(UsageError, match="marked to be kept"):
            await runner.delete("cats")

        assert await world.bedrock.find_model(model.model_arn) is not None

    in_world(act)


def test_an_endpoint_that_was_kept_goes_with_its_run() -> None:
    async def act(world: World, runner: Runner) -> None:
        assert len(world.bedrock.alive) == 1

        await runner.delete("cats")

        assert world.bedrock.alive == []

    in_world(act, serving={"keep": True})


def test_what_another_run_uses_stays_until_that_is_deleted_too() -> None:
    """Three prompts on the same images, deleted one after another: nothing of any is left."""

    async def main() -> None:
        world = World()
        await world.live()
        await another(world, "dogs", "Look at {{ page }}.")
        await another(world, "mice", "See {{ page }}.")
        images = [key for key in left(world) if key.startswith("images/")]

        await deleted(world, "cats")
        assert [key for key in left(world) if key.startswith("images/")] == images
        assert "data/train.jsonl" not in left(world)
        assert len([key for key in left(world) if "/records-" in key]) == 2
        await another(world, "birds", "See {{ page }}!")
        assert [key for key in left(world) if key.startswith("images/")] == images
        for run_id in ("dogs", "mice", "birds"):
            await deleted(world, run_id)

        assert left(world) == []

    run_virtual(main)


def test_a_sweep_of_six_leaves_nothing_and_interrupted_at_any_call_comes_to_the_same_end() -> None:
    """One of the six was served, and asked about rows of another split."""
    world, results = swept(grid={"prompt.user": PROMPTS, EPOCHS: [1, 2, 3]})
    six = [result.planned.run_id for result in results]
    run_virtual(lambda: _serve_other_rows(world, six[0]))
    for logged in (world.saved, world.told, world.signals):
        logged.clear()

    found = {}
    for number, run_id in enumerate(six):
        after, calls = _deleted(world, run_id)
        # All other runs are read twice, however many places there are: first, and once nobody new can come.
        assert calls.count("store.run_ids") == 2
        # The first of a prompt leaves its records, the third takes them, the sixth takes the images.
        for point in _one_of_each_kind(calls) if number in {0, 1, 2, 5} else []:
            interrupted, _ = _deleted(world, run_id, point)
            if (rest := _left(interrupted)) != _left(after):
                found[number, point] = rest
        world = after

    assert len(six) == 6
    assert found == {}
    assert _left(world) == []


async def _serve_other_rows(world: World, run_id: str) -> None:
    await world.process().clock.sleep(
        30 * 86400
    )  # each of these begins at the same time, and things take time
    world.dataset = TinyDataset(rows=20, fingerprint="other", shade=100)
    async with world.runner() as runner:
        await (await runner.serve(run_id, ServeOptions(rows=2, split="test"))).result()


def _deleted(before: World, run_id: str, crash_after: int | None = None) -> tuple[World, list[str]]:
    """A copy of the world in which the run is deleted, at once or at the second attempt; and all calls."""
    world = copy.deepcopy(before)

    async def delete() -> list[str]:
        await world.process().clock.sleep(60 * 86400)
        process = world.process(Plan({} if crash_after is None else {crash_after: Fault.CRASH_AFTER}))
        with contextlib.suppress(Crash):
            await deleted(world, run_id, process)
        if crash_after is not None:
            with contextlib.suppress(RunNotFound):
                await deleted(world, run_id)
        return process.trace

    return world, run_virtual(delete)


def _one_of_each_kind(calls: list[str]) -> list[int]:
    """Of many deletions of objects, or reads of runs, one like the other, the first and the last."""
    many = {"objects.delete", "store.read"}
    return [
        at
        for at, call in enumerate(calls)
        if call not in many or [call] != calls[at - 1 : at] or [call] != calls[at + 1 : at + 2]
    ]


def _left(world: World) -> list[str]:
    async def look() -> list[str]:
        await world.process().clock.sleep(90 * 86400)
        models = [model.arn async for model in world.bedrock.list_models()]
        return [*left(world), *await world.store.run_ids(), *models, *world.bedrock.alive]

    return run_virtual(look)


def test_a_run_that_begins_meanwhile_loses_nothing() -> None:
    """Another prompt on the same images, begun at every call of the deletion."""

    async def beginning_at(point: int) -> str:
        world = World()
        await world.live()
        process = world.process()
        async with anyio.create_task_group() as group:

            async def begin() -> None:
                await another(world, "dogs", "Look at {{ page }}.")

            def choose(_: str) -> None:
                if len(process.trace) == point:
                    group.start_soon(begin)

            process.plan.choose = choose
            await deleted(world, process=process)
        async with world.runner() as runner:
            dogs = await runner.get("dogs")
        if dogs.outcome != "succeeded" or dogs.places is None or dogs.records is None:
            return f"{point}: {dogs.outcome}, {dogs.reason}"
        images = [key for key in left(world) if key.startswith(dogs.places.train.images)]
        records = dogs.records.train_uri.removeprefix(f"s3://{BUCKET}/") in left(world)
        return "" if len(images) == 8 and records else f"{point}: {len(images)} images, records: {records}"

    # Before and after each of its first calls; from the first deletion on, the place is closed.
    found = [run_virtual(functools.partial(beginning_at, point)) for point in (1, 3, 4, 5, 6, 7, 8, 10)]
    assert [wrong for wrong in found if wrong] == []


def test_what_is_in_use_is_refused_and_by_whom_is_said() -> None:
    async def act(world: World, runner: Runner) -> None:
        handle = await serving(runner)
        before = left(world)

        with pytest.raises(UsageError, match="Run cats-serve serves its model: it is in phase serving"):
            await runner.delete("cats")
        with pytest.raises(UsageError, match="Run cats-serve is not done"):
            await runner.delete("cats-serve")
        assert left(world) == before
        await handle.cancel()
        await handle.result()
        plan = await runner.prepare_deletion("cats-serve")
        assert plan.model_arn is None
        await runner.delete("cats-serve")
        await (await runner.serve("cats", ServeOptions(rows=2, mode=ServingMode.PROVISIONED))).result()

    in_world(act)


def test_what_a_run_that_cannot_be_read_may_use_is_kept() -> None:
    async def act(world: World, runner: Runner) -> None:
        images = [key for key in left(world) if key.startswith("images/")]
        unread = await _with_a_broken_run(world)

        plan = await runner.prepare_deletion("cats")
        await runner.delete("cats")

        assert plan.places[0].images_used_by == (unread,)
        assert [key for key in left(world) if key.startswith("images/")] == images
        assert await world.store.run_ids() == [unread]

    in_world(act, store="s3")


async def _with_a_broken_run(world: World) -> str:
    world.aws.s3.put("checkpoints", "vr/runs/broken/state.json", b"{}")
    return "broken"

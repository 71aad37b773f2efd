"""Following a run from elsewhere, while its runner dies and comes back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest

from vlm_runner.checkpoint.local import LocalStore
from vlm_runner.core.run import Phase
from vlm_runner.testing import Crash, FakeClock, Fault, Plan, World
from vlm_runner.watch.follow import entries

if TYPE_CHECKING:
    from pathlib import Path

    from vlm_runner.core.events import Entry


def worlds(kind: str, folder: Path) -> World:
    return World(store=LocalStore(folder) if kind == "local" else kind)


@pytest.mark.parametrize("kind", ["local", "s3", "memory"])
@pytest.mark.parametrize("dies_at", range(3, 60, 8))
async def test_a_restart_of_the_runner_neither_loses_nor_repeats_an_event(
    kind: str, dies_at: int, tmp_path: Path
) -> None:
    world = worlds(kind, tmp_path)
    await world.live(until=Phase.STAGING)
    heard: list[Entry] = []

    async def listen() -> None:
        heard.extend([entry async for entry in entries(world.store, "cats", clock=FakeClock())])

    async with anyio.create_task_group() as group:
        group.start_soon(listen)
        with pytest.raises(Crash):
            await world.live(world.process(Plan({dies_at: Fault.CRASH_AFTER})))
        await world.live()

    last = await world.outcome()
    assert last.run.done
    assert [entry.sequence for entry in heard] == list(range(1, last.run.sequence + 1))
    assert tuple(heard) == last.history


async def test_a_cursor_goes_on_where_it_was() -> None:
    world = World()
    run = await world.live()

    late = [entry async for entry in entries(world.store, "cats", clock=FakeClock(), after=4)]

    assert [entry.sequence for entry in late] == list(range(5, run.sequence + 1))


async def test_an_embedding_program_hears_what_the_checkpoint_holds_in_order() -> None:
    world = World()
    async with world.runner() as runner:
        handle = await runner.start(world.spec, run_id="cats")
        heard = [entry async for entry in handle.events()]

    last = await world.outcome()
    assert tuple(heard) == last.history
    assert world.told == list(last.history)


async def test_a_watcher_that_fails_harms_no_run() -> None:
    world = World()

    def fails(*_: object) -> None:
        raise RuntimeError("a subscriber's fault")

    world.on_entry = fails  # type: ignore[method-assign,assignment]
    world.on_signal = fails  # type: ignore[method-assign,assignment]

    assert (await world.live()).outcome == "succeeded"

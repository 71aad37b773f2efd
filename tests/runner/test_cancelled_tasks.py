"""A service's tasks can be cancelled from outside, past every shield: what was bought is not forgotten."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from vlm_runner.errors import Stopped
from vlm_runner.testing import FakeBedrock, World

if TYPE_CHECKING:
    from vlm_runner.runner import RunHandle


def cancel_all_others() -> None:
    """As `asyncio.run` does at its end."""
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()


@pytest.mark.parametrize("operation", ["create_job", "create_endpoint"])
async def test_a_purchase_whose_task_is_cancelled_is_found_by_who_goes_on(
    operation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was done, is not answered yet, and will not be seen for a while."""
    world = World(bedrock=FakeBedrock(training_takes=3000, visible_after=100))
    create, done = getattr(world.bedrock, operation), asyncio.Event()

    async def slowly(*given: Any) -> Any:
        arn = await create(*given)
        done.set()
        await asyncio.sleep(5)
        return arn

    monkeypatch.setattr(world.bedrock, operation, slowly)
    service = asyncio.create_task(world.live())
    await done.wait()

    cancel_all_others()
    with suppress(asyncio.CancelledError, Stopped):
        await service
    assert (await world.outcome()).holder is not None
    await world.cancel()
    await world.live()

    assert await world.violations() == []


async def test_a_run_whose_task_was_cancelled_has_no_result() -> None:
    world = World(bedrock=FakeBedrock(training_takes=3000))
    handles: list[RunHandle] = []

    async def service() -> None:
        async with world.runner() as runner:
            handles.append(await runner.start(world.spec, run_id=world.run_id, lint=False))
            await asyncio.sleep(9000)

    serving = asyncio.create_task(service())
    await asyncio.sleep(600)

    cancel_all_others()
    with suppress(asyncio.CancelledError):
        await serving

    with pytest.raises(Stopped):
        await handles[0].result()

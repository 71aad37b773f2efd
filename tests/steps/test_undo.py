"""What a process bought that had lost its run is undone, also where it cannot be seen yet."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.histories import happy_runs
from vlm_runner.checkpoint.document import Checkpoint, to_bytes
from vlm_runner.checkpoint.integrity import TRAINS
from vlm_runner.core.events import JobSubmitted, ServingRequested
from vlm_runner.core.run import Phase
from vlm_runner.steps.undo import undo_purchase
from vlm_runner.testing import MemoryStore

from .test_dead_man_switch import a_desk_with_a_model
from .world import Desk, at, command

if TYPE_CHECKING:
    import pytest

    from vlm_runner.spec import ServingMode


async def a_store_whose_run_is_done() -> MemoryStore:
    store = MemoryStore()
    run, history = happy_runs()[-1]
    done = Checkpoint(schema_version=TRAINS, min_reader=TRAINS, write_id="0" * 32, run=run, history=history)
    await store.write(run.run_id, to_bytes(done), replacing=None)
    return store


async def test_an_endpoint_that_is_not_seen_yet_is_not_taken_for_deleted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    desk, request = await a_desk_with_a_model()
    delete = desk.bedrock.delete_endpoint

    async def blindly(mode: ServingMode, arn: str) -> bool:
        return arn in desk.bedrock.invisible or await delete(mode, arn)

    monkeypatch.setattr(desk.bedrock, "delete_endpoint", blindly)
    desk.bedrock.visible_after = 100
    bought = ServingRequested(arn=desk.bedrock.apply_endpoint(request.intent.mode, request.intent.request))

    run = at(Phase.REQUESTING, "serving_intended")
    await undo_purchase(run, bought, desk.ports, await a_store_whose_run_is_done(), stopping=lambda: False)

    assert desk.bedrock.alive == []


async def test_a_job_that_is_not_seen_yet_is_not_taken_for_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(training_takes=3600, visible_after=100)
    stop, began = desk.bedrock.stop_job, asyncio.get_running_loop().time()

    async def blindly(arn: str) -> None:
        if asyncio.get_running_loop().time() >= began + 100:
            await stop(arn)

    monkeypatch.setattr(desk.bedrock, "stop_job", blindly)
    submit = command(Phase.SUBMITTING, "job_intended")
    bought = JobSubmitted(arn=desk.bedrock.apply_job(submit.intent.request))

    await undo_purchase(
        submit.run, bought, desk.ports, await a_store_whose_run_is_done(), stopping=lambda: False
    )
    await desk.clock.sleep(desk.bedrock.stopping_takes)

    assert desk.bedrock.training() == []

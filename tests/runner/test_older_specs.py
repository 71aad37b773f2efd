"""A spec that an older version began to run is still the same run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from vlm_runner.spec import ServingMode
from vlm_runner.testing import World
from vlm_runner.testing.world import tiny_spec

if TYPE_CHECKING:
    from vlm_runner.core.events import RunCreated

AUTO = {"mode": "auto"}
BEFORE_AUTO = "505f829ff25b2a57c96f137d23481c734e1214ea7435e1f32b341b514aa7ab32"
"""Of `tiny_spec` as commit 3afe368 computed it, where "provisioned" was the default."""


async def test_the_job_is_asked_for_with_every_hyperparameter() -> None:
    world = World()

    run = await world.live()

    assert run.job_intent is not None
    assert run.job_intent.request["hyperParameters"]["epochCount"] == "2"
    assert run.created.spec_fingerprint == world.spec.fingerprint


async def begun_before_auto(world: World) -> RunCreated:
    """A provisioned run, as the version before made it of a spec with mode = "provisioned", or with none."""
    async with world.runner() as runner:
        made = await runner.prepare(world.spec, run_id="tiny-505f829f")
        assert made is not None
        older = made.model_copy(update={"spec_fingerprint": BEFORE_AUTO, "spec": tiny_spec()})
        await runner.create(older)
        return older


@pytest.mark.parametrize("serving", [{"mode": "provisioned"}, {"mode": "auto"}])
async def test_a_run_that_an_older_version_began_goes_on_from_the_same_spec(serving: dict[str, str]) -> None:
    world = World()
    older = await begun_before_auto(world)

    async with world.runner() as runner:
        handle = await runner.start(tiny_spec(serving=serving))
        run = await handle.result()

    assert (run.run_id, run.uid) == (older.run_id, older.uid)
    assert world.bedrock.jobs_created == 1
    assert run.serving_intent is not None
    assert run.serving_intent.mode is ServingMode.PROVISIONED


async def test_a_run_on_demand_is_not_taken_for_one_that_asks_for_a_throughput() -> None:
    world = World()
    async with world.runner() as runner:
        first = await (await runner.start(tiny_spec(serving=AUTO))).result()
        second = await (await runner.start(tiny_spec())).result()

    modes = [run.serving_intent.mode for run in (first, second) if run.serving_intent is not None]
    assert modes == [ServingMode.ON_DEMAND, ServingMode.PROVISIONED]
    assert first.run_id != second.run_id

"""Training on from a model: its base is the earlier run's custom model, and every view says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from vlm_runner.errors import ConfigurationError, RunNotFound, UsageError
from vlm_runner.models import find
from vlm_runner.preflight import parent_problems
from vlm_runner.report.render import page
from vlm_runner.report.summary import summary
from vlm_runner.spec import ServingMode
from vlm_runner.steps.custom_models import trained_models
from vlm_runner.steps.prepare_serving import ServeOptions, asked_beside
from vlm_runner.testing.world import tiny_spec

from .world import in_world

if TYPE_CHECKING:
    from vlm_runner.runner import Runner
    from vlm_runner.testing import World

BASE = "amazon.nova-lite-v1:0:300k"
CHILD = tiny_spec(model={"base": BASE, "from_run": "cats"})


def test_a_run_trains_on_from_the_model_of_another_and_is_evaluated_against_it() -> None:
    async def act(world: World, runner: Runner) -> None:
        parent = await runner.get("cats")
        child = await (await runner.start(CHILD, run_id="kittens")).result()
        rows = asked_beside(child, parent, ServeOptions(rows=3, mode=ServingMode.PROVISIONED))
        ours = await (await runner.serve("kittens", rows)).result()
        theirs = await (await runner.serve("cats", rows)).result()

        assert ours.created.parent is None
        job = [paid for paid in world.bedrock.ledger if paid.kind == "job"][-1]
        assert parent.model is not None
        assert job.request["baseModelIdentifier"] == parent.model.model_arn
        assert child.outcome == "succeeded"
        assert summary(child)["from_run"] == "cats"
        models = await trained_models(world.aws, world.store, world.process().clock)
        assert {one.run_id: one.run.created.parent for one in models if one.run} == {
            "cats": None,
            "kittens": child.created.parent,
        }
        assert ours.tests is not None
        assert theirs.tests is not None
        assert (ours.tests.asked, theirs.tests.asked) == (3, 3)
        html = page([await runner.report(one) for one in (ours.run_id, theirs.run_id, "kittens")])
        assert "trained on from the model of run cats" in html
        for label in ("kittens-serve: tuned", "cats-serve: tuned"):
            assert label in html
        assert world.bedrock.jobs_created == 2

    in_world(act)


def test_what_cannot_be_trained_on_from_is_refused_before_a_run_exists() -> None:
    async def act(world: World, runner: Runner) -> None:
        with pytest.raises(RunNotFound):
            await runner.start(tiny_spec(model={"base": BASE, "from_run": "dogs"}), run_id="kittens")
        with pytest.raises(ConfigurationError, match=f"Run cats trained {BASE}, and model.base is"):
            await runner.start(
                tiny_spec(model={"base": "amazon.nova-pro-v1:0:300k", "from_run": "cats"}), run_id="kittens"
            )
        assert await world.store.run_ids() == ["cats"]

    in_world(act)


def test_only_where_the_catalogue_says_that_it_can_be() -> None:
    async def act(world: World, runner: Runner) -> None:
        unknown = find(BASE).model_copy(update={"lineage": None})
        caller, parent = await world.aws.account.caller(), await runner.get("cats")

        assert list(parent_problems(CHILD, find(BASE), parent, caller, "us-east-1")) == []
        assert [one.code for one in parent_problems(CHILD, unknown, parent, caller, "eu-west-1")] == [
            "C28",
            "C30",
        ]

    in_world(act)


def test_a_model_that_a_run_trains_on_from_is_in_use() -> None:
    async def act(world: World, runner: Runner) -> None:
        created = await runner.prepare(CHILD, run_id="kittens")
        assert created is not None
        await runner.create(created)

        with pytest.raises(UsageError, match="Run kittens trains on from its model"):
            await runner.delete("cats")
        (model,) = await trained_models(world.aws, world.store, world.process().clock)
        assert model.used_by == ("kittens",)

    in_world(act)

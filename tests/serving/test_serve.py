"""A finished run's model, served again: as often as asked, never trained again, and released each time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from vlm_runner.core.events import ServedModel
from vlm_runner.core.names import run_folder
from vlm_runner.core.phases import Phase
from vlm_runner.errors import ConfigurationError, NotFound, RunExists, UsageError
from vlm_runner.spec import ServingMode
from vlm_runner.steps.prepare_serving import ServeOptions, asked_beside
from vlm_runner.testing import World, run_virtual

from .world import in_world, serving

if TYPE_CHECKING:
    from vlm_runner.core.run import Run
    from vlm_runner.runner import Runner

RENTED = ServeOptions(rows=3, mode=ServingMode.PROVISIONED)


async def served(runner: Runner, options: ServeOptions, run_id: str = "cats") -> Run:
    return await (await runner.serve(run_id, options)).result()


def test_nothing_is_trained_again_and_nothing_is_left() -> None:
    async def act(world: World, runner: Runner) -> None:
        again = await served(runner, RENTED)

        assert again.run_id == "cats-serve"
        assert run_folder(again) != run_folder(await runner.get("cats"))
        assert again.outcome == "succeeded"
        assert again.tests is not None
        assert again.tests.asked == 3
        assert again.released is not None
        assert world.bedrock.jobs_created == 1
        assert world.bedrock.endpoints_created == 2
        assert world.bedrock.alive == []
        assert world.bedrock.ledger[-1].request["modelId"] == again.model.model_arn  # type: ignore[union-attr]

    in_world(act)


def test_its_report_has_the_answers_though_no_image_was_staged_for_it() -> None:
    async def act(_: World, runner: Runner) -> None:
        again = await served(runner, RENTED)

        report = await runner.report(again.run_id)

        assert again.images is None
        assert len(report.evaluation.rows) == 3

    in_world(act)


def test_each_serving_is_a_run_of_its_own_also_of_a_run_that_served() -> None:
    async def act(_: World, runner: Runner) -> None:
        first = await served(runner, RENTED)
        second = await served(runner, RENTED, first.run_id)

        assert second.run_id == "cats-serve-2"
        assert isinstance(second.created.serves, ServedModel)
        assert second.created.serves.run_id == "cats"
        assert [each.created.folder for each in (first, second)] == [
            f"runs/cats-serve-{first.uid[:8]}/",
            f"runs/cats-serve-2-{second.uid[:8]}/",
        ]

    in_world(act)


def test_it_is_served_for_the_time_that_was_asked_for() -> None:
    async def act(world: World, runner: Runner) -> None:
        run = await served(runner, ServeOptions(seconds=1800.0))

        deployment = world.bedrock.ledger[-1]
        assert deployment.kind == "custom-model-deployment"
        assert deployment.ended is not None
        assert 1800 <= deployment.ended - deployment.created < 1800 + 300
        assert run.serving_end is not None
        assert run.serving_end.reason == "Its time is over."

    in_world(act)


def test_a_cancel_ends_the_serving_and_is_its_good_end() -> None:
    async def act(world: World, runner: Runner) -> None:
        handle = await serving(runner)
        await handle.cancel("enough")
        run = await handle.result()

        assert run.outcome == "succeeded"
        assert run.cancelled is None
        assert world.bedrock.alive == []

    in_world(act)


def test_its_budget_ends_the_serving() -> None:
    """A throughput without a stated time, and the price of an hour for it."""

    async def act(world: World, runner: Runner) -> None:
        profile = runner.catalogue.find(world.spec.model.base)
        price = float(profile.throughput_price(1) or 0)
        options = ServeOptions(seconds=None, mode=ServingMode.PROVISIONED, max_cost=price)
        run = await served(runner, options)

        paid = world.bedrock.ledger[-1]
        assert paid.ended is not None
        assert price * (paid.ended - paid.created) / 3600 <= price
        assert run.outcome == "succeeded"

    in_world(act)


def test_an_endpoint_that_somebody_deletes_fails_the_serving() -> None:
    async def act(world: World, runner: Runner) -> None:
        handle = await serving(runner)
        world.bedrock.forget_endpoint(world.bedrock.alive[0])
        run = await handle.result()

        assert run.outcome == "failed"
        assert "was deleted by someone else" in str(run.reason)

    in_world(act)


def test_rows_of_another_split_are_uploaded_and_asked_and_count_as_held_out() -> None:
    async def act(world: World, runner: Runner) -> None:
        world.dataset.shade, world.dataset.fingerprint = 100, "other"
        run = await served(runner, ServeOptions(rows=4, split="test"))

        assert run.tests is not None
        assert (run.tests.asked, run.tests.held_out) == (4, True)
        assert run.records is not None
        assert run.records.train_uri.endswith("data/test.jsonl")
        assert run.images is not None
        assert world.bedrock.jobs_created == 1
        trained_on = await runner.prepare_serving(run.run_id, ServeOptions(rows=4, split="train"))
        assert trained_on.serves is not None
        assert not trained_on.serves.held_out

    in_world(act)


def test_the_same_command_continues_a_serving_and_another_is_refused() -> None:
    async def act(_: World, runner: Runner) -> None:
        handle = await serving(runner)
        again = await runner.serve("cats")

        assert again is handle
        with pytest.raises(RunExists, match="end it with: vlm-runner cancel cats-serve"):
            await runner.serve("cats", RENTED)
        await handle.cancel()
        await handle.result()

    in_world(act)


def test_what_cannot_be_served_is_refused_and_creates_no_run() -> None:
    async def unfinished() -> None:
        world = World()
        await world.live(until=Phase.RECORDING)
        async with world.runner() as runner:
            with pytest.raises(UsageError, match="is not done"):
                await runner.serve("cats")

    async def gone(world: World, runner: Runner) -> None:
        with pytest.raises(ConfigurationError, match="max_cost"):
            await runner.prepare_serving("cats", ServeOptions(mode=ServingMode.PROVISIONED, max_cost=0.01))
        await world.bedrock.delete_model(str((await runner.get("cats")).model.model_arn))  # type: ignore[union-attr]
        with pytest.raises(NotFound, match="does not exist any more"):
            await runner.serve("cats", RENTED)
        assert await world.store.run_ids() == ["cats"]

    run_virtual(unfinished)
    in_world(gone)


def test_two_models_are_compared_on_rows_that_are_the_same() -> None:
    async def act(world: World, runner: Runner) -> None:
        cats = await runner.get("cats")
        dogs = cats.model_copy(
            update={"created": cats.created.model_copy(update={"run_id": "dogs", "dataset": cats.dataset})}
        )
        strange = dogs.model_copy(
            update={
                "created": dogs.created.model_copy(
                    update={"dataset": cats.dataset.model_copy(update={"fingerprint": "x"})}
                )
            }
        )

        assert asked_beside(cats, dogs, RENTED) == RENTED
        with pytest.raises(UsageError, match="different rows"):
            asked_beside(cats, strange, RENTED)
        assert asked_beside(cats, strange, ServeOptions(rows=2, split="test")).split == "test"
        assert world.bedrock.endpoints_created == 1

    in_world(act)

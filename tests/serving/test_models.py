"""What runs have trained: listed with who uses it, kept where marked, reaped once it is old and unused."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from vlm_runner.core.names import TAG_KEEP
from vlm_runner.errors import AwsUnavailable, UsageError
from vlm_runner.steps.custom_models import mark, outworn, reap_models, trained_models

from .world import in_world, serving

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vlm_runner.runner import Runner
    from vlm_runner.steps.custom_models import TrainedModel
    from vlm_runner.testing import World

ROLE = "arn:aws:iam::123456789012:role/bedrock-sft"
MONTH = timedelta(days=30)


async def the_model(world: World) -> TrainedModel:
    (found,) = await trained_models(world.aws, world.store, world.process().clock)
    return found


def test_a_model_is_listed_with_the_run_that_trained_it_and_with_what_uses_it() -> None:
    async def act(world: World, runner: Runner) -> None:
        handle = await serving(runner)
        served = await the_model(world)
        await handle.cancel()
        await handle.result()
        idle = await the_model(world)

        assert (served.run_id, served.run is not None) == ("cats", True)
        assert served.endpoints == (handle.run.serving.arn,)  # type: ignore[union-attr]
        assert served.used_by == ("cats-serve",)
        assert not idle.in_use

    in_world(act)


def test_a_model_of_any_name_is_known_by_its_tags() -> None:
    async def act(world: World, _: Runner) -> None:
        model = await the_model(world)

        assert (model.run_id, model.name[:7]) == ("cats", "Team-A_")

    in_world(act, training={"role_arn": ROLE, "model_name": "Team-A_{uid}"})


def test_only_what_is_old_and_unused_and_not_kept_is_reaped() -> None:
    async def act(world: World, runner: Runner) -> None:
        now = world.process().clock.now() + timedelta(days=31)
        handle = await serving(runner)
        served = await the_model(world)
        await handle.cancel()
        await handle.result()
        await mark(world.aws, served.arn, keep=True)
        kept = await the_model(world)
        await world.bedrock.tag(served.arn, {TAG_KEEP: "by hand"})
        by_hand = await the_model(world)
        await mark(world.aws, served.arn, keep=False)
        free = await the_model(world)

        assert [outworn(one, now, MONTH) for one in (served, kept, by_hand, free)] == [
            False,
            False,
            False,
            True,
        ]
        assert not outworn(free, now - timedelta(days=2), MONTH)
        (gone,) = await reap_models(world.aws, [free], now=now, older_than=MONTH)
        assert gone.gone
        assert await trained_models(world.aws, world.store, world.process().clock) == []

    in_world(act)


def test_a_kept_model_is_not_deleted_with_its_run() -> None:
    async def act(world: World, runner: Runner) -> None:
        model = await the_model(world)
        await mark(world.aws, model.arn, keep=True)
        with pytest.raises(UsageError, match="vlm-runner keep cats --undo"):
            await runner.delete("cats")
        assert (await the_model(world)).arn == model.arn

        await mark(world.aws, model.arn, keep=False)
        await runner.delete("cats")

        assert await trained_models(world.aws, world.store, world.process().clock) == []

    in_world(act)


def test_while_a_run_cannot_be_read_no_model_is_reaped() -> None:
    """It may train on from any of them, which no list of endpoints shows."""

    async def act(world: World, _: Runner) -> None:
        now = world.process().clock.now() + timedelta(days=31)
        free = await the_model(world)
        world.aws.s3.put("checkpoints", "vr/runs/broken/state.json", b"{}")
        model = await the_model(world)
        (still,) = await reap_models(world.aws, [model], now=now, older_than=MONTH)

        assert outworn(free, now, MONTH)
        assert (still.gone, still.trouble) == (False, "it may be used by runs that cannot be read: broken")

    in_world(act, store="s3")


def test_a_mark_that_a_portal_took_is_not_said_to_be_there() -> None:
    async def act(world: World, _: Runner) -> None:
        (model,) = await trained_models(world.aws, world.store, world.process().clock)

        async def answered_by_a_portal(arn: str, tags: Mapping[str, str]) -> None:
            pass

        tag, world.bedrock.tag = world.bedrock.tag, answered_by_a_portal  # type: ignore[method-assign]
        with pytest.raises(AwsUnavailable, match="does not show vlm-runner:keep"):
            await mark(world.aws, model.arn, keep=True)

        world.bedrock.tag = tag  # type: ignore[method-assign]
        await mark(world.aws, model.arn, keep=True)
        assert (await trained_models(world.aws, world.store, world.process().clock))[0].kept

    in_world(act)


def test_models_of_others_are_never_considered() -> None:
    async def act(world: World, _: Runner) -> None:
        request: dict[str, Any] = {
            "jobName": "theirs",
            "customModelName": "theirs",
            "clientRequestToken": "t",
        }
        request |= {"customModelTags": []}
        world.bedrock.apply_job(request)
        named_like_ours = {**request, "jobName": "vr-x", "customModelName": "vr-x", "clientRequestToken": "u"}
        world.bedrock.apply_job(named_like_ours)
        await world.process().clock.sleep(3600)

        assert [
            one.run_id for one in await trained_models(world.aws, world.store, world.process().clock)
        ] == ["cats"]

    in_world(act)

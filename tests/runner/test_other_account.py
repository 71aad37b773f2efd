"""In another account nothing of a run is found: that is not taken for gone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from vlm_runner.aws.ports import Caller
from vlm_runner.cli.exit_codes import halted_exit_code
from vlm_runner.core.run import Phase
from vlm_runner.errors import AwsUnavailable, OtherAccount
from vlm_runner.testing import FakeAws, FakeBedrock, World

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


def saying(account: str) -> Callable[[], Awaitable[Caller]]:
    async def caller() -> Caller:
        return Caller(account, f"arn:aws:iam::{account}:user/somebody", "aws")

    return caller


def moved(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on, credentials are of an account in which there is nothing."""
    monkeypatch.setattr(world, "aws", FakeAws())
    monkeypatch.setattr(world.aws.account, "caller", saying("999999999999"))


@pytest.mark.parametrize(
    ("phase", "sections"),
    [(Phase.SUBMITTING, {}), (Phase.REQUESTING, {}), (Phase.REQUESTING, {"serving": {"mode": "on-demand"}})],
)
async def test_a_cancel_from_another_account_abandons_nothing(
    phase: Phase, sections: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(bedrock=FakeBedrock(training_takes=3600), **sections)
    await world.live(until=phase)
    await world.cancel()

    with monkeypatch.context() as elsewhere:
        moved(world, elsewhere)
        with pytest.raises(OtherAccount, match="of account 123456789012") as refused:
            await world.live()
    halted = (await world.outcome()).run
    assert not halted.done
    assert halted_exit_code(refused.value, halted) == 104

    run = await world.live()
    assert run.outcome == "cancelled"
    assert await world.violations() == []


async def test_credentials_that_become_another_accounts_abandon_no_job(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(bedrock=FakeBedrock(training_takes=3600))
    await world.live(until=Phase.SUBMITTING)
    find = world.bedrock.find_job

    async def nothing(_: str) -> None:
        monkeypatch.setattr(world.aws.account, "caller", saying("999999999999"))

    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(world.bedrock, "find_job", nothing)
        with pytest.raises(OtherAccount):
            await world.live()
    assert world.bedrock.find_job == find
    monkeypatch.undo()

    assert (await world.live()).outcome == "succeeded"
    assert await world.violations() == []


async def test_a_token_service_that_is_away_keeps_no_release_from_ending(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    await world.live(until=Phase.TESTING)

    async def away() -> Caller:
        raise AwsUnavailable("STS cannot be reached from here.")

    monkeypatch.setattr(world.aws.account, "caller", away)

    assert (await world.live()).outcome == "succeeded"
    assert await world.violations() == []

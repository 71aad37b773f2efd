"""Credentials that turn bad, in eight ways, while something trains, warms up or is released."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from botocore import exceptions

from vlm_runner.aws.errors import credentials_translated, translated
from vlm_runner.cli.exit_codes import halted_exit_code, run_exit_code
from vlm_runner.cli.run_view import RunView
from vlm_runner.core.run import Phase
from vlm_runner.errors import AccessDenied, CredentialsError, VlmRunnerError
from vlm_runner.testing import Plan, Process, World

if TYPE_CHECKING:
    from collections.abc import Callable

AWAY = 40 * 60.0


def refused(code: str, status: int = 403) -> Callable[[], None]:
    def call() -> None:
        answer = {"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": status}}
        with translated("GetSomething"):
            raise exceptions.ClientError(answer, "GetSomething")  # type: ignore[arg-type]

    return call


def unreadable(error: Exception) -> Callable[[], None]:
    def call() -> None:
        with credentials_translated("reading credentials"):
            raise error

    return call


WAYS: dict[str, Callable[[], None]] = {
    "the session token expired": refused("ExpiredTokenException"),
    "the key was deleted": refused("UnrecognizedClientException"),
    "the secret was changed": refused("InvalidSignatureException"),
    "the clock drifted": refused("RequestTimeTooSkewed"),
    "the policy was taken away": refused("AccessDeniedException"),
    "the profile lost its keys": unreadable(exceptions.NoCredentialsError()),
    "the single sign-on ended": unreadable(exceptions.UnauthorizedSSOTokenError()),
    "the helper is gone": unreadable(FileNotFoundError(2, "No such file", "/opt/helper")),
}


KINDS = {way: AccessDenied if "policy" in way else CredentialsError for way in WAYS}
OF_EACH_KIND = ["the helper is gone", "the policy was taken away"]


@pytest.mark.parametrize("way", WAYS)
def test_each_way_is_of_one_of_two_kinds(way: str) -> None:
    with pytest.raises(KINDS[way]):
        WAYS[way]()


@pytest.mark.parametrize("way", OF_EACH_KIND)
@pytest.mark.parametrize("phase", [Phase.TRAINING, Phase.WARMING, Phase.RELEASING])
async def test_whatever_goes_wrong_with_them_nothing_is_bought_twice_or_left(phase: Phase, way: str) -> None:
    world = World()
    poll = world.settings.poll.model_copy(update={"first": 60.0, "longest": 60.0, "cancel_every": 60.0})
    world.settings = world.settings.model_copy(update={"poll": poll})
    before = list(Phase)[list(Phase).index(phase) - 1]
    await world.live(until=before)
    began = asyncio.get_running_loop().time()

    def choose(call: str) -> None:
        # After the first look of this process: its credentials were good.
        away = 30.0 <= asyncio.get_running_loop().time() - began < AWAY
        if away and not call.startswith("store."):
            WAYS[way]()

    process = Process(Plan(choose=choose))
    if phase is Phase.TRAINING:
        world.bedrock.training_takes = AWAY + 600
        with pytest.raises(VlmRunnerError) as halted:
            await world.live(process)
        stored = (await world.outcome()).run
        assert stored.phase is Phase.TRAINING
        # What is halted goes on at AWS, and the code does not hide it.
        assert halted_exit_code(halted.value, stored) == 104
        run = await world.live()
    else:
        world.bedrock.warming_takes = 600
        run = await world.live(process)

    assert run.outcome == ("failed" if phase is Phase.WARMING else "succeeded")
    assert run_exit_code(RunView.of(run)) not in {0, 1} or run.outcome == "succeeded"
    assert asyncio.get_running_loop().time() - began >= AWAY or phase is Phase.TRAINING
    assert world.bedrock.endpoints_created == 1
    assert await world.violations() == []

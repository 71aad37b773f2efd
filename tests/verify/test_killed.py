"""
All levels over HTTP, killed at any call and continued by the same command.

One verification for all of these tests: what it left, paid, recorded and found is looked at from each side.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import anyio
import pytest

from vlm_runner.verify.assumptions import TABLE, judged
from vlm_runner.verify.kit import RECORDING, Wanted, table
from vlm_runner.verify.levels import LEVELS
from vlm_runner.verify.recording import read

from .desk import Desk, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from vlm_runner.verify.kit import Verified
    from vlm_runner.verify.recording import Exchange

RUN = 3
"""The first level that is a whole run."""
PAID = frozenset(
    {
        "CreateModelCustomizationJob",
        "CreateCustomModelDeployment",
        "DeleteCustomModel",
    }
)
LOST = {"2.14", "3.1", "3.7"}
"""What only an answer could have told that a killed process took with it."""
LOOKS = ("Get", "List", "Head", "Receive")


class KillsEverywhere:
    """
    Each process dies at the first kind of call at which none has died yet; each change counts anew in each
    level, and each look once.

    One that changes something dies after it, before the answer is known: what is killed before it has done
    no more than what is killed after the call before. Of a run only what is paid, and what takes it away: a
    run that is killed anywhere is proved elsewhere (tests/crash, tests/e2e), by processes that really die.
    """

    def __init__(self) -> None:
        self.done: set[tuple[int, str]] = set()
        self.level = 0

    def begin(self, level: int) -> None:
        self.level = level

    def __call__(self, operation: str, when: str) -> bool:
        looks = operation.startswith(LOOKS)
        if when != ("before" if looks else "after"):
            return False
        if self.level > RUN or (self.level == RUN and operation not in PAID):
            return False
        place = (0 if looks else self.level, operation)
        if place in self.done:
            return False
        self.done.add(place)
        return True


class Survived(NamedTuple):
    result: Verified
    recording: Path
    desk: Desk
    kills: KillsEverywhere
    left: list[str]
    paid: list[str]


@pytest.fixture(scope="module")
def survived(tmp_path_factory: pytest.TempPathFactory, credentials: None) -> Iterator[Survived]:
    """Levels 0 to 3 in as many processes as there are kinds of calls, and level 4 in one."""
    folder, kills = tmp_path_factory.mktemp("verified"), KillsEverywhere()

    async def verify(desk: Desk) -> Verified:
        wanted = Wanted(level=4, max_cost=500, rent=True)

        def begin(level: int) -> None:
            kills.begin(level)
            desk.begin(level)

        async with desk.session():
            while True:
                try:
                    return await desk.verify(folder, wanted, before=begin)
                except BaseException:
                    if not desk.dead:
                        raise

    for sandbox in running():
        desk = Desk(sandbox, kill=kills)
        result = anyio.run(verify, desk)
        yield Survived(result, folder / RECORDING, desk, kills, desk.left(), desk.paid())


def test_nothing_is_left_and_each_thing_is_paid_once(survived: Survived) -> None:
    """
    However often it was killed: four jobs (one has no data), one deployment, one throughput, and all of it
    gone in the end.
    """
    kinds = Counter(each.split()[0] for each in survived.paid)

    assert {operation for level, operation in survived.kills.done if level == RUN} == PAID
    assert survived.desk.lives > 40
    assert survived.left == []
    assert survived.result.left == ()
    assert kinds == {
        "customization_job": 4,
        "custom_model_deployment": 1,
        "on_demand_invocations": 1,
        "provisioned_throughput": 1,
    }


def test_the_sandbox_does_what_is_assumed_of_aws(survived: Survived) -> None:
    """
    Every assumption of every level is as the sandbox does it, or unknown where the answer was lost.
    """
    rows = survived.result.rows
    found = {row.assumption.id: row.judgement.verdict for row in rows}

    assert {each for each, verdict in found.items() if verdict == "different"} == set()
    assert {each for each, verdict in found.items() if verdict == "unknown"} <= LOST
    assert survived.result.passed == (0, 1, 2, 3, 4)
    assert [row.assumption for row in rows] == list(TABLE)


def test_a_recording_can_be_judged_by_anyone(survived: Survived) -> None:
    """
    The table follows from the file alone.
    """
    _, exchanges = read(survived.recording)

    assert table(exchanges, range(len(LEVELS))) == survived.result.rows


def test_a_throughput_is_asked_for_with_custom_models_only(survived: Survived) -> None:
    """
    With the id of a foundation model, CreateProvisionedModelThroughput would rent one.
    """
    asked = [raw for raw in survived.desk.raw if raw.operation == "CreateProvisionedModelThroughput"]

    assert len(asked) >= 2
    assert all(":custom-model/" in raw.request["modelId"] for raw in asked)


def answered(each: Exchange, status: int, code: str | None = None) -> Exchange:
    return dataclasses.replace(each, status=status, code=code, message=code, answer={})


def test_each_judge_can_be_contradicted(survived: Survived) -> None:
    """
    No judge calls it the same when AWS refuses everything in a way that nobody expects.
    """
    _, exchanges = read(survived.recording)
    surprising = [answered(each, 400, "SurprisingException") for each in exchanges]

    assert [each.id for each in TABLE if judged(each, surprising).verdict == "same"] == []


def test_what_must_be_refused_must_not_be_accepted(survived: Survived) -> None:
    """
    Every judge of a refusal calls an acceptance different.
    """
    _, exchanges = read(survived.recording)
    accepted = [answered(each, 200) for each in exchanges]
    refusals = [each for each in TABLE if each.level == 1 and each.id != "1.17"]

    assert {judged(each, accepted).verdict for each in refusals} == {"different"}


async def test_what_costs_is_not_asked_for_on_a_wrong_assumption(tmp_path: Path) -> None:
    """
    AWS takes jobs that it should refuse: they are stopped, and level 2 begins only if that is accepted.
    """
    for sandbox in running():
        sandbox.state.change_scenario({"require_roles": False})
        desk = Desk(sandbox)
        async with desk.session():
            held = await desk.verify(tmp_path, Wanted(level=2, max_cost=1))

        assert held.passed == (0, 1)
        assert "--accept 1.12" in str(held.held)
        assert {row.assumption.level for row in held.rows} == {0, 1}
        assert [each.split()[0] for each in desk.paid()] == ["customization_job"] * 2
        assert desk.left() == []

"""What a run was asked to keep can be given back, and then nothing says that it bills."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from click.testing import CliRunner

from vlm_runner.checkpoint.document import from_bytes, to_bytes
from vlm_runner.checkpoint.integrity import LATER_EVENTS, TRAINS
from vlm_runner.cli import release
from vlm_runner.cli.exit_codes import exit_code
from vlm_runner.core.run import Phase
from vlm_runner.core.timeline import phase_spans
from vlm_runner.errors import CredentialsError, Unsaved, UsageError
from vlm_runner.report.summary import may_bill
from vlm_runner.testing import Crash, Fault, Plan, Process, World, run_virtual

if TYPE_CHECKING:
    from vlm_runner.core.run import Run

SWITCH = {"after": "2h", "role_arn": "arn:aws:iam::123456789012:role/vlm-runner-switch"}


async def given_back(world: World, process: Process | None = None) -> Run:
    async with world.runner(process) as runner:
        return await runner.release(world.run_id)


@pytest.mark.parametrize("keep", [True, "2h"])
async def test_what_was_kept_is_deleted_with_its_switch_and_recorded(keep: Any) -> None:
    world = World(serving={"keep": keep, "dead_man_switch": SWITCH})
    kept = await world.live()
    assert kept.may_bill
    assert (await world.outcome()).min_reader == TRAINS

    run = await given_back(world)
    stored = await world.outcome()
    again = await given_back(world)

    assert world.bedrock.alive == []
    assert (run.outcome, run.may_bill, may_bill(run)) == ("succeeded", False, [])
    assert stored.run == run == again
    assert stored.min_reader == LATER_EVENTS
    assert from_bytes(to_bytes(stored), where="here") == stored
    spans = phase_spans([(each.event.kind, each.at) for each in stored.history], run.route)
    assert spans[-1].phase is Phase.REPORTING
    assert spans[-1].until == kept.updated_at
    assert world.aws.scheduler.schedules == {}
    assert await world.violations() == []


@pytest.mark.parametrize("fault", [Fault.CRASH_BEFORE, Fault.CRASH_AFTER])
@pytest.mark.parametrize("call", ["bedrock.delete_endpoint", "store.write"])
async def test_one_that_died_half_way_is_repeated(call: str, fault: Fault) -> None:
    world = World(serving={"keep": True})
    await world.live()
    looked = False

    def choose(name: str) -> Fault | None:
        nonlocal looked
        looked = looked or name == "bedrock.find_endpoint"
        return fault if looked and name == call else None

    with pytest.raises(Crash):
        await given_back(world, Process(Plan(choose=choose)))
    run = await given_back(world)

    assert not run.may_bill
    assert await world.violations() == []


async def test_a_run_that_is_not_over_is_not_released_from_here() -> None:
    world = World(serving={"keep": True})
    await world.live(until=Phase.TESTING)

    with pytest.raises(UsageError, match="vlm-runner cancel cats"):
        await given_back(world)

    assert world.bedrock.alive


@pytest.mark.parametrize(
    ("error", "code"), [(None, 0), (CredentialsError("ExpiredToken"), 104), (Unsaved("no answer"), 75)]
)
def test_the_exit_code_does_not_hide_that_it_bills(
    monkeypatch: pytest.MonkeyPatch, error: Exception | None, code: int
) -> None:
    world = World(serving={"keep": True})
    run_virtual(world.live)

    async def refused(*_: Any) -> None:
        assert error is not None
        raise error

    if error is not None:
        monkeypatch.setattr(world.bedrock, "find_endpoint", refused)
    monkeypatch.setattr(release, "Runner", SimpleNamespace(open=lambda _: world.runner()))
    monkeypatch.setattr(anyio, "run", run_virtual)

    try:
        ended = CliRunner().invoke(release.release, [world.run_id])
        found = ended.exit_code if ended.exception is None else exit_code_of(ended.exception)
    finally:
        monkeypatch.undo()

    assert found == code, ended.output
    assert bool(world.bedrock.alive) == (code != 0)


def exit_code_of(error: BaseException) -> Any:
    return error.code if isinstance(error, SystemExit) else exit_code(error)

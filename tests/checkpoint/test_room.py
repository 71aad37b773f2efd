"""No state is saved that cannot be read, and what was bought can always be recorded and released."""

from __future__ import annotations

from typing import Any

import pytest

from tests.histories import AT, event_of, happy_runs
from vlm_runner.checkpoint.document import Checkpoint, to_bytes
from vlm_runner.checkpoint.integrity import KEPT_FREE, MAX_BYTES
from vlm_runner.core.events import (
    CancelRequested,
    CreateRefused,
    CreateUncertain,
    EndpointFailed,
    Entry,
    JobFailed,
    Released,
    RunFailed,
    TestAnswer,
    TestsAnswered,
)
from vlm_runner.core.run import Phase, Run
from vlm_runner.core.text import LONGEST_REASON
from vlm_runner.errors import CheckpointFull
from vlm_runner.steps.ask import LONGEST_TEXT
from vlm_runner.testing import World

# A control character takes six bytes in JSON, more than any other.
LONG = "\x01" * LONGEST_REASON
TEXT = "\x01" * LONGEST_TEXT
ANSWER = TestAnswer(row=1, answer=TEXT, reference=TEXT)
LARGEST: list[Any] = [
    CreateUncertain(what="job", cause=LONG),
    CreateRefused(what="job", reason=LONG),
    JobFailed(status="Failed", reason=LONG),
    CreateUncertain(what="serving", cause=LONG),
    CreateRefused(what="serving", reason=LONG),
    EndpointFailed(reason=LONG),
    TestsAnswered(uri="s3://b/k", asked=9, held_out=True, first=ANSWER, base_error=LONG),
    CancelRequested(reason=LONG),
    RunFailed(error="AwsRefused", reason=LONG),
    Released(deleted=("arn:aws:bedrock:us-east-1:123456789012:provisioned-model/abcdefghijkl",) * 20),
]


def size(run: Run, events: list[Any]) -> int:
    """Of what these events add to a checkpoint: each is in the history, and in the run."""
    entries = tuple(Entry(sequence=number, at=AT, event=event) for number, event in enumerate(events, 2))
    more = to_bytes(Checkpoint(write_id="w", run=run, history=entries))
    return 2 * (len(more) - len(to_bytes(Checkpoint(write_id="w", run=run, history=()))))


@pytest.mark.parametrize("intended", ["job_intended", "serving_intended"])
def test_what_is_kept_free_holds_all_that_can_follow(intended: str) -> None:
    run = next(run for run, _ in happy_runs() if run.phase is Phase.RELEASING)
    rest = [event_of(kind, run) for kind in ("job_submitted", "job_completed", "report_written")]

    assert size(run, [*LARGEST, *rest]) < KEPT_FREE[intended]


async def test_a_state_that_would_be_too_large_is_refused_before_anything_is_bought() -> None:
    """Thirty skipped rows of 200,000 characters once trained and rented, and could not be read then."""
    world = World(prompt={"user": "Judge. " + "x" * 1_600_000, "assistant": "{{ output }}"})

    with pytest.raises(CheckpointFull, match="bytes"):
        await world.live()

    assert world.bedrock.ledger == []
    assert world.saved == []


async def test_a_run_whose_facts_outgrow_a_checkpoint_fails_before_it_trains(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(KEPT_FREE, "job_intended", MAX_BYTES - 2000)
    world = World()

    run = await world.live()

    assert run.outcome == "failed"
    assert run.failure is not None
    assert run.failure.error == "CheckpointFull"
    assert world.bedrock.ledger == []


async def test_a_run_that_has_no_room_to_be_released_does_not_rent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KEPT_FREE, "serving_intended", MAX_BYTES - 2000)
    world = World()

    run = await world.live()

    assert run.outcome == "failed"
    assert world.bedrock.endpoints_created == 0
    assert await world.violations() == []

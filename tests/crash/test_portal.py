"""
Answers 2xx that are not AWS's, to any call of any run.

Nearly all become "AWS did not answer", or doubt for a create: faults that the other tests try at every call.
What becomes a value, since AWS's own answer is empty too, is tried here.
"""

from __future__ import annotations

import functools

import pytest

from tests.malformed import MALFORMED
from vlm_runner.testing.faults import CREATES

from .points import SCENARIOS, run_disturbed, trace_of
from .portal import Answered, BehindAPortal

BODIES = tuple(MALFORMED.values())
EMPTY = frozenset(
    {
        "account.ensure_bucket", "bedrock.delete_endpoint", "bedrock.stop_job", "bedrock.tag", "state.delete",
    }
)  # fmt: skip
"""Calls that AWS answers without any member: nothing tells such an answer from another one."""
AS_A_FAULT = MALFORMED["HTML"]
TAKEN = MALFORMED["empty object"]


def wrong_with(scenario: str, store: str, calls: list[int], body: bytes) -> list[str]:
    found = []
    for call in calls:
        for done in (True, False):
            made = functools.partial(BehindAPortal, answered=Answered(call, body, done))
            wrong = run_disturbed(scenario, store, [{}], made=made)
            found += [f"{body[:20]!r} at {call}, done {done}: {wrong}"] if wrong else []
    return found


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_no_call_of_a_run_takes_what_aws_did_not_answer(scenario: str) -> None:
    process = BehindAPortal(bodies=BODIES)
    trace_of(scenario, "s3", process)

    assert len(process.outcomes) > 8
    for call, became in process.outcomes.items():
        create = call.rpartition(".")[2] in CREATES
        refused = "UncertainCreate" if create else "AwsUnavailable"
        taken = {"value True", "value False", "value None"} if call in EMPTY else set()
        assert set(became) <= {refused} | taken, call


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("store", ["local", "s3"])
def test_survives_what_is_taken_for_an_empty_answer(scenario: str, store: str) -> None:
    calls = [number for number, call in enumerate(trace_of(scenario, store)) if call in EMPTY]

    assert wrong_with(scenario, store, calls, TAKEN) == []


@pytest.mark.parametrize("store", ["local", "s3"])
def test_survives_a_portal_s_page_at_any_call_of_the_happy_path(store: str) -> None:
    """Of a folder's calls one in six: they are the same for both."""
    calls = list(range(0, len(trace_of("happy", store)), 6))

    assert wrong_with("happy", store, calls, AS_A_FAULT) == []

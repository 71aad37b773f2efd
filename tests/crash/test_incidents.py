"""Whatever befalls a run at whatever call: nothing is bought twice or left, and nothing hides what bills."""

from __future__ import annotations

from typing import Final

import pytest

from vlm_runner.testing import Fault

from .incidents import CHECKPOINTS, INCIDENTS, OBJECTS, Incident, overwritten
from .points import run_disturbed, trace_of

EVERY: Final = 24
"""On every change one call of so many; `make crash` tries each."""


def wrong_at(calls: range, scenario: str, store: str, incident: Incident) -> list[str]:
    found = [run_disturbed(scenario, store, [{}], incident=incident, at=call) for call in calls]
    return [text for text in found if text]


@pytest.mark.parametrize("store", ["local", "s3"])
@pytest.mark.parametrize("incident", INCIDENTS, ids=str)
def test_survives_what_befalls_the_happy_path(store: str, incident: Incident) -> None:
    calls = range(INCIDENTS.index(incident), len(trace_of("happy", store)), EVERY)

    assert wrong_at(calls, "happy", store, incident) == []


@pytest.mark.parametrize("incident", OBJECTS, ids=str)
def test_survives_what_others_do_to_an_object(incident: Incident) -> None:
    calls = range(OBJECTS.index(incident), len(trace_of("happy", "memory")), EVERY)

    assert wrong_at(calls, "happy", "memory", incident) == []


def test_an_image_that_is_replaced_while_the_tests_are_asked_is_an_error_that_was_foreseen() -> None:
    trace = trace_of("happy", "memory")
    last = max(call for call, name in enumerate(trace) if name == "runtime.converse")

    assert wrong_at(range(last - 8, last), "happy", "memory", overwritten("images/train/0.png")) == []


@pytest.mark.parametrize("incident", CHECKPOINTS[:3], ids=str)
def test_what_bills_when_its_process_dies_with_its_checkpoint_is_unexplained(incident: Incident) -> None:
    """And the run is gone on with once the checkpoint is there again."""
    trace = trace_of("happy", "s3")
    rented = trace.index("bedrock.create_endpoint") + CHECKPOINTS.index(incident) + 2
    found = [
        run_disturbed("happy", "s3", [{call + 1: Fault.CRASH_AFTER}], incident=incident, at=call)
        for call in range(rented, len(trace), EVERY)
    ]

    assert [text for text in found if text] == []

"""Whatever befalls a run at whatever call: nothing is bought twice or left, and nothing hides what bills."""

from __future__ import annotations

from typing import Final

import pytest

from vlm_runner.testing import Fault

from .incidents import INCIDENTS, Incident, deleted, overwritten
from .points import SCENARIOS, STORES, drawn, points, run_disturbed, trace_of

EVERY: Final = 24
"""On every change one call of so many; `make crash` tries each."""
KINDS: Final = (
    "data/train.jsonl",
    "data/train/content.json",
    "data/train/images/0.json",
    "data/train/shards-H/0-0-0-H.jsonl",
    "images/train/0.png",
    "runs/cats-H/answers.jsonl",
    "runs/cats-H/answers/base/0.json",
    "runs/cats-H/answers/tuned/0.json",
    "runs/cats-H/report.html",
    "runs/cats-H/report.json",
    "runs/cats-H/results.jsonl",
    "runs/cats-H/thumbnails.jsonl",
)
"""Of all objects that a run makes outside of its checkpoint."""
OBJECTS: Final = [change(kind) for kind in KINDS for change in (overwritten, deleted)]
PAIRS: Final = 150
BATCHES: Final = 24

crash = [pytest.mark.crash, pytest.mark.timeout(3600)]


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


@pytest.mark.parametrize(
    ("store", "scenario", "incident"),
    [
        pytest.param(store, scenario, incident, marks=crash, id=f"{store} {scenario} {incident}")
        for store in STORES
        for scenario in SCENARIOS
        for incident in INCIDENTS
    ],
)
def test_survives_whatever_befalls_any_run(store: str, scenario: str, incident: Incident) -> None:
    assert wrong_at(range(len(trace_of(scenario, store))), scenario, store, incident) == []


@pytest.mark.parametrize(
    ("scenario", "incident"),
    [
        pytest.param(scenario, incident, marks=crash, id=f"{scenario} {incident}")
        for scenario in SCENARIOS
        for incident in OBJECTS
    ],
)
def test_survives_whatever_others_do_to_the_objects_of_any_run(scenario: str, incident: Incident) -> None:
    """Where the checkpoint lies makes no difference to them."""
    assert wrong_at(range(len(trace_of(scenario, "memory"))), scenario, "memory", incident) == []


@pytest.mark.crash
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("batch", range(BATCHES))
def test_survives_an_incident_and_then_a_fault(batch: int) -> None:
    """The fault strikes the process that goes on; half of the time there is a cancel as well."""
    chance, scenario, store, trace = drawn(batch)
    single = list(points(trace, Fault))
    wrong = []
    for _ in range(PAIRS):
        point, fault = chance.choice(single)
        found = run_disturbed(
            scenario,
            store,
            [{}, {point % 60: fault}],
            incident=chance.choice([*INCIDENTS, *OBJECTS]),
            at=chance.randrange(len(trace)),
        )
        wrong.append(found)

    assert [text for text in wrong if text] == []

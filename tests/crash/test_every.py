"""All single faults, and thousands of pairs: `make crash`."""

from __future__ import annotations

import pytest

from vlm_runner.testing import Fault

from .points import SCENARIOS, STORES, drawn, points, run_disturbed, trace_of

pytestmark = [pytest.mark.crash, pytest.mark.timeout(3600)]

BATCHES = 24
PAIRS = 225
"""Of double faults in a batch: 5,400 in all."""


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("fault", list(Fault), ids=lambda fault: fault.value)
def test_survives_any_single_fault(store: str, scenario: str, fault: Fault) -> None:
    trace = trace_of(scenario, store)
    wrong = [run_disturbed(scenario, store, [{point: fault}]) for point, fault in points(trace, [fault])]

    assert [text for text in wrong if text] == []


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_survives_a_cancel_at_any_point(store: str, scenario: str) -> None:
    trace = trace_of(scenario, store)
    wrong = [run_disturbed(scenario, store, [{}], cancel_at=point) for point in range(len(trace))]

    assert [text for text in wrong if text] == []


@pytest.mark.parametrize("batch", range(BATCHES))
def test_survives_two_faults_one_after_the_other(batch: int) -> None:
    """The second one strikes the process that goes on after the first; half of the time with a cancel."""
    chance, scenario, store, trace = drawn(batch)
    single = list(points(trace, Fault))
    wrong = []
    for _ in range(PAIRS):
        first, second = chance.choice(single), chance.choice(single)
        # Whoever goes on has less to do: its points are fewer.
        plans = [{first[0]: first[1]}, {second[0] % max(8, len(trace) - first[0]): second[1]}]
        cancel_at = chance.randrange(len(trace)) if chance.random() < 0.5 else None
        wrong.append(run_disturbed(scenario, store, plans, cancel_at=cancel_at))

    assert [text for text in wrong if text] == []

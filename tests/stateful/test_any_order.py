"""Things happen to a run in any order, and no order costs twice or leaves something behind."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from .machine import RunMachine

COMMON = settings(deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)


@pytest.mark.timeout(600)
def test_no_order_of_events_breaks_a_promise() -> None:
    run_state_machine_as_test(
        RunMachine, settings=settings(COMMON, max_examples=60, stateful_step_count=30, derandomize=True)
    )


@pytest.mark.crash
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("batch", range(8))
def test_no_order_of_many_events_breaks_a_promise(batch: int) -> None:
    """Each batch is of other examples: what failed once is kept in Hypothesis' own database."""
    assert batch >= 0
    run_state_machine_as_test(RunMachine, settings=settings(COMMON, max_examples=100, stateful_step_count=60))

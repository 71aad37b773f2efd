"""Things happen to a run in any order, and no order costs twice or leaves something behind."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from .machine import RunMachine

COMMON = settings(deadline=None, suppress_health_check=list(HealthCheck), print_blob=True, database=None)


def explore(seed_of_batch: int, *, examples: int, steps: int) -> None:
    """Examples of its own for each batch, the same ones at every run."""
    bounds = settings(COMMON, max_examples=examples, stateful_step_count=steps)
    machine = type("RunMachine", (RunMachine,), {})
    run_state_machine_as_test(seed(seed_of_batch)(machine), settings=bounds)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("batch", range(6))
def test_no_order_of_events_breaks_a_promise(batch: int) -> None:
    explore(batch, examples=10, steps=30)


@pytest.mark.crash
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("batch", range(8))
def test_no_order_of_many_events_breaks_a_promise(batch: int) -> None:
    explore(1000 + batch, examples=100, steps=60)

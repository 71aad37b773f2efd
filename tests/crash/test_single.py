"""Whatever goes wrong at whatever call: the run is gone on with, once paid for, and nothing is left."""

from __future__ import annotations

import itertools
import random

import pytest

from vlm_runner.testing import Fault

from .points import MUTATING, points, run_disturbed, trace_of

BY_HAND = {Fault.STALE, Fault.EXPIRED}
"""Whose points `make crash` tries all: a minute of stale reads begins with one, and a refusal is not sent."""
STORES = pytest.mark.parametrize("store", ["local", "s3"])


@STORES
@pytest.mark.parametrize(
    "fault", [fault for fault in Fault if fault not in BY_HAND], ids=lambda fault: fault.value
)
def test_survives_one_fault_at_any_point_of_the_happy_path(store: str, fault: Fault) -> None:
    trace = trace_of("happy", store)
    wrong = [run_disturbed("happy", store, [{point: fault}]) for point, fault in points(trace, [fault])]

    assert [text for text in wrong if text] == []


@STORES
def test_survives_a_cancel_at_any_point_of_the_happy_path(store: str) -> None:
    trace = trace_of("happy", store)
    wrong = [run_disturbed("happy", store, [{}], cancel_at=point) for point in range(len(trace))]

    assert [text for text in wrong if text] == []


def test_serving_again_survives_a_crash_after_any_change() -> None:
    """All its points with all faults, and cancels: `make crash`."""
    trace = trace_of("served again", "memory")
    changed = [point for point, call in enumerate(trace) if call.rpartition(".")[2] in MUTATING]
    # Of several changes one like the other (its lease renewed, an answer saved), the first.
    waiting = {two for one, two in itertools.pairwise(changed) if trace[one] == trace[two]}
    wrong = [
        run_disturbed("served again", "memory", [{point: Fault.CRASH_AFTER}])
        for point in changed
        if point not in waiting or point in changed[-4:]
    ]

    assert [text for text in wrong if text] == []


@pytest.mark.parametrize(
    "fault", [Fault.LATE, Fault.DELAYED, Fault.FREEZE_CRASH], ids=lambda fault: fault.value
)
def test_a_second_endpoint_is_created_once_whatever_becomes_of_its_create(fault: Fault) -> None:
    point = trace_of("served again", "memory").index("bedrock.create_endpoint")

    assert run_disturbed("served again", "memory", [{point: fault}]) == ""


def test_a_new_process_whose_credentials_are_refused_once_does_not_give_a_rented_endpoint_up() -> None:
    asked = trace_of("kept", "memory").index("runtime.converse", -20)
    wrong = [
        run_disturbed("kept", "memory", [{asked: Fault.STOP}, {point: Fault.EXPIRED}]) for point in range(24)
    ]

    assert [text for text in wrong if text] == []


def test_serving_again_killed_at_random_twenty_times_rents_one_endpoint() -> None:
    chance = random.Random(17)
    kills = [{chance.randrange(25): Fault.CRASH_AFTER} for _ in range(20)]

    assert run_disturbed("served again", "memory", kills) == ""


@STORES
def test_there_are_as_many_points_as_we_say(store: str) -> None:
    assert len(trace_of("happy", store)) >= 80

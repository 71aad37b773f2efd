"""Whatever goes wrong at whatever call: the run is gone on with, once paid for, and nothing is left."""

from __future__ import annotations

import pytest

from vlm_runner.testing import Fault

from .points import points, run_disturbed, trace_of

STORES = pytest.mark.parametrize("store", ["local", "s3"])


@STORES
@pytest.mark.parametrize("fault", list(Fault), ids=lambda fault: fault.value)
def test_survives_one_fault_at_any_point_of_the_happy_path(store: str, fault: Fault) -> None:
    trace = trace_of("happy", store)
    wrong = [run_disturbed("happy", store, [{point: fault}]) for point, fault in points(trace, [fault])]

    assert [text for text in wrong if text] == []


@STORES
def test_survives_a_cancel_at_any_point_of_the_happy_path(store: str) -> None:
    trace = trace_of("happy", store)
    wrong = [run_disturbed("happy", store, [{}], cancel_at=point) for point in range(len(trace))]

    assert [text for text in wrong if text] == []


@STORES
def test_there_are_as_many_points_as_we_say(store: str) -> None:
    assert len(trace_of("happy", store)) >= 80

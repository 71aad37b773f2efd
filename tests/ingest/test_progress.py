"""What staging says of its progress: how far, how fast, how long still; and not too often."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from vlm_runner.ingest.pipeline import SubsetStaging
from vlm_runner.settings import UploadSettings

if TYPE_CHECKING:
    from vlm_runner.core.signals import StagingProgress


@pytest.fixture
def watched() -> tuple[Any, Any, list[StagingProgress]]:
    """The staging of 100 rows that began at second 50, its clock, and what it says."""
    told: list[StagingProgress] = []
    time = SimpleNamespace(now=50.0)
    clock: Any = SimpleNamespace(elapsed=lambda: time.now)
    unused: Any = SimpleNamespace(shards="", verified=False)
    subset: Any = SimpleNamespace(name="train", num_rows=100, bytes_downloaded=7)
    staging = SubsetStaging(
        subset,
        unused,
        unused,
        unused,
        upload=UploadSettings(),
        bad_rows=unused,
        clock=clock,
        progress=told.append,
    )
    return staging, time, told


@pytest.mark.parametrize(
    ("after", "before", "done", "rate", "left"),
    [
        (0.0, 0, 0, 0.0, None),  # nothing is known yet
        (0.0, 30, 30, 0.0, None),  # what lay there costs no time
        (4.0, 30, 30, 0.0, None),
        (4.0, 0, 20, 5.0, 16.0),
        (4.0, 10, 30, 5.0, 14.0),  # its own rows only count for the rate, and all that are left for the rest
        (0.5, 99, 100, 2.0, 0.0),
        (4.0, 0, 2, 0.5, 196.0),
    ],
)
def test_the_rate_is_of_the_rows_that_were_staged_now(
    watched: Any, *, after: float, before: int, done: int, rate: float, left: float | None
) -> None:
    staging, time, told = watched
    staging._tally.rows_before, staging._tally.rows_done = before, done
    time.now += after
    staging._tell()

    (said,) = told
    assert (said.rate, said.seconds_left, said.seconds) == (rate, left, after)
    assert (said.subset, said.rows_done, said.rows, said.bytes_downloaded) == ("train", done, 100, 7)


def test_it_is_said_at_most_ten_times_a_second_and_always_at_the_end(watched: Any) -> None:
    staging, time, told = watched
    staging._told = 0.0  # and not 50, from where a tenth of a second is no exact sum
    for step, last, said in (
        (0.1 - 1e-9, False, 0),
        (0.1, False, 1),
        (0.1, False, 1),
        (0.1, True, 2),
        (0.2 - 1e-9, False, 2),
        (0.3, False, 3),
    ):
        time.now = step
        staging._tell(last=last)
        assert len(told) == said

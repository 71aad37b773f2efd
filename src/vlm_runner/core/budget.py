"""
`max_cost` as a hard stop: what a run may still rent, and when it must let go. Pure.

Training is bounded before the job is created. Rent grows with time, so it has a deadline, counted from the
moment in which the run first said that it would rent.

A dead man's switch is such a deadline too: the driver of the run then releases the endpoint, whether or not
the schedule strikes.

Two things are not in its power: Bedrock deletes no throughput that is still Creating, and while no process
drives the run, nobody looks at the deadline.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from vlm_runner.core.events import RunFailed
from vlm_runner.core.phases import RENTED, Phase
from vlm_runner.spec import seconds_of

if TYPE_CHECKING:
    from vlm_runner.core.run import Run

RELEASING = timedelta(minutes=15)
"""Kept free of the time that may be paid: for the deletion, and for a clock that runs behind."""

RENTING = RENTED | {Phase.REQUESTING}


def rent_seconds(max_cost: float, spent: float, per_hour: float) -> float:
    """
    For how long a run may use what it rents at `per_hour`, if `spent` goes to everything else.

    Negative: it may not rent at all.
    """
    return (max_cost - spent) / per_hour * 3600 - RELEASING.total_seconds()


def deadline(run: Run) -> datetime | None:
    """When the run must begin to release what it rents; None: it has no limit, or rents nothing yet."""
    limits = run.created.budget
    if limits is None or limits.rent_seconds is None or run.rented_from is None:
        return None
    return run.rented_from + timedelta(seconds=limits.rent_seconds)


def _trained_too_long(run: Run, now: datetime) -> RunFailed | None:
    limit = run.spec.training.deadline
    if limit is None or run.trained_from is None:
        return None
    if now < run.trained_from + timedelta(seconds=seconds_of(limit)):
        return None
    return RunFailed(
        error="DeadlineReached",
        reason=f"The customization job did not end within training.deadline = {limit}; it is stopped.",
    )


def overdue(run: Run, now: datetime) -> RunFailed | None:
    """What to record at `now`, if the run has used up its money or its time and still trains or rents."""
    if run.phase is Phase.TRAINING:
        return _trained_too_long(run, now)
    # RELEASING is not among them: nothing may interrupt a release.
    if run.phase not in RENTING:
        return None
    if run.serving is not None and run.serving.deleted_at is not None and now >= run.serving.deleted_at:
        due = f"{run.serving.deleted_at:%Y-%m-%d %H:%M}"
        return RunFailed(
            error="TimeIsOver",
            reason=f"The endpoint's time is over: its dead man's switch was set to {due} UTC.",
        )
    limits, until = run.created.budget, deadline(run)
    if limits is None or until is None or now < until:
        return None
    return RunFailed(
        error="BudgetReached",
        reason=f"The run has rented for as long as max_cost = ${limits.max_cost:.2f} allows; it is released.",
    )

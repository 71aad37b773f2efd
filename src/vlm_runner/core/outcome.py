"""
How a run ended, why, and whether it may bill.

These rules are functions of plain values, because `Run` applies them to its facts, and `status` to a
checkpoint that it reads without building a `Run`.
"""

from __future__ import annotations

from enum import StrEnum

from vlm_runner.core.phases import Phase


class Outcome(StrEnum):
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


def outcome_of(phase: Phase, *, cancelled: bool, failed: bool) -> Outcome | None:
    """None while the run has not ended. A cancelled run may have failed as well: it counts as cancelled."""
    if phase is not Phase.DONE:
        return None
    if cancelled:
        return Outcome.CANCELLED
    return Outcome.FAILED if failed else Outcome.SUCCEEDED


def job_failure_reason(status: str, reason: str | None) -> str:
    return f"The customization job ended as {status}: {reason}"


def billing_possible(*, intended: bool, refused: bool, released: bool) -> bool:
    """True from the intent to rent until its refusal or release is recorded; always if handed over."""
    return intended and not refused and not released

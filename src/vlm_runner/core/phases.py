"""
The state machine: the phases of a run, and the phase after each event, as one visible table.

The README's diagram is drawn from it. Tests prove that every phase reaches DONE, and that no path from
REQUESTING to DONE avoids RELEASING.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Phase(StrEnum):
    """Each is one effect or one wait."""

    STAGING = "staging"
    RECORDING = "recording"
    SUBMITTING = "submitting"
    TRAINING = "training"
    REQUESTING = "requesting"
    WARMING = "warming"
    TESTING = "testing"
    RELEASING = "releasing"
    REPORTING = "reporting"
    DONE = "done"


Table = dict[tuple[Phase, str], Phase]

TRANSITIONS: Final[Table] = {
    (Phase.STAGING, "places_claimed"): Phase.STAGING,
    (Phase.STAGING, "images_staged"): Phase.RECORDING,
    (Phase.STAGING, "cancel_requested"): Phase.REPORTING,
    (Phase.STAGING, "run_failed"): Phase.REPORTING,
    (Phase.RECORDING, "records_written"): Phase.SUBMITTING,
    (Phase.RECORDING, "cancel_requested"): Phase.REPORTING,
    (Phase.RECORDING, "run_failed"): Phase.REPORTING,
    (Phase.SUBMITTING, "job_intended"): Phase.SUBMITTING,
    (Phase.SUBMITTING, "create_uncertain"): Phase.SUBMITTING,
    (Phase.SUBMITTING, "create_refused"): Phase.SUBMITTING,
    (Phase.SUBMITTING, "job_submitted"): Phase.TRAINING,
    (Phase.SUBMITTING, "cancel_requested"): Phase.RELEASING,
    (Phase.SUBMITTING, "run_failed"): Phase.RELEASING,
    (Phase.TRAINING, "job_completed"): Phase.REQUESTING,
    (Phase.TRAINING, "job_failed"): Phase.RELEASING,
    (Phase.TRAINING, "cancel_requested"): Phase.RELEASING,
    (Phase.TRAINING, "run_failed"): Phase.RELEASING,
    (Phase.REQUESTING, "serving_intended"): Phase.REQUESTING,
    (Phase.REQUESTING, "create_uncertain"): Phase.REQUESTING,
    (Phase.REQUESTING, "create_refused"): Phase.REQUESTING,
    (Phase.REQUESTING, "serving_requested"): Phase.WARMING,
    (Phase.REQUESTING, "cancel_requested"): Phase.RELEASING,
    (Phase.REQUESTING, "run_failed"): Phase.RELEASING,
    (Phase.WARMING, "endpoint_ready"): Phase.TESTING,
    (Phase.WARMING, "endpoint_failed"): Phase.RELEASING,
    (Phase.WARMING, "cancel_requested"): Phase.RELEASING,
    (Phase.WARMING, "run_failed"): Phase.RELEASING,
    (Phase.TESTING, "tests_answered"): Phase.RELEASING,
    (Phase.TESTING, "endpoint_failed"): Phase.RELEASING,
    (Phase.TESTING, "cancel_requested"): Phase.RELEASING,
    (Phase.TESTING, "run_failed"): Phase.RELEASING,
    (Phase.RELEASING, "cancel_requested"): Phase.RELEASING,
    (Phase.RELEASING, "released"): Phase.REPORTING,
    (Phase.RELEASING, "handed_over"): Phase.REPORTING,
    (Phase.REPORTING, "report_written"): Phase.DONE,
}

WITHOUT_SERVING: Final[Table] = TRANSITIONS | {
    (Phase.TRAINING, "job_completed"): Phase.REPORTING,
}
"""The table of a run with `serving.mode = "none"`: nothing is rented, so nothing is released."""

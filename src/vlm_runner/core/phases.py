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
    SERVING = "serving"
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
    (Phase.TRAINING, "job_stalled"): Phase.TRAINING,
    # It has ended, and cost nothing: see `core.failure.erred_before_training`.
    (Phase.TRAINING, "job_erred"): Phase.SUBMITTING,
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
    # Only a run that serves an earlier run's model comes here; a cancel is one way to end the serving.
    (Phase.SERVING, "serving_ended"): Phase.RELEASING,
    (Phase.SERVING, "endpoint_failed"): Phase.RELEASING,
    (Phase.SERVING, "run_failed"): Phase.RELEASING,
    (Phase.RELEASING, "cancel_requested"): Phase.RELEASING,
    (Phase.RELEASING, "released"): Phase.REPORTING,
    (Phase.RELEASING, "handed_over"): Phase.REPORTING,
    (Phase.REPORTING, "report_written"): Phase.DONE,
    # What was handed over is given back: of a run that is over, the one thing that can still be done.
    (Phase.DONE, "released"): Phase.DONE,
}

WITHOUT_SERVING: Final[Table] = TRANSITIONS | {
    (Phase.TRAINING, "job_completed"): Phase.REPORTING,
}
"""The table of a run with `serving.mode = "none"`: nothing is rented, so nothing is released."""

SERVING_ONLY: Final[Table] = TRANSITIONS | {
    (Phase.RECORDING, "records_written"): Phase.REQUESTING,
    (Phase.TESTING, "tests_answered"): Phase.SERVING,
}
"""The table of a run that serves the model of an earlier run, and trains nothing."""

RENTED: Final = frozenset({Phase.WARMING, Phase.TESTING, Phase.SERVING})
"""An endpoint is known to be there."""


class Route(StrEnum):
    """Which phases a run goes through, known when it is created."""

    WHOLE = "whole"
    NO_SERVING = "no serving"
    SERVE = "serve"
    """The model of an earlier run, asked about that run's records: it begins with the endpoint."""
    STAGE_AND_SERVE = "stage and serve"
    """The same, asked about rows that are staged first."""

    @property
    def table(self) -> Table:
        match self:
            case Route.WHOLE:
                return TRANSITIONS
            case Route.NO_SERVING:
                return WITHOUT_SERVING
            case _:
                return SERVING_ONLY

    @property
    def phases(self) -> list[Phase]:
        """Those that a run of this route goes through if all is well, in their order; without DONE."""
        return [phase for phase in Phase if phase not in _LEFT_OUT[self]]

    @property
    def first(self) -> Phase:
        return self.phases[0]


_TRAINING = {Phase.SUBMITTING, Phase.TRAINING}
_RENTING = {Phase.REQUESTING, Phase.WARMING, Phase.TESTING, Phase.RELEASING}
_LEFT_OUT: Final = {
    Route.WHOLE: {Phase.SERVING, Phase.DONE},
    Route.NO_SERVING: {*_RENTING, Phase.SERVING, Phase.DONE},
    Route.SERVE: {Phase.STAGING, Phase.RECORDING, *_TRAINING, Phase.DONE},
    Route.STAGE_AND_SERVE: {*_TRAINING, Phase.DONE},
}


def route_of(*, serves: bool, trains: bool = True, stages: bool = True) -> Route:
    """
    The route of a run: whether it rents an endpoint, trains a model, and stages rows.
    """
    if trains:
        return Route.WHOLE if serves else Route.NO_SERVING
    return Route.STAGE_AND_SERVE if stages else Route.SERVE

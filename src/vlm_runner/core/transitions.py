"""
The state machine: where a run stands after each event, as one visible table.

It is drawn into the README from here, and tests prove about it that every phase reaches DONE and that no
way from REQUESTING to DONE avoids RELEASING.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vlm_runner.core.run import Phase, Run
from vlm_runner.spec import ServingMode

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from vlm_runner.core.events import Entry, Event

Table = dict[tuple[Phase, str], Phase]

TRANSITIONS: Final[Table] = {
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

FIELDS: Final[Mapping[str, str]] = {
    "images_staged": "images",
    "records_written": "records",
    "job_submitted": "job",
    "job_completed": "model",
    "job_failed": "job_failure",
    "serving_requested": "serving",
    "endpoint_ready": "endpoint",
    "endpoint_failed": "endpoint_failure",
    "tests_answered": "tests",
    "cancel_requested": "cancelled",
    "run_failed": "failure",
    "released": "released",
    "handed_over": "handed_over",
    "report_written": "report",
}
"""Where the run keeps each fact; those about a create are kept by what it was to create."""


class IllegalTransition(ValueError):
    """An event that cannot happen in this phase: a bug, or a checkpoint that was edited by hand."""


def table_of(run: Run) -> Table:
    return WITHOUT_SERVING if run.spec.serving.mode is ServingMode.NONE else TRANSITIONS


def accepts(run: Run, event: Event) -> bool:
    return (run.phase, event.kind) in table_of(run)


def evolve(run: Run, entry: Entry) -> Run:
    """
    The run after `entry`.

    Raises:
        IllegalTransition: the table has no such row, or the sequence has a gap.
    """
    event = entry.event
    phase = table_of(run).get((run.phase, event.kind))
    if phase is None:
        raise IllegalTransition(f"run {run.run_id}: '{event.kind}' cannot happen in phase '{run.phase}'")
    if entry.sequence != run.sequence + 1:
        raise IllegalTransition(f"run {run.run_id}: entry {entry.sequence} follows {run.sequence}")
    changes: dict[str, object] = {"phase": phase, "updated_at": entry.at, "sequence": entry.sequence}
    match event.kind:
        case "create_uncertain":
            changes[f"uncertain_{event.what}"] = event
        case "create_refused":
            changes |= {f"uncertain_{event.what}": None, f"refused_{event.what}": event}
        case "job_intended":
            changes |= {"job_intent": event, "refused_job": None}
        case "serving_intended":
            changes |= {"serving_intent": event, "refused_serving": None}
            if run.created.budget is not None:
                changes["rented_from"] = entry.at
        case _:
            changes[FIELDS[event.kind]] = event
    return run.model_copy(update=changes)


def fold(history: Iterable[Entry]) -> Run:
    """The run that this history tells of."""
    entries = iter(history)
    run = Run.begin(next(entries))
    for entry in entries:
        run = evolve(run, entry)
    return run

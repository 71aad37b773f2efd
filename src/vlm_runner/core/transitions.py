"""A run is the fold of its history: what each event changes in it. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, get_args

from vlm_runner.core.events import Facts, Value
from vlm_runner.core.run import Run

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from vlm_runner.core.events import Entry, Event


def _fields() -> dict[str, str]:
    """Of each kind of event that has a field of its own in `Facts`, the field's name."""
    kinds: dict[str, list[str]] = {}
    for name, field in Facts.model_fields.items():
        for kind in _kinds(field.annotation):
            kinds.setdefault(kind, []).append(name)
    return {kind: names[0] for kind, names in kinds.items() if len(names) == 1}


def _kinds(annotation: Any) -> list[str]:
    members = [one for one in get_args(annotation) if isinstance(one, type) and issubclass(one, Value)]
    return [one.model_fields["kind"].default for one in members if "kind" in one.model_fields]


FIELDS: Final[Mapping[str, str]] = _fields()
"""Where the run keeps each fact; those about a create are kept by what it was to create."""


class IllegalTransition(ValueError):
    """An event that cannot happen in this phase: a bug, or a checkpoint that was edited by hand."""


def accepts(run: Run, event: Event) -> bool:
    return (run.phase, event.kind) in run.route.table


def evolve(run: Run, entry: Entry) -> Run:
    """
    The run after `entry`.

    Raises:
        IllegalTransition: the table has no such row, or the sequence has a gap.
    """
    event = entry.event
    phase = run.route.table.get((run.phase, event.kind))
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
            # A new intent ends the refusal of the one before: from here on a create may be under way again.
            changes |= {"job_intent": event, "refused_job": None}
        case "job_submitted" if run.spec.training.deadline is not None:
            changes |= {"job": event, "trained_from": entry.at}
        case "job_erred":
            # That job is over: from here on the run is as it was before it, but for the next job's name.
            gone = ("job_intent", "job", "uncertain_job", "refused_job", "job_stall", "trained_from")
            changes |= {"job_error": event, **dict.fromkeys(gone)}
        case "serving_intended":
            changes |= {"serving_intent": event, "refused_serving": None}
            # Counted from the intent, not from the answer: rent can begin any time after this is saved.
            if run.created.budget is not None:
                changes["rented_from"] = entry.at
        case _:
            changes[FIELDS[event.kind]] = event
    return run.model_copy(update=changes)


def fold(history: Iterable[Entry]) -> Run:
    """The run after this history."""
    entries = iter(history)
    run = Run.begin(next(entries))
    for entry in entries:
        run = evolve(run, entry)
    return run

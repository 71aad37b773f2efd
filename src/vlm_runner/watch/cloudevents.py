"""A run's entries as CloudEvents 1.0, for machines; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from vlm_runner.redact import json_text, redacted_value, without_addresses

if TYPE_CHECKING:
    from vlm_runner.core.events import Entry
    from vlm_runner.core.run import Run

PREFIX: Final = "io.vlm-runner."
NAMES: Final = {"released": "run.released", "handed_over": "endpoint.handed_over"}
"""Kinds that are not a noun and a past participle; all others are split at their last underscore."""


def envelope(run: Run, entry: Entry) -> dict[str, Any]:
    """
    One entry, after which the run is `run`.

    `id` is unique for ever: who receives an event twice knows it by that. `sequence` is CloudEvents'
    extension of that name, as text that sorts like the number.
    """
    event = without_secrets(entry)["event"]
    return {
        "specversion": "1.0",
        "id": f"{run.uid}/{entry.sequence}",
        "source": f"/vlm-runner/{run.account}/{run.region}",
        "type": type_of(entry.event.kind),
        "subject": run.run_id,
        "time": entry.at.isoformat().replace("+00:00", "Z"),
        "datacontenttype": "application/json",
        "sequence": f"{entry.sequence:08d}",
        "data": {
            "runId": run.run_id,
            "phase": run.phase.value,
            "outcome": run.outcome.value if run.outcome is not None else None,
            "mayBill": run.may_bill,
            "event": event,
        },
    }


def without_secrets(entry: Entry) -> dict[str, Any]:
    """An entry as plain values, as it may leave the process."""
    table = entry.model_dump(mode="json")
    if "spec" in table["event"]:
        table["event"]["spec"] = without_addresses(table["event"]["spec"])
    shown: dict[str, Any] = redacted_value(table)
    return shown


def type_of(kind: str) -> str:
    """`io.vlm-runner.job.submitted`."""
    noun, _, verb = kind.rpartition("_")
    return PREFIX + (NAMES.get(kind) or (f"{noun}.{verb}" if noun else verb))


def to_json(event: dict[str, Any]) -> str:
    """One line."""
    return json_text(event)

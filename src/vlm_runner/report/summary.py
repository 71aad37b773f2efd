"""The outcome of a run as plain JSON values; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vlm_runner.core.names import delete_command
from vlm_runner.core.text import LONGEST_REASON
from vlm_runner.redact import one_line, without_addresses

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vlm_runner.core.events import Entry, Value
    from vlm_runner.core.run import Run
    from vlm_runner.json_output import BillingJson, RunJson


def summary(run: Run, history: Sequence[Entry] = ()) -> RunJson:
    """Its keys are stable; a fact that the run does not have is null."""
    return {
        "run_id": run.run_id,
        "phase": run.phase.value,
        "outcome": run.outcome.value if run.outcome is not None else None,
        "reason": run.reason,
        "account": run.account,
        "region": run.region,
        "bucket": run.bucket,
        "created_at": run.created_at.isoformat(),
        "updated_at": run.updated_at.isoformat(),
        "base_model": run.spec.model.base,
        "from_run": run.created.parent.run_id if run.created.parent is not None else None,
        "serves": run.created.serves.run_id if run.created.serves is not None else None,
        "dataset": _dumped(run.dataset),
        "images": _dumped(run.images),
        # What is only compared with S3 is of no use to whoever reads it.
        "records": _dumped(run.records, "train_objects", "validation_objects"),
        "job_name": run.job_intent.name if run.job_intent is not None else None,
        "job_arn": run.job.arn if run.job is not None else None,
        "model_arn": run.model.model_arn if run.model is not None else None,
        "training_loss": run.model.training_loss if run.model is not None else None,
        "validation_loss": run.model.validation_loss if run.model is not None else None,
        "endpoint_arn": run.serving.arn if run.serving is not None else None,
        "tests": _dumped(run.tests),
        "deleted": list(run.released.deleted) if run.released is not None else [],
        "may_bill": may_bill(run),
        "report_uri": run.report.uri if run.report is not None else None,
        "spec": without_addresses(run.spec.model_dump(mode="json")),
        "spec_fingerprint": run.created.spec_fingerprint,
        "timeline": [
            {"sequence": entry.sequence, "at": entry.at.isoformat(), "event": entry.event.kind}
            for entry in history
        ],
    }


def _dumped(fact: Value | None, *but: str) -> Any:
    """As JSON values; that their shape is the one promised is tested against the schema."""
    return None if fact is None else fact.model_dump(mode="json", exclude={"kind", *but})


def may_bill(run: Run) -> list[BillingJson]:
    """What of this run may still cost by the hour, each with the command that ends it."""
    intent = run.serving_intent
    if not run.may_bill or intent is None:
        return []
    # A checkpoint may be a stranger's; what bills stands in tables, a line each.
    name = one_line(intent.name, LONGEST_REASON)
    arn = one_line(run.serving.arn, LONGEST_REASON) if run.serving is not None else None
    return [
        {
            "kind": "provisioned throughput" if intent.mode == "provisioned" else "custom model deployment",
            "name": name,
            "arn": arn,
            "delete_command": delete_command(intent.mode, arn or name, one_line(run.region, LONGEST_REASON)),
            "deletes_itself_at": _deletes_itself_at(run),
        }
    ]


def _deletes_itself_at(run: Run) -> str | None:
    """When its dead man's switch deletes it, in ISO 8601."""
    kept = run.handed_over
    if kept is not None:
        due = kept.expires_at if run.spec.serving.dead_man_switch is not None else None
    else:
        due = run.serving.deleted_at if run.serving is not None else None
    # Where a checkpoint is only looked at, times are text.
    return due if due is None or isinstance(due, str) else due.isoformat(timespec="seconds")

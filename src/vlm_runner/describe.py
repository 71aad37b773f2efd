"""Events as sentences for people; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vlm_runner.core.events import (
    CancelRequested,
    CreateRefused,
    CreateUncertain,
    EndpointFailed,
    EndpointReady,
    HandedOver,
    ImagesStaged,
    JobCompleted,
    JobErred,
    JobFailed,
    JobIntended,
    JobStalled,
    JobSubmitted,
    PlacesClaimed,
    RecordsWritten,
    Released,
    ReportWritten,
    RunCreated,
    RunFailed,
    ServingEnded,
    ServingIntended,
    ServingRequested,
    SubsetStaged,
    TestsAnswered,
    Value,
)
from vlm_runner.core.timeline import spelled
from vlm_runner.redact import one_line

if TYPE_CHECKING:
    from vlm_runner.core.events import Event

MODES: Final = {"provisioned": "provisioned throughput", "on-demand": "on-demand deployment"}


LONGEST: Final = 10_000
"""Characters of a sentence."""


def sentence(event: Event) -> str:
    """What happened, in one line, whatever the texts of others are that it names."""
    return one_line(_sentence(event), LONGEST)


def _sentence(event: Event) -> str:  # noqa: C901, PLR0911, PLR0912 - one line a kind of event
    match event:
        case RunCreated(run_id=run_id, serves=served) if served is not None:
            return f"run {run_id}: serves the model of run {served.run_id}"
        case RunCreated(run_id=run_id, dataset=dataset, spec=spec, parent=parent):
            held = f" and {dataset.validation_rows} held out" if dataset.validation_rows else ""
            lineage = "" if parent is None else f", from the model of run {parent.run_id},"
            return f"run {run_id}: {spec.model.base}{lineage} on {dataset.rows} rows{held}"
        case PlacesClaimed(train=train, validation=validation):
            folders = [place.images for place in (train, validation) if place is not None]
            return f"images go to {' and '.join(folders)}, records to {train.records}"
        case ImagesStaged(train=train, validation=validation):
            return "images staged: " + "; ".join(
                f"{name} {_staged(subset)}"
                for name, subset in (("train", train), ("validation", validation))
                if subset is not None
            )
        case RecordsWritten(train_uri=uri, train_records=count):
            return f"{count} records written to {uri}"
        case JobIntended(name=name):
            return f"creating the customization job {name}"
        case JobSubmitted(arn=arn, adopted=adopted):
            return f"customization job {'adopted' if adopted else 'created'}: {arn}"
        case JobCompleted(model_arn=arn, training_loss=loss):
            return f"trained{'' if loss is None else f', loss {loss:.4f}'}: {arn}"
        case JobFailed(status=status, reason=reason):
            return f"the customization job ended as {status}: {reason}"
        case JobStalled(status=status, seconds=seconds, details=details):
            parts = ", ".join(f"{part} {state}" for part, state in details.items())
            return f"the job has not changed for {spelled(seconds)}: {status}{f' ({parts})' if parts else ''}"
        case JobErred(arn=arn, reason=reason):
            return f"{arn} failed before it trained, and is created again under another name: {reason}"
        case ServingIntended(mode=mode, name=name):
            return f"creating the {MODES[mode]} {name}"
        case ServingRequested(arn=arn, adopted=adopted, deleted_at=due):
            switch = "" if due is None else f"; its dead man's switch deletes it at {due:%Y-%m-%d %H:%M} UTC"
            bills = "billed by the token" if ":custom-model-deployment/" in arn else "billing starts now"
            return f"endpoint {'adopted' if adopted else 'created'}, {bills}: {arn}{switch}"
        case CreateUncertain(what=what, cause=cause):
            return f"unknown whether the {what} was created ({cause}); searching for it"
        case CreateRefused(what=what, reason=reason):
            return f"the {what} was not created: {reason}"
        case EndpointReady():
            return "the endpoint is ready"
        case EndpointFailed(reason=reason):
            return f"the endpoint failed: {reason}"
        case TestsAnswered(asked=0):
            return "no rows to ask"
        case TestsAnswered(asked=asked, held_out=held_out):
            return f"{asked} {'held-out' if held_out else 'TRAINING'} rows answered"
        case ServingEnded(reason=reason):
            return f"the serving ends: {reason}"
        case CancelRequested(reason=reason):
            return f"cancel requested{f': {reason}' if reason else ''}"
        case RunFailed(reason=reason):
            return f"failed: {reason}"
        case Released(deleted=deleted, job_stopped=stopped):
            done = [f"deleted {arn}" for arn in deleted] + (["the job was stopped"] if stopped else [])
            return "; ".join(["nothing is billing", *done])
        case HandedOver(arn=arn):
            return f"the endpoint is kept and BILLS until you delete it: {arn}"
        case ReportWritten(uri=uri):
            return f"report written to {uri}" if uri else "the report could not be written"
        case _:
            return _first_line(event)


def _first_line(event: Value) -> str:
    """The docstring of an event is a sentence in the past tense: it serves those that need no facts."""
    line = (type(event).__doc__ or "").strip().partition("\n")[0].removesuffix(".")
    return line[:1].lower() + line[1:]


def _staged(subset: SubsetStaged) -> str:
    if not subset.images_uploaded and subset.shards_skipped:
        return f"{subset.rows} rows already uploaded"
    there = f", {subset.images_there} there already" if subset.images_there else ""
    there += f", {subset.images_in_place} stay where they lie" if subset.images_in_place else ""
    skipped = f", {subset.rows_skipped} rows SKIPPED" if subset.rows_skipped else ""
    return (
        f"{subset.images_uploaded} uploaded ({subset.images_passed_through} unchanged, "
        f"{subset.images_converted} converted), {subset.bytes_uploaded / 1e6:.1f} MB{there}{skipped}"
    )

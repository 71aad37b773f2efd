"""Every history that a run can have, as data; and runs in each phase."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, get_args

from vlm_runner.core import places
from vlm_runner.core.events import (
    CancelRequested,
    CreateRefused,
    CreateUncertain,
    DatasetFacts,
    EndpointFailed,
    EndpointReady,
    Entry,
    Event,
    HandedOver,
    ImagesStaged,
    JobCompleted,
    JobFailed,
    JobSubmitted,
    PlacesClaimed,
    RecordsWritten,
    Released,
    ReportWritten,
    RunCreated,
    RunFailed,
    ServedModel,
    ServingEnded,
    ServingRequested,
    SubsetStaged,
    TestsAnswered,
)
from vlm_runner.core.intents import intend_job, intend_serving
from vlm_runner.core.names import delete_command
from vlm_runner.core.run import Phase, Run
from vlm_runner.core.transitions import evolve
from vlm_runner.testing.world import ACCOUNT, tiny_spec

AT = datetime(2026, 11, 22, 12, tzinfo=UTC)
UID = "0" * 32
ARN = f"arn:aws:bedrock:us-east-1:{ACCOUNT}"
ENDPOINT = f"{ARN}:provisioned-model/pppppppppppp"


def created(**changes: Any) -> RunCreated:
    spec = tiny_spec(**changes.pop("sections", {}))
    values = {
        "run_id": "cats",
        "uid": UID,
        "spec": spec,
        "spec_fingerprint": spec.fingerprint,
        "account": ACCOUNT,
        "region": "us-east-1",
        "bucket": "bucket",
        "dataset": DatasetFacts(fingerprint="f", rows=8),
        "version": "0.1.0",
    }
    return RunCreated(**(values | changes))


def begun(**changes: Any) -> Run:
    return Run.begin(Entry(sequence=1, at=AT, event=created(**changes)))


def after(run: Run, *events: Event) -> Run:
    for event in events:
        run = evolve(run, entry(run, event))
    return run


def entry(run: Run, event: Event) -> Entry:
    return Entry(sequence=run.sequence + 1, at=run.updated_at + timedelta(minutes=1), event=event)


CLAIMED = PlacesClaimed(train=places.place("", places.NOTEBOOK, "train", "f" * 64))
STAGED = ImagesStaged(
    train=SubsetStaged(
        rows=8,
        images_uploaded=8,
        images_passed_through=8,
        images_converted=0,
        shards_skipped=0,
        bytes_uploaded=800,
    )
)
WRITTEN = RecordsWritten(train_uri="s3://bucket/data/train.jsonl", train_records=8)
SUBMITTED = JobSubmitted(arn=f"{ARN}:model-customization-job/amazon.nova-lite-v1:0:300k/jjjjjjjjjjjj")
COMPLETED = JobCompleted(
    model_arn=f"{ARN}:custom-model/amazon.nova-lite-v1:0:300k/mmmmmmmmmmmm", training_loss=0.5
)
RENTED = ServingRequested(arn=ENDPOINT)
SERVED = ServedModel(
    run_id="cats", uid="1" * 32, model_arn=COMPLETED.model_arn, records=WRITTEN, seconds=3600.0
)
ANSWERED = TestsAnswered(uri="s3://bucket/answers.jsonl", asked=2, held_out=False)


KINDS: dict[str, Any] = {event.model_fields["kind"].default: event for event in get_args(get_args(Event)[0])}


MADE: dict[str, Event] = {
    event.kind: event
    for event in (
        CLAIMED,
        STAGED,
        WRITTEN,
        SUBMITTED,
        COMPLETED,
        JobFailed(status="Failed", reason="bad data"),
        RENTED,
        EndpointReady(),
        EndpointFailed(reason="no capacity"),
        ANSWERED,
        ServingEnded(reason="Its time is over."),
        CancelRequested(reason="enough"),
        RunFailed(error="AwsUnavailable", reason="gone"),
        Released(deleted=(ENDPOINT,)),
        ReportWritten(uri="s3://bucket/report.json"),
    )
}
"""By kind: those that are the same for every run."""


def event_of(kind: str, run: Run) -> Event:
    """An event of this kind as a step, or the driver, would make it for `run`."""
    what: Any = "serving" if run.phase is Phase.REQUESTING else "job"
    match kind:
        case "job_intended":
            return intend_job(run)
        case "serving_intended":
            return intend_serving(run)
        case "create_uncertain":
            return CreateUncertain(what=what, cause="lost")
        case "create_refused":
            return CreateRefused(what=what, reason="quota")
        case "handed_over":
            delete = delete_command(run.spec.serving.mode, "a", "r")
            return HandedOver(arn=ENDPOINT, name="vr-cats", delete_command=delete)
        case _:
            made: Event = MADE[kind] if kind in MADE else KINDS[kind]()
            return made


HAPPY = (
    "places_claimed",
    "images_staged",
    "records_written",
    "job_intended",
    "job_submitted",
    "job_completed",
    "serving_intended",
    "serving_requested",
    "endpoint_ready",
    "tests_answered",
    "released",
    "report_written",
)


HAPPY_SERVING = (*HAPPY[6:10], "serving_ended", *HAPPY[10:])
"""Of a run that serves an earlier run's model."""


def happy_runs(**changes: Any) -> list[tuple[Run, tuple[Entry, ...]]]:
    """The run after each event of the happy path, with its history."""
    run = begun(**changes)
    history: tuple[Entry, ...] = (Entry(sequence=1, at=AT, event=run.created),)
    found = [(run, history)]
    for kind in HAPPY if run.created.serves is None else HAPPY_SERVING:
        new = entry(run, event_of(kind, run))
        run, history = evolve(run, new), (*history, new)
        found.append((run, history))
    return found

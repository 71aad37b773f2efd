"""
What can happen to a run: facts in the past tense, frozen, small, without behaviour.

The checkpoint's history is a list of `Entry`; a run is the fold of its history.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from vlm_runner.core.counts import TokenSum
from vlm_runner.spec import RunSpec, ServingMode


class Value(BaseModel):
    """Frozen, and tolerant of fields that a later version adds: they are kept, and written back."""

    model_config = ConfigDict(frozen=True, extra="allow")


class DatasetFacts(Value, frozen=True):
    """The data that this run is about, as it was when the run was created."""

    fingerprint: str
    revision: str | None = None
    rows: int
    validation_rows: int | None = None
    columns: tuple[str, ...] = ()
    images_verified: bool = False
    """Lint has read the pixels of every image that passes through unchanged, so staging need not."""


class BudgetFacts(Value, frozen=True):
    """What the run may spend, by the prices that were known when it was created; US dollars."""

    max_cost: float
    training: float
    calls: float
    storage: float = 0.0
    """Of the custom model, for a month."""
    per_hour: float | None = None
    """Price of the endpoint; None if nothing bills by the hour."""
    rent_seconds: float | None = None
    """How long it may rent before it must release; see `vlm_runner.core.budget`."""


class PlannedCost(Value, frozen=True):
    """What the plan said that the run costs, by the prices of that day; US dollars, None where not known."""

    tokens_trained: int
    """An estimate: Bedrock bills them, and reports no number."""
    training: float | None = None
    throughput: float | None = None
    calls: float | None = None
    """At most."""
    expected: float | None = None
    worst: float | None = None
    """With the release, and with the model's storage for a month; None also if nothing limits it."""
    storage_per_month: float | None = None


class Place(Value, frozen=True):
    """Where one split lies in the run's bucket: keys, and key prefixes that end with a slash."""

    images: str
    """Prefix of the images, which runs of the same images share."""
    data: str
    """Prefix of the claim and the markers of those images, and of all records made from them."""
    shards: str
    """Prefix of the record lines of this run's prompt, and so of all runs of the same content."""
    records: str
    """Key of the JSONL file."""


class PlacesClaimed(Value, frozen=True):
    """The run's keys in S3 were claimed, before anything was uploaded."""

    kind: Literal["places_claimed"] = "places_claimed"
    train: Place
    validation: Place | None = None


class SplitObjects(Value, frozen=True):
    """What S3 listed of a split when its records were written, so that changes by others are noticed."""

    by: Literal["etag", "size"] = "etag"
    """What is compared: sizes where the bucket's encryption gives equal bytes unequal ETags."""
    records: str
    """Of the JSONL file."""
    images: tuple[str, ...]
    """SHA-256 (16 hex digits of it) over keys and ETags or sizes of images, of `rows_each` rows each."""
    rows_each: int
    in_place: str | None = Field(default=None, exclude_if=lambda value: value is None)
    """SHA-256 (hex) over addresses and ETags of images that stay elsewhere in the bucket; None: none do."""


class RecordsWritten(Value, frozen=True):
    """The JSONL files are in S3."""

    kind: Literal["records_written"] = "records_written"
    train_uri: str
    train_records: int
    validation_uri: str | None = None
    validation_records: int = 0
    validation_in_job: bool = True
    """Whether the job gets the held-out records too; some models take no validation set."""
    train_objects: SplitObjects | None = Field(default=None, exclude_if=lambda value: value is None)
    """None: an earlier version wrote them, and nothing is compared."""
    validation_objects: SplitObjects | None = Field(default=None, exclude_if=lambda value: value is None)


class ServedModel(Value, frozen=True):
    """The model of an earlier run, which a run serves instead of training one."""

    run_id: str
    """Of the run that trained it."""
    uid: str
    model_arn: str
    records: RecordsWritten | None = None
    """That run's, which the test rows come from; None: the serving run stages rows of its own."""
    places: PlacesClaimed | None = None
    """Where those records lie; None also where an earlier version trained it."""
    held_out: bool = False
    """Whether the rows that the serving run stages are none that the model was trained on."""
    seconds: float | None = 0.0
    """How long it is served once the test rows are answered; None: until somebody ends it."""


class ParentModel(Value, frozen=True):
    """The custom model of an earlier run, which a run trains on from."""

    run_id: str
    uid: str
    model_arn: str


class RunCreated(Value, frozen=True):
    """The run was prepared and saved; nothing has been uploaded or created."""

    kind: Literal["run_created"] = "run_created"
    run_id: str
    uid: str
    """128 random bits in hex; every name and token of the run derives from it."""
    spec: RunSpec
    """With what the given spec left open settled: the serving mode and the model's hyperparameters."""
    spec_fingerprint: str
    """Of the spec as it was given."""
    account: str
    partition: str = "aws"
    region: str
    bucket: str
    folder: str | None = None
    """
    Prefix of the objects that no other run has: answers, report, training output. None in runs of earlier
    versions; see `vlm_runner.core.names.run_folder`.
    """
    dataset: DatasetFacts
    budget: BudgetFacts | None = None
    planned: PlannedCost | None = None
    """None if nobody looked at the rows before the run was created."""
    serving_reason: str = "as the spec says"
    """Why it is served as `spec.serving.mode` says: the spec that was given may have left it open."""
    version: str
    """Of vlm-runner, for the record."""
    serves: ServedModel | None = Field(default=None, exclude_if=lambda value: value is None)
    """None: the run trains a model of its own."""
    parent: ParentModel | None = Field(default=None, exclude_if=lambda value: value is None)
    """None: the run trains from the base model."""
    sweep: str | None = Field(default=None, exclude_if=lambda value: value is None)
    """The name of the sweep that began it."""


class SubsetStaged(Value, frozen=True):
    """One split's images are in S3, with the record lines made from them."""

    rows: int
    images_uploaded: int
    images_passed_through: int
    images_converted: int
    shards_skipped: int
    bytes_uploaded: int
    skipped_rows: tuple[str, ...] = ()
    """Rows left out under `on_bad_row = "skip"`, each with its reason; at most the first 100."""
    rows_skipped: int = 0
    images_there: int = 0
    """Images of records made now that an earlier run had uploaded."""
    images_in_place: int = Field(default=0, exclude_if=lambda value: not value)
    """Images of records made now that stay where they lie in S3."""


class ImagesStaged(Value, frozen=True):
    """All images are in S3."""

    kind: Literal["images_staged"] = "images_staged"
    train: SubsetStaged
    validation: SubsetStaged | None = None


class JobIntended(Value, frozen=True):
    """The run is about to create its customization job; `request` is frozen, and replayed as it is."""

    kind: Literal["job_intended"] = "job_intended"
    name: str
    token: str
    request: dict[str, Any]


class JobSubmitted(Value, frozen=True):
    """Bedrock accepted the model customization job."""

    kind: Literal["job_submitted"] = "job_submitted"
    arn: str
    adopted: bool = False
    """True if an earlier attempt had created it."""


class JobCompleted(Value, frozen=True):
    """The job is Completed, and its custom model is Active."""

    kind: Literal["job_completed"] = "job_completed"
    model_arn: str
    training_loss: float | None = None
    validation_loss: float | None = None


class JobFailed(Value, frozen=True):
    """The job ended as Failed or Stopped, or its model did."""

    kind: Literal["job_failed"] = "job_failed"
    status: str
    reason: str


class JobStalled(Value, frozen=True):
    """Bedrock has shown no change of the job for long; it is waited for all the same."""

    kind: Literal["job_stalled"] = "job_stalled"
    status: str = "InProgress"
    details: dict[str, str] = Field(default_factory=dict[str, str])
    """Of validation, data processing and training, the status, where Bedrock reports it."""
    seconds: float = 0.0
    """For how long."""


class JobErred(Value, frozen=True):
    """Bedrock ended the job by an internal error before it trained; another one follows."""

    kind: Literal["job_erred"] = "job_erred"
    arn: str = ""
    reason: str = ""
    attempt: int = 1
    """Jobs of this run that have ended so."""


class ServingIntended(Value, frozen=True):
    """The run is about to rent: a throughput or a deployment; `request` is frozen, and replayed as it is."""

    kind: Literal["serving_intended"] = "serving_intended"
    mode: ServingMode
    name: str
    token: str
    request: dict[str, Any]


class ServingRequested(Value, frozen=True):
    """Bedrock accepted the throughput or deployment; from here it bills."""

    kind: Literal["serving_requested"] = "serving_requested"
    arn: str
    adopted: bool = False
    deleted_at: AwareDatetime | None = None
    """When its dead man's switch deletes it."""


class CreateUncertain(Value, frozen=True):
    """A create was sent, or may have been, and its fate is unknown."""

    kind: Literal["create_uncertain"] = "create_uncertain"
    what: Literal["job", "serving"]
    cause: str


class CreateRefused(Value, frozen=True):
    """AWS refused a create. Nothing of it exists or can still appear, so nothing bills."""

    kind: Literal["create_refused"] = "create_refused"
    what: Literal["job", "serving"]
    reason: str


class EndpointReady(Value, frozen=True):
    """The throughput is InService, or the deployment Active."""

    kind: Literal["endpoint_ready"] = "endpoint_ready"


class EndpointFailed(Value, frozen=True):
    """The throughput or deployment ended as Failed, or was deleted."""

    kind: Literal["endpoint_failed"] = "endpoint_failed"
    reason: str


class TestAnswer(Value, frozen=True):
    __test__ = False

    row: int
    answer: str
    reference: str


class TestsAnswered(Value, frozen=True):
    """The test calls were answered; all answers are at `uri`."""

    __test__ = False

    kind: Literal["tests_answered"] = "tests_answered"
    uri: str | None
    asked: int
    held_out: bool
    """False: there were no held-out rows, and training rows were asked."""
    input_tokens: TokenSum = 0
    output_tokens: TokenSum = 0
    """Of the tuned model's answers, as AWS reports them."""
    base_input_tokens: TokenSum = Field(default=0, exclude_if=lambda value: not value)
    base_output_tokens: TokenSum = Field(default=0, exclude_if=lambda value: not value)
    first: TestAnswer | None = None
    refused: int = 0
    """Rows that Bedrock refused; each is noted with its reason."""
    base_error: str | None = None
    """Why the base model could not be asked, where it was to be."""


class ServingEnded(Value, frozen=True):
    """The time for which the model was to be served is over, or somebody ended it."""

    kind: Literal["serving_ended"] = "serving_ended"
    reason: str = ""


class CancelRequested(Value, frozen=True):
    """A cancel was requested, and the run's driver has seen it."""

    kind: Literal["cancel_requested"] = "cancel_requested"
    reason: str = ""


class RunFailed(Value, frozen=True):
    """A step failed with an error that no retry will change."""

    kind: Literal["run_failed"] = "run_failed"
    error: str
    """The name of the exception, or of the limit that was reached."""
    reason: str
    exit_code: int | None = Field(default=None, exclude_if=lambda value: value is None)
    """Read from checkpoints of earlier versions; never written: exit codes belong to the command line."""


class Released(Value, frozen=True):
    """Nothing of this run bills any more."""

    kind: Literal["released"] = "released"
    deleted: tuple[str, ...] = ()
    job_stopped: bool = False


class HandedOver(Value, frozen=True):
    """The endpoint was left running, as `serving.keep` asks: it bills until the user deletes it."""

    kind: Literal["handed_over"] = "handed_over"
    arn: str
    name: str
    delete_command: str
    expires_at: AwareDatetime | None = None


class RunCost(Value, frozen=True):
    """What a run has cost when its report was written, by the prices of that day; US dollars."""

    known: float
    """Of what has a known price."""
    complete: bool = True
    about: bool = True
    """Whether it rests on an estimate, or on a price that only one source tells."""
    per_month: float | None = None
    """Of what it leaves, until that is deleted; None: a price is not known."""


class ReportWritten(Value, frozen=True):
    """The report is in S3; the run is over."""

    kind: Literal["report_written"] = "report_written"
    uri: str | None = None
    html_uri: str | None = None
    scores: dict[str, dict[str, float]] = Field(default_factory=dict)
    """Of each model that was asked, the mean of each metric."""
    verdict: str | None = None
    """Whether the tuned model is better than its base, in a few words; None: there is no answer of it."""
    cost: RunCost | None = Field(default=None, exclude_if=lambda value: value is None)


Event = Annotated[
    RunCreated
    | PlacesClaimed
    | ImagesStaged
    | RecordsWritten
    | JobIntended
    | JobSubmitted
    | JobCompleted
    | JobFailed
    | JobStalled
    | JobErred
    | ServingIntended
    | ServingRequested
    | CreateUncertain
    | CreateRefused
    | EndpointReady
    | EndpointFailed
    | TestsAnswered
    | ServingEnded
    | CancelRequested
    | RunFailed
    | Released
    | HandedOver
    | ReportWritten,
    Field(discriminator="kind"),
]


class Entry(Value, frozen=True):
    """One line of a run's history."""

    sequence: int
    at: AwareDatetime
    """UTC, for display. No decision depends on it, except the deadlines that users ask for."""
    event: Event


class Facts(Value, frozen=True):
    """What a run keeps of its history: each field holds the fact of its name, once it has happened."""

    places: PlacesClaimed | None = None
    """None also in runs of earlier versions, which had the notebook's keys: see `vlm_runner.core.places`."""
    images: ImagesStaged | None = None
    records: RecordsWritten | None = None
    job_intent: JobIntended | None = None
    job: JobSubmitted | None = None
    model: JobCompleted | None = None
    job_failure: JobFailed | None = None
    job_stall: JobStalled | None = Field(default=None, exclude_if=lambda value: value is None)
    job_error: JobErred | None = Field(default=None, exclude_if=lambda value: value is None)
    """The last, if there was one."""
    trained_from: AwareDatetime | None = Field(default=None, exclude_if=lambda value: value is None)
    """Of a run whose training has a deadline, when its job was accepted."""
    serving_intent: ServingIntended | None = None
    serving: ServingRequested | None = None
    rented_from: AwareDatetime | None = None
    """Of a run with a budget, when it said that it would rent: no bill for rent begins before that."""
    endpoint: EndpointReady | None = None
    endpoint_failure: EndpointFailed | None = None
    uncertain_job: CreateUncertain | None = None
    uncertain_serving: CreateUncertain | None = None
    refused_job: CreateRefused | None = None
    refused_serving: CreateRefused | None = None
    tests: TestsAnswered | None = None
    serving_end: ServingEnded | None = Field(default=None, exclude_if=lambda value: value is None)
    cancelled: CancelRequested | None = None
    failure: RunFailed | None = None
    released: Released | None = None
    handed_over: HandedOver | None = None
    report: ReportWritten | None = None

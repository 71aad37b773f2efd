"""
The JSON that programs parse: `--json` of every command, `report.json`, and the lines of `vlm-runner events`.

Keys are stable: a later version adds some and removes none. A fact that a run does not have is null.
`docs/schemas/` has a JSON Schema of each, generated from these types.
"""

from __future__ import annotations

from typing import Any, Final, Literal, NotRequired

from typing_extensions import TypedDict

from vlm_runner.core.events import Entry


class DatasetJson(TypedDict):
    fingerprint: str
    revision: str | None
    rows: int
    validation_rows: int | None
    columns: list[str]
    images_verified: bool
    """Lint has read the pixels of every image that is uploaded unchanged."""


class StagedSubsetJson(TypedDict):
    rows: int
    images_uploaded: int
    images_passed_through: int
    images_converted: int
    shards_skipped: int
    bytes_uploaded: int
    skipped_rows: list[str]
    """At most the first 100, each with its reason."""
    rows_skipped: int
    images_there: NotRequired[int]
    """Images of records made now that an earlier run had uploaded; absent in runs of earlier versions."""
    images_in_place: NotRequired[int]
    """Images of records made now that stay where they lie in S3; absent where none do."""


class StagedJson(TypedDict):
    train: StagedSubsetJson
    validation: StagedSubsetJson | None


class RecordsJson(TypedDict):
    train_uri: str
    train_records: int
    validation_uri: str | None
    validation_records: int
    validation_in_job: bool
    """Whether the job got the held-out records too; some models take no validation set."""


class FirstAnswerJson(TypedDict):
    row: int
    answer: str
    reference: str


class AnsweredJson(TypedDict):
    uri: str | None
    """Of `answers.jsonl`."""
    asked: int
    held_out: bool
    """False: there were no held-out rows, and training rows were asked."""
    input_tokens: int
    output_tokens: int
    """Of the tuned model's answers, as AWS reports them."""
    base_input_tokens: NotRequired[int]
    base_output_tokens: NotRequired[int]
    """Absent where the base model was not asked."""
    first: FirstAnswerJson | None
    refused: int
    base_error: str | None


class BillingJson(TypedDict):
    """Something that bills by the hour, or may."""

    kind: Literal["provisioned throughput", "custom model deployment"]
    name: str
    arn: str | None
    delete_command: str
    deletes_itself_at: str | None
    """By its dead man's switch; ISO 8601."""


class TimelineJson(TypedDict):
    sequence: int
    at: str
    event: str
    """The event's kind."""


class RunJson(TypedDict):
    """A run: what it is, how far it got, and what it made. Times are ISO 8601."""

    run_id: str
    phase: str
    outcome: Literal["succeeded", "failed", "cancelled"] | None
    reason: str | None
    account: str
    region: str
    bucket: str
    created_at: str
    updated_at: str
    base_model: str
    from_run: str | None
    """The run whose custom model it trains on from; null: it trains from the base model."""
    serves: str | None
    """The run whose model it serves; null: it trains its own."""
    dataset: DatasetJson
    images: StagedJson | None
    records: RecordsJson | None
    job_name: str | None
    job_arn: str | None
    model_arn: str | None
    training_loss: float | None
    validation_loss: float | None
    endpoint_arn: str | None
    tests: AnsweredJson | None
    deleted: list[str]
    may_bill: list[BillingJson]
    report_uri: str | None
    spec: dict[str, Any]
    spec_fingerprint: str
    timeline: list[TimelineJson]


class RunResultJson(RunJson):
    """`start`, `resume`, `cancel`."""

    checkpoint: str
    error: str | None
    """Why this process stopped before the run was done."""


class RunStatusJson(RunJson):
    """`status`."""

    state: str
    """RUNNING, STOPPED, STALE, or the outcome."""
    checkpoint: str
    halted: str | None
    """Why the last process stopped before the run was done, if by an error."""
    money: MoneyJson


class DetachedRunJson(TypedDict):
    """`start --detach`."""

    run_id: str
    log: str


class RunRowJson(TypedDict):
    """One run of `list`. One that cannot be read has state UNREADABLE and an `error`."""

    run_id: str
    state: str
    phase: str
    updated_at: str
    may_bill: list[BillingJson]
    created_at: NotRequired[str]
    base_model: NotRequired[str]
    from_run: NotRequired[str | None]
    """The run whose model it trains on from, or serves; null: neither."""
    cost_usd: NotRequired[float]
    cost_complete: NotRequired[bool]
    cost_about: NotRequired[bool]
    """Whether `cost_usd` rests on an estimate, or on a price that only one source tells."""
    per_hour_usd: NotRequired[float | None]
    per_month_usd: NotRequired[float | None]
    """Of what bills by the hour and the model's storage, until deleted; null: a price is unknown."""
    error: NotRequired[str]


class MoneyLineJson(TypedDict):
    item: str
    detail: str
    usd: float | None
    """Null where the price or the amount is not known."""
    about: bool
    """Whether the amount rests on an estimate, or on a price that only one source tells."""
    note: str


class MoneyJson(TypedDict):
    """What a run has cost so far, as far as the catalogue knows prices."""

    lines: list[MoneyLineJson]
    known_usd: float
    complete: bool
    """Whether `known_usd` is all: every line has an amount."""
    about: bool
    """Whether any of the amounts is."""
    per_hour_usd: float | None
    storage_per_month_usd: float | None
    per_month_usd: float | None
    """Of what bills by the hour and the model's storage, until deleted; null: a price is unknown."""
    prices_from: str | None
    planned_usd: float | None
    """What the plan expected, by the prices of that day; null if nobody looked at the rows before."""
    planned_at_most_usd: float | None


class ModelScoresJson(TypedDict):
    """How one model answered, over all rows."""

    answered: int
    failed: int
    cut_off: int
    scores: dict[str, float]
    """The mean of each metric, by its name."""
    characters: float | None
    seconds_median: float | None
    seconds_longest: float | None
    input_tokens: int
    output_tokens: int
    cost_usd: float | None


class IntervalJson(TypedDict):
    """A score or a difference of two, and where it lies with 95 % confidence (bootstrap over rows)."""

    value: float
    low: float
    high: float
    rows: int


class VerdictJson(TypedDict):
    """Whether the tuned model is better than its base model."""

    metric: str
    kind: Literal["better", "worse", "within_noise", "too_few_rows", "not_compared"]
    tuned: IntervalJson
    base: IntervalJson | None
    change: IntervalJson | None
    """Tuned less base, on the rows that both answered."""
    sentence: str


class EvaluationJson(TypedDict):
    held_out: bool | None
    verdict: VerdictJson | None
    """None: there is no answer of the tuned model."""
    models: dict[str, ModelScoresJson]
    """By `tuned` and `base`."""


class PhaseJson(TypedDict):
    phase: str
    since: str
    until: str
    seconds: float
    open: bool
    """The run is in it now."""


class LossesJson(TypedDict):
    """Curves of points: step, loss."""

    training: list[list[float]]
    validation: list[list[float]]


class JudgedFileJson(TypedDict):
    """How many records of one of the job's files Bedrock took, by the manifest that it leaves."""

    file: str
    records: int
    accepted: int
    """Whole."""
    partly_accepted: int
    rejected: int


class RemainsJson(TypedDict):
    """Something that is left of the run, and the command that uses, continues or deletes it."""

    what: str
    why: str
    command: str


class ReportJson(RunJson):
    """`report.json`, and `report --json` of one run; of several runs that is a list."""

    money: MoneyJson
    phases: list[PhaseJson]
    evaluation: EvaluationJson
    losses: LossesJson
    judged_records: list[JudgedFileJson]
    """Empty where Bedrock left no manifest."""
    remains: list[RemainsJson]
    missing: list[str]
    """What the report lacks, and why."""
    version: str


class FindingJson(TypedDict):
    code: str
    severity: Literal["error", "warning", "note"]
    message: str
    why: str
    fix: str
    subset: str | None
    row: int | None
    """From 0, in the subset or the JSONL file."""
    field: str | None
    fixes: str | None
    """The setting of the spec that would fix it."""


class SubsetStatsJson(TypedDict):
    rows: int
    usable: int
    images: int
    image_bytes: int
    converted: int
    in_place: int
    """Images that stay where they lie in S3."""
    in_place_bytes: int
    """Of them, counted in `image_bytes` too."""
    text_tokens: int
    image_tokens: int
    longest: int
    """Tokens of the longest record."""
    tokens: int


class LintReportJson(TypedDict):
    model: str
    source: str
    counts: dict[str, int]
    """By severity."""
    census: dict[str, SubsetStatsJson]
    """By subset."""
    findings: list[FindingJson]


class LintJson(LintReportJson):
    """`lint`."""

    fixed: list[str]
    """What `--fix` wrote into the spec."""


class CheckJson(TypedDict):
    """One check of `doctor`."""

    code: str
    status: str
    about: str
    message: str
    fix: str | None


class ResourceJson(TypedDict):
    kind: str
    name: str
    action: str
    """create, adopt or reuse."""


class UploadJson(TypedDict):
    subset: str
    rows: int
    rows_there: int
    bytes: int
    bytes_there: int
    images: str
    """Key prefix of the images in the run's bucket."""
    records: str
    """Key of the JSONL file."""
    images_per_row: float
    objects: int


class CostJson(TypedDict):
    """US dollars; null where a price is not known."""

    currency: Literal["USD"]
    tokens: int
    epochs: int
    tokens_trained: int
    training: float | None
    throughput_per_hour: float | None
    throughput_hours: float | None
    throughput: float | None
    test_calls_at_most: float | None
    expected: float | None
    worst_case: float | None
    per_month_if_forgotten: float | None
    storage_per_month: float | None
    unknown: list[str]
    """Prices that are needed and not known."""
    about: list[str]
    """Prices that only one source tells, which is not AWS itself."""
    price_troubles: list[str]
    """Why prices are not those that AWS lists today."""
    prices_from: str | None


class BudgetJson(TypedDict):
    max_cost: float
    training: float
    calls: float
    per_hour: float | None
    rent_seconds: float | None


class SettingJson(TypedDict):
    name: str
    value: str
    origin: Literal["flag", "environment", "file", "default"]


class ServingPlanJson(TypedDict):
    """How the run is served, and what the other way would cost; US dollars."""

    mode: Literal["provisioned", "on-demand", "none"]
    reason: str
    other_mode: Literal["provisioned", "on-demand"] | None
    """Null where the model can be served in no other way, or is not to be served."""
    other_expected: float | None
    other_per_hour: float | None


class PlanJson(TypedDict):
    """`plan`."""

    run_id: str | None
    model: str
    lint: LintReportJson
    doctor: list[CheckJson]
    resources: list[ResourceJson]
    uploads: list[UploadJson]
    serving: ServingPlanJson
    cost: CostJson
    budget: BudgetJson | None
    refusal: str | None
    """Why the run would be refused, if it would."""
    settings: list[SettingJson]


class PreviewTurnJson(TypedDict):
    """One turn of a record."""

    role: Literal["user", "assistant"]
    text: str
    """Its texts and, where they stand, its images: `[image 1]`."""
    images: list[int]
    """From 1."""


class PriceJson(TypedDict):
    name: str
    """As the model catalogue calls it."""
    usd: float | None
    source: str | None
    date: str | None
    about: bool
    """Only one source tells it, which is not AWS itself."""


class BilledLineJson(TypedDict):
    usage_type: str
    usd: float


class BilledJson(TypedDict):
    """`cost`: what AWS billed for a run, by its tags."""

    run_id: str
    currency: Literal["USD"]
    lines: list[BilledLineJson]
    billed_usd: float | None
    """Null where nothing is billed under its tag (yet), or the tag is not active for cost allocation."""
    estimated_usd: float
    planned_usd: float | None


class ModelPricesJson(TypedDict):
    """One model of `prices`."""

    model: str
    currency: Literal["USD"]
    prices: list[PriceJson]


class PreviewJson(TypedDict):
    """`preview`: one row as it is sent, and what lint finds in it."""

    subset: str
    row: int
    source_row: int
    system: NotRequired[str | None]
    """Absent without a system prompt; a text that cannot be rendered is null."""
    user: str | None
    """The last question; null where it cannot be rendered."""
    assistant: str | None
    turns: list[PreviewTurnJson]
    """The whole conversation; empty where the row makes no record."""
    accepted: list[str]
    """Further answers that count as right in the test calls."""
    tokens: dict[str, int]
    image_bytes: int
    image_count: int
    images: list[str]
    """The files to which its images were written."""
    findings: list[FindingJson]


class RentedJson(TypedDict):
    """One endpoint of `reap`."""

    kind: Literal["provisioned throughput", "custom model deployment"]
    name: str
    arn: str
    status: str
    created_at: str | None
    run_id: str | None
    outlived: bool
    """Whether it outlived its run or its time; only such endpoints are deleted."""
    explained: bool
    """False where no run that can be read says why it is there."""
    reason: str
    deleted: bool
    trouble: str | None
    price_per_hour: str | None
    delete_command: str


class AnswerJson(TypedDict):
    """`ask`."""

    run_id: str
    """Of the run whose endpoint answered."""
    endpoint_arn: str
    answer: str
    stop_reason: str
    input_tokens: int
    output_tokens: int
    cost_usd: float | None
    """Of this call; null: not known, or served by the hour."""


class TrainedModelJson(TypedDict):
    """One custom model of `models` and `reap --models`."""

    arn: str
    name: str
    run_id: str
    """That trained it, by its tags."""
    base_model: str | None
    """Null where no run of this store trained it."""
    from_run: str | None
    """The run whose model its training continued from."""
    created_at: str | None
    status: str
    scores: dict[str, float]
    """Of the tuned model in its run's test."""
    kept: bool
    endpoints: list[str]
    """ARNs of what serves it now."""
    used_by: list[str]
    """Ids of runs that are not done and need it."""
    storage_per_month_usd: float | None
    deleted: bool
    trouble: str | None


class DeletedDataJson(TypedDict):
    """One split of a run in its bucket."""

    images: str
    records: str
    images_used_by: list[str]
    """Ids of runs for which they stay; empty: they are deleted. Those of records as well."""
    records_used_by: list[str]


class DeletionJson(TypedDict):
    """`delete`."""

    run_id: str
    deleted: bool
    in_use: list[str]
    """Why it cannot be deleted."""
    runs: list[str]
    """Whose checkpoints and folders go: the run, and those that served its model."""
    endpoint_arn: str | None
    model_arn: str | None
    data: list[DeletedDataJson]


class AssumptionJson(TypedDict):
    id: str
    level: int
    claim: str
    source: str
    verdict: Literal["same", "different", "unknown"]
    did: str
    """What AWS did."""


class VerifiedJson(TypedDict):
    """`verify`."""

    passed: list[int]
    """The levels that were passed, in this process or an earlier one."""
    held: str | None
    """Why it did not go as far as was wanted."""
    left: list[str]
    """What the sweep could not take away."""
    assumptions: list[AssumptionJson]


class DifferenceJson(TypedDict):
    operation: str
    kind: Literal["status", "code", "message", "members", "types", "values", "states"]
    at: str
    """The assumption or the member; empty for the whole answer."""
    aws: str
    sandbox: str
    known: str | None
    """The reason for which it is let be."""


class SubmittedJson(TypedDict):
    """`submit`."""

    run_id: str
    task: str
    checkpoint_uri: str


class SweepRowJson(TypedDict):
    """One run of `sweep`, the best first."""

    run_id: str
    values: dict[str, Any]
    outcome: str
    """"not begun" if the sweep was decided before (`stop_after`)."""
    phase: str | None
    training_loss: float | None
    validation_loss: float | None
    model_arn: str | None
    metric: str
    """What the runs are ranked by."""
    value: float | None
    low: float | None
    """Where the value lies with 95 % confidence; null for a loss, which is one number."""
    high: float | None
    rows: int | None
    """Test rows that it was measured on."""
    best: bool
    within_noise: bool | None
    """Whether the difference to the best may be chance; null where that is not known."""
    cost_usd: float | None
    """So far, as far as prices are known; null where the run does not exist."""
    cost_complete: bool
    cost_about: bool
    """Whether `cost_usd` rests on an estimate, or on a price that only one source tells."""
    per_month_usd: float | None
    """Of what bills by the hour and the model's storage, until deleted; null: a price is unknown."""
    answers: str | None
    report: str | None
    reason: str | None


class PlannedRunJson(TypedDict):
    """One run of `sweep --dry-run`."""

    run_id: str
    values: dict[str, Any]
    """What it differs in: dotted paths into the spec."""
    group: str
    """Runs of one group share their uploads."""


class PipelineJson(TypedDict):
    """`sagemaker upsert`."""

    pipeline: str


class PipelineStartJson(TypedDict):
    """`sagemaker start`."""

    run_id: str
    execution: str


class PipelineStepJson(TypedDict):
    name: str
    status: str
    reason: str | None
    job_arn: str | None
    said: str | None
    """The last words of a container that failed."""


class PipelineExecutionJson(TypedDict):
    """`sagemaker describe` and `sagemaker wait`."""

    arn: str
    status: str
    reason: str | None
    name: str | None
    steps: list[PipelineStepJson]


OUTPUTS: Final[dict[str, Any]] = {
    "start": RunResultJson,
    "start-detach": DetachedRunJson,
    "resume": RunResultJson,
    "cancel": RunResultJson,
    "serve": RunResultJson | list[RunResultJson],
    "serve-detach": DetachedRunJson,
    "ask": AnswerJson,
    "models": list[TrainedModelJson],
    "delete": DeletionJson,
    "status": RunStatusJson,
    "list": list[RunRowJson],
    "events": Entry,
    "report": ReportJson | list[ReportJson],
    "lint": LintJson,
    "doctor": list[CheckJson],
    "plan": PlanJson,
    "preview": PreviewJson,
    "prices": list[ModelPricesJson],
    "cost": BilledJson,
    "iam": dict[str, Any],
    "reap": list[RentedJson],
    "reap-models": list[TrainedModelJson],
    "verify": VerifiedJson,
    "sandbox-check": list[DifferenceJson],
    "submit": SubmittedJson,
    "sweep": list[SweepRowJson],
    "sweep-dry-run": list[PlannedRunJson],
    "sagemaker-upsert": PipelineJson,
    "sagemaker-start": PipelineStartJson,
    "sagemaker-describe": PipelineExecutionJson,
    "sagemaker-wait": PipelineExecutionJson,
}
"""Each command's JSON, by the name of its file in `docs/schemas/`; of `events`, one line."""


def json_schema(output: str) -> dict[str, Any]:
    """The JSON Schema (2020-12) of an entry of `OUTPUTS`."""
    from pydantic import TypeAdapter  # noqa: PLC0415 - types alone should load fast

    schema = TypeAdapter(OUTPUTS[output]).json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}

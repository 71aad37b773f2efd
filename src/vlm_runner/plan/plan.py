"""A plan as values, as JSON, and as text for a person who is about to pay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from vlm_runner.describe import MODES
from vlm_runner.dollars import about, bound, dollars
from vlm_runner.lint.finding import Severity
from vlm_runner.plan.cost import OTHER
from vlm_runner.spec import ServingMode

if TYPE_CHECKING:
    from decimal import Decimal

    from vlm_runner.core.events import BudgetFacts, RunCreated
    from vlm_runner.core.run import Run
    from vlm_runner.json_output import BudgetJson, PlanJson, ServingPlanJson, UploadJson
    from vlm_runner.lint.finding import LintReport
    from vlm_runner.plan.check import Check
    from vlm_runner.plan.cost import Cost
    from vlm_runner.spec import RunSpec


@dataclass(frozen=True, slots=True)
class Upload:
    """What of one subset is in S3 already, and what is to go there."""

    subset: str
    rows: int
    rows_there: int
    bytes: int
    """Of what is to be uploaded; an estimate where images are converted."""
    bytes_there: int
    images: str
    """Key prefix in the run's bucket."""
    records: str
    """Key of the JSONL file."""
    images_per_row: float = 1.0

    @property
    def objects(self) -> int:
        return round((self.rows - self.rows_there) * self.images_per_row)

    @property
    def objects_there(self) -> int:
        return round(self.rows_there * self.images_per_row)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a setting came from."""

    name: str
    value: str
    origin: Literal["flag", "environment", "file", "default"]


@dataclass(frozen=True, slots=True)
class Plan:
    spec: RunSpec
    model: str
    report: LintReport
    cost: Cost
    serving_reason: str
    """Why the run is served as `spec.serving.mode` says."""
    origins: tuple[Origin, ...]
    created: RunCreated | None = None
    """None: the run exists already, or AWS was not asked."""
    existing: Run | None = None
    resources: tuple[tuple[str, str, str], ...] = ()
    """Kind, name, and what happens to it: create, adopt, reuse."""
    uploads: tuple[Upload, ...] = ()
    doctor: tuple[Check, ...] = ()
    budget: BudgetFacts | None = None
    price_troubles: tuple[str, ...] = ()
    """Why prices are not AWS's of today, in a sentence each."""
    refusal: str | None = None
    """Why the run would be refused, if it would."""


def plan_json(plan: Plan) -> PlanJson:
    cost = plan.cost
    return {
        "run_id": _run_id(plan),
        "model": plan.spec.model.base,
        "lint": plan.report.as_json(),
        "doctor": [check.as_json() for check in plan.doctor],
        "resources": [
            {"kind": kind, "name": name, "action": action} for kind, name, action in plan.resources
        ],
        "uploads": [_upload_json(upload) for upload in plan.uploads],
        "serving": _serving_json(plan),
        "cost": {
            "currency": "USD",
            "tokens": cost.tokens,
            "epochs": cost.epochs,
            "tokens_trained": cost.tokens_trained,
            "training": _number(cost.training),
            "throughput_per_hour": _number(cost.per_hour),
            "throughput_hours": _number(cost.hours),
            "throughput": _number(cost.throughput),
            "test_calls_at_most": _number(cost.calls),
            "expected": _number(cost.expected),
            "worst_case": _number(cost.worst),
            "per_month_if_forgotten": _number(cost.per_month_if_forgotten),
            "storage_per_month": _number(cost.storage_per_month),
            "unknown": list(cost.unknown),
            "about": list(cost.about),
            "price_troubles": list(plan.price_troubles),
            "prices_from": cost.prices_from,
        },
        "budget": _budget_json(plan.budget),
        "refusal": plan.refusal,
        "settings": [
            {"name": origin.name, "value": origin.value, "origin": origin.origin} for origin in plan.origins
        ],
    }


def _serving_json(plan: Plan) -> ServingPlanJson:
    mode, other = plan.spec.serving.mode, plan.cost.other
    # A settled spec has one way to serve; "auto" is not among them.
    named: Any = mode.value
    other_named: Any = OTHER[mode].value if other is not None else None
    return {
        "mode": named,
        "reason": plan.serving_reason,
        "other_mode": other_named,
        "other_expected": _number(other.expected) if other is not None else None,
        "other_per_hour": _number(other.per_hour) if other is not None else None,
    }


def _upload_json(upload: Upload) -> UploadJson:
    return {
        "subset": upload.subset,
        "rows": upload.rows,
        "rows_there": upload.rows_there,
        "bytes": upload.bytes,
        "bytes_there": upload.bytes_there,
        "images": upload.images,
        "records": upload.records,
        "images_per_row": upload.images_per_row,
        "objects": upload.objects,
    }


def _budget_json(budget: BudgetFacts | None) -> BudgetJson | None:
    if budget is None:
        return None
    return {
        "max_cost": budget.max_cost,
        "training": budget.training,
        "calls": budget.calls,
        "per_hour": budget.per_hour,
        "rent_seconds": budget.rent_seconds,
    }


def _number(value: Decimal | None) -> float | None:
    return None if value is None else float(value)


def _run_id(plan: Plan) -> str | None:
    if plan.existing is not None:
        return plan.existing.run_id
    return plan.created.run_id if plan.created is not None else None


def plan_text(plan: Plan, *, settings: bool = True) -> str:
    return "\n".join(
        line
        for part in (
            _head(plan),
            data_text(plan),
            uploads_text(plan),
            _resources(plan),
            _money(plan),
            checks_text(plan),
        )
        for line in part
    ) + ("\n" + "\n".join(_settings(plan)) if settings and plan.origins else "")


def _head(plan: Plan) -> list[str]:
    """First of all, in one line, what it will do and cost."""
    if plan.existing is not None:
        goes_on = f"Run {plan.existing.run_id} exists, and goes on from phase {plan.existing.phase}."
        return [goes_on, headline(plan.cost)]
    train = next(iter(plan.report.census.values()), None)
    rows = f" on {train.usable:,} rows" if train is not None else ""
    lines = [f"Fine-tune {plan.model}{rows} for {_sum(plan.cost)}."]
    if (created := plan.created) is not None:
        lines.append(f"Run {created.run_id} in account {created.account}, {created.region}.")
    return lines


def headline(cost: Cost) -> str:
    """What it will cost, in one line."""
    return f"It costs {_sum(cost)}."


def _sum(cost: Cost) -> str:
    if cost.unknown:
        return f"an unknown sum: no price is known for {', '.join(cost.unknown)}"
    most = "with no limit" if cost.worst is None else f"at most {bound(cost.worst)}"
    left = f"{dollars(cost.storage_per_month)} a month while the model exists"
    if cost.rents:
        left += f", and {bound(cost.per_month_if_forgotten)} if its throughput were forgotten"
    return f"{about(dollars(cost.expected), estimated=cost.estimated)}, {most}; then {left}"


def data_text(plan: Plan) -> list[str]:
    errors, warnings = plan.report.count(Severity.ERROR), plan.report.count(Severity.WARNING)
    lines = ["", f"Data: {plan.spec.dataset.source}, {errors:,} errors and {warnings:,} warnings in lint"]
    for name, census in plan.report.census.items():
        lines.append(
            f"  {name}: {census.rows:,} rows, {census.images:,} images of {census.image_bytes:,} bytes "
            f"({census.converted:,} are converted{_left(census.in_place)}), about {census.tokens:,} tokens"
        )
    lines += [f"  {finding.message}" for finding in plan.report.findings if finding.code == "D413"]
    return lines


def _left(images: int) -> str:
    return f", {images:,} stay where they lie" if images else ""


def uploads_text(plan: Plan) -> list[str]:
    lines = ["", "Upload:"] if plan.uploads else []
    for upload in plan.uploads:
        there = f"; {upload.objects_there:,} are there already" if upload.rows_there else ""
        lines.append(f"  {upload.subset}: {upload.objects:,} images, about {upload.bytes:,} bytes{there}")
        lines.append(f"    to {upload.images}, and the records to {upload.records}")
    return lines


def _resources(plan: Plan) -> list[str]:
    lines = ["", f"Serving: {_serving(plan)}"]
    listed = [f"  {action:<7}{kind:<24}{name}" for kind, name, action in plan.resources]
    listed += [f"  {'with':<7}{what:<24}{value}" for what, value in _given(plan.spec)]
    return [*lines, *(["", "Resources:"] if listed else []), *listed]


def _given(spec: RunSpec) -> list[tuple[str, str]]:
    """What the spec says of how they are made: keys, VPC and tags."""
    vpc, storage = spec.training.vpc, spec.storage
    found = [
        ("model's KMS key", spec.training.kms_key),
        ("encryption of uploads", " ".join(filter(None, (storage.sse, storage.kms_key)))),
        ("job's subnets", ", ".join(vpc.subnets) if vpc is not None else None),
        ("job's security groups", ", ".join(vpc.security_groups) if vpc is not None else None),
        ("tags", ", ".join(f"{key} = {value}" for key, value in spec.tags.items())),
    ]
    return [(what, value) for what, value in found if value]


def _serving(plan: Plan) -> str:
    mode, other = plan.spec.serving.mode, plan.cost.other
    if mode is ServingMode.NONE:
        return "none; the model is trained only"
    said = f"{MODES[mode.value]}, {plan.serving_reason}"
    if other is None:
        return said
    rate = f" ({dollars(other.per_hour)} an hour)" if other.rents else ""
    sum_of_other = about(dollars(other.expected), estimated=other.estimated)
    known = sum_of_other if other.expected is not None else "an unknown sum"
    return f"{said}. With {MODES[OTHER[mode].value]} the run would cost {known}{rate}."


def _money(plan: Plan) -> list[str]:
    cost, spec = plan.cost, plan.spec
    trained = f"{cost.tokens:,} tokens x {cost.epochs} epochs"
    source = cost.prices_from or "none known"
    lines = ["", f"Cost (US dollars; prices: {source}; tokens are estimates):"]
    lines.append(f"  training    {dollars(cost.training):>12}  {trained}")
    if cost.rents:
        per_hour = "an unknown price" if cost.per_hour is None else dollars(cost.per_hour)
        hours = f"{per_hour} an hour x about {cost.hours:.2f} hours"
        lines.append(f"  throughput  {dollars(cost.throughput):>12}  {hours}")
    lines.append(f"  test calls  {bound(cost.calls):>12}  at most, for {spec.test.rows} rows")
    lines.append(f"  expected    {dollars(cost.expected):>12}")
    endless = cost.rents and cost.kept_hours is None
    worst = "no limit" if endless else bound(cost.worst)
    kept = "for all the time that it may be kept, " if cost.rents and cost.kept_hours else ""
    release = "with its release and " if cost.rents else "with "
    lines.append(f"  worst case  {worst:>12}  {kept}{release}the model's storage for a month")
    if cost.rents:
        lines.append(
            f"  forgotten   {bound(cost.per_month_if_forgotten):>12}  a month, until somebody deletes it"
        )
    lines.append(
        f"  storage     {dollars(cost.storage_per_month):>12}  a month for the custom model, which stays"
    )
    if plan.budget is not None:
        until = plan.budget.rent_seconds
        rent = f"; the throughput is released after {until / 3600:.1f} hours at the latest" if until else ""
        lines.append(f"  max_cost    ${plan.budget.max_cost:>11,.2f}  holds{rent}")
    if cost.about:
        lines.append(f"  About, by one source that is not AWS: {', '.join(cost.about)}.")
    if cost.unknown:
        lines.append(
            f"  Not known: {', '.join(cost.unknown)}. See vlm-runner plan --help for how to set them."
        )
    return [*lines, *(f"  {trouble}" for trouble in plan.price_troubles if cost.unknown or cost.about)]


def checks_text(plan: Plan) -> list[str]:
    lines = [f"  {check.line}" for check in plan.doctor if check.matters]
    head = ["", "Doctor:"] if lines else []
    refusal = ["", f"REFUSED: {plan.refusal}"] if plan.refusal else []
    return [*head, *lines, *refusal]


def _settings(plan: Plan) -> list[str]:
    shown = [origin for origin in plan.origins if origin.origin != "default"]
    defaults = [origin.name for origin in plan.origins if origin.origin == "default"]
    wide = max((len(origin.value) for origin in shown), default=0)
    lines = ["", "Settings:"]
    lines += [f"  {origin.name:<28}{origin.value:<{wide + 2}}{origin.origin}" for origin in shown]
    return [*lines, f"  {len(defaults)} more are defaults; --json lists them"]

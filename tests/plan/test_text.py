"""What a person reads who is about to pay: whole texts, from sums by hand."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from vlm_runner.core.events import BudgetFacts, DatasetFacts, Entry, RunCreated
from vlm_runner.core.transitions import fold
from vlm_runner.dollars import about, bound, cell, dollars, spent
from vlm_runner.lint.finding import LintReport, Location, SubsetStats
from vlm_runner.lint.rules import rule
from vlm_runner.plan import Cost, Origin, Plan, Upload, plan_text
from vlm_runner.plan.check import Check, Status
from vlm_runner.plan.plan import headline
from vlm_runner.plan.several import plan_of_several

from .test_cost import spec_of

RENTED = Cost(
    tokens=1_500_000, epochs=2, training=Decimal("10.501"), per_hour=Decimal(23), rents=True,
    hours=Decimal("1.5"), calls=Decimal("0.001"), storage_per_month=Decimal("1.95"), kept_hours=Decimal(2),
    prices_from="a page, 2026-11-01",
)  # fmt: skip
LENT = replace(RENTED, per_hour=Decimal(0), rents=False, hours=Decimal(0), kept_hours=Decimal(0))


def created(run_id: str) -> RunCreated:
    spec = spec_of()
    return RunCreated(
        run_id=run_id, uid="0" * 32, spec=spec, spec_fingerprint=spec.fingerprint, account="123456789012",
        region="us-west-2", bucket="b", dataset=DatasetFacts(fingerprint="f", rows=9, validation_rows=None),
        version="1",
    )  # fmt: skip


def plan(cost: Cost = RENTED, mode: str = "provisioned", **facts: Any) -> Plan:
    census = {
        "train": SubsetStats(
            rows=1_200,
            usable=1_190,
            images=1_100,
            image_bytes=5_000_000,
            converted=7,
            text_tokens=1_000,
            image_tokens=2_000,
        )
    }
    findings = [
        rule("I120").found("broken", Location("train", 3)),
        rule("D405").found("twice", Location("train", 4)),
    ]
    return Plan(
        spec=spec_of(serving={"mode": mode}, test={"rows": 5}),
        model="Some Model",
        report=LintReport("model", "x", findings, census),
        cost=cost,
        serving_reason=facts.pop("serving_reason", "as the spec says"),
        origins=facts.pop("origins", ()),
        **facts,
    )


def section(text: str, begins: str) -> list[str]:
    lines = text.split("\n")
    start = next(n for n, line in enumerate(lines) if line.startswith(begins))
    end = next((n for n, line in enumerate(lines) if n > start and not line), len(lines))
    return lines[start:end]


def test_the_cost_of_a_rented_throughput() -> None:
    assert section(plan_text(plan()), "Cost") == [
        "Cost (US dollars; prices: a page, 2026-11-01; tokens are estimates):",
        "  training          $10.50  1,500,000 tokens x 2 epochs",
        "  throughput        $34.50  $23.00 an hour x about 1.50 hours",
        "  test calls         $0.01  at most, for 5 rows",
        "  expected          $45.00",
        "  worst case        $98.71  for all the time that it may be kept, with its release and the model's storage for a month",
        "  forgotten     $16,560.00  a month, until somebody deletes it",
        "  storage            $1.95  a month for the custom model, which stays",
    ]


def test_the_cost_where_nothing_is_rented() -> None:
    assert section(plan_text(plan(LENT, "on-demand")), "Cost")[1:] == [
        "  training          $10.50  1,500,000 tokens x 2 epochs",
        "  test calls         $0.01  at most, for 5 rows",
        "  expected          $10.50",
        "  worst case        $12.46  with the model's storage for a month",
        "  storage            $1.95  a month for the custom model, which stays",
    ]


def test_a_price_that_is_not_known_and_a_throughput_that_is_kept_without_end() -> None:
    cost = section(
        plan_text(
            plan(replace(RENTED, per_hour=None, kept_hours=None, unknown=("throughput_per_unit_hour",)))
        ),
        "Cost",
    )

    assert "  throughput       unknown  an unknown price an hour x about 1.50 hours" in cost
    assert "  worst case      no limit  with its release and the model's storage for a month" in cost
    assert cost[-1].startswith("  Not known: throughput_per_unit_hour. ")


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(5400.0, "; the throughput is released after 1.5 hours at the latest"), (None, "")],
)
def test_a_limit_holds_until_a_time(seconds: float | None, told: str) -> None:
    budget = BudgetFacts(max_cost=1500.0, training=1.0, calls=0.0, per_hour=23.0, rent_seconds=seconds)

    assert f"  max_cost    $   1,500.00  holds{told}" in section(plan_text(plan(budget=budget)), "Cost")


def test_data_uploads_and_resources() -> None:
    uploads = (
        Upload(
            "train",
            rows=1_000,
            rows_there=0,
            bytes=4_000_000,
            bytes_there=0,
            images="i/t/",
            records="d/t.jsonl",
            images_per_row=2.0,
        ),
        Upload(
            "validation", rows=30, rows_there=10, bytes=20, bytes_there=10, images="i/v/", records="d/v.jsonl"
        ),
    )
    text = plan_text(
        plan(uploads=uploads, resources=(("bucket", "b", "create"), ("custom model", "m", "reuse")))
    )

    assert section(text, "Data") == [
        "Data: x, 1 errors and 1 warnings in lint",
        "  train: 1,200 rows, 1,100 images of 5,000,000 bytes (7 are converted), about 3,000 tokens",
    ]
    assert section(text, "Upload") == [
        "Upload:",
        "  train: 2,000 images, about 4,000,000 bytes",
        "    to i/t/, and the records to d/t.jsonl",
        "  validation: 20 images, about 20 bytes; 10 are there already",
        "    to i/v/, and the records to d/v.jsonl",
    ]
    assert section(text, "Resources") == [
        "Resources:",
        "  create bucket                  b",
        "  reuse  custom model            m",
    ]
    assert "Upload" not in plan_text(plan())
    assert "Resources" not in plan_text(plan())


def test_keys_vpc_and_tags_stand_with_the_resources() -> None:
    key = "arn:aws:kms:us-west-2:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
    role = spec_of().training.role_arn
    spec = spec_of(
        training={
            "role_arn": role,
            "kms_key": key,
            "vpc": {"subnets": ["subnet-0a"], "security_groups": ["sg-0b"]},
        },
        serving={"mode": "on-demand"},
        storage={"kms_key": key},
        tags={"team": "vision", "cost-center": "7"},
    )

    text = plan_text(replace(plan(resources=(("bucket", "b", "create"),)), spec=spec))

    assert section(text, "Resources") == [
        "Resources:",
        "  create bucket                  b",
        f"  with   model's KMS key         {key}",
        f"  with   encryption of uploads   aws:kms {key}",
        "  with   job's subnets           subnet-0a",
        "  with   job's security groups   sg-0b",
        "  with   tags                    team = vision, cost-center = 7",
    ]


def test_a_model_without_a_validation_set_is_told_with_the_data() -> None:
    one = plan()
    one.report.findings.append(rule("D413").found("It trains without one", Location("validation")))

    assert section(plan_text(one), "Data")[-1] == "  It trains without one"


@pytest.mark.parametrize(
    ("mode", "other", "text"),
    [
        ("none", None, "none; the model is trained only"),
        ("provisioned", None, "provisioned throughput, as the spec says"),
        (
            "provisioned",
            LENT,
            "provisioned throughput, as the spec says. With on-demand deployment the run would cost about $10.50.",
        ),
        (
            "on-demand",
            RENTED,
            "on-demand deployment, as the spec says. With provisioned throughput the run would cost about $45.00 ($23.00 an hour).",
        ),
    ],
)
def test_how_it_is_served_and_what_the_other_way_would_cost(mode: str, other: Cost | None, text: str) -> None:
    assert section(plan_text(plan(replace(LENT, other=other), mode)), "Serving") == [f"Serving: {text}"]


@pytest.mark.parametrize(
    ("cost", "told"),
    [
        (LENT, "about $10.50, at most $12.46; then $1.95 a month while the model exists."),
        (replace(LENT, tokens=0), "$10.50, at most $12.46; then"),
        (
            replace(LENT, tokens=0, about=("storage_per_month",)),
            "about $10.50, at most $12.46; then",
        ),
        (
            RENTED,
            "about $45.00, at most $98.71; then $1.95 a month while the model exists, and $16,560.00 if",
        ),
        (replace(RENTED, kept_hours=None), "about $45.00, with no limit; then"),
        (
            replace(LENT, training=None, unknown=("training_per_million_tokens",)),
            "an unknown sum: no price is known for training_per_million_tokens.",
        ),
    ],
)
def test_the_first_line_is_what_it_does_and_costs(cost: Cost, told: str) -> None:
    first = plan_text(plan(cost)).split("\n", maxsplit=1)[0]

    assert first.startswith(f"Fine-tune Some Model on 1,190 rows for {told}")
    assert headline(cost).startswith(f"It costs {told}")


def test_a_plan_begins_with_what_it_is_about() -> None:
    new = created("cats")
    old = fold([Entry(sequence=1, at=datetime(2026, 11, 1, tzinfo=UTC), event=new)])

    assert plan_text(plan(created=new)).split("\n")[1] == "Run cats in account 123456789012, us-west-2."
    assert plan_text(plan(existing=old)).startswith(
        "Run cats exists, and goes on from phase staging.\nIt costs about $45.00"
    )


def test_checks_that_matter_and_the_refusal_stand_at_the_end() -> None:
    checks = (Check("C01", Status.GOOD, "a", "well"), Check("C02", Status.BAD, "b", "ill", "Mend it."))

    text = plan_text(plan(doctor=checks, refusal="No."))

    assert section(text, "Doctor") == [
        "Doctor:",
        "  bad       C02  b: ill",
        "                  fix: Mend it.",
    ]
    assert text.endswith("\n\nREFUSED: No.")
    assert "Doctor" not in plan_text(plan(doctor=checks[:1]))
    assert "REFUSED" not in plan_text(plan())


def test_settings_that_somebody_made_are_listed_and_defaults_counted() -> None:
    origins = (
        Origin("region", "us-west-2", "flag"),
        Origin("model.base", "m", "file"),
        Origin("a", "1", "default"),
        Origin("b", "2", "default"),
    )

    assert section(plan_text(plan(origins=origins)), "Settings") == [
        "Settings:",
        "  region                      us-west-2  flag",
        "  model.base                  m          file",
        "  2 more are defaults; --json lists them",
    ]
    assert "Settings" not in plan_text(plan(origins=origins), settings=False)
    assert "Settings" not in plan_text(plan())


def test_several_runs_are_one_table_with_their_sum() -> None:
    plans = [plan(created=created("cats")), plan(LENT, "on-demand", created=created("dogs-2"))]

    text = plan_of_several(plans, {"cats": "epochs = 2", "dogs-2": "mode"})

    assert text.startswith(
        "2 runs: fine-tune Some Model, expected about $55.50 in all, worst case $111.16.\n"
        "Account 123456789012, us-west-2.\n\nData: x"
    )
    assert section(text, "  RUN") == [
        "  RUN     VALUES      EXPECTED  WORST CASE",
        "  cats    epochs = 2    $45.00      $98.71",
        "  dogs-2  mode          $10.50      $12.46",
        "  total                 $55.50     $111.16",
    ]
    assert text.count("Data: ") == 1


def test_several_runs_of_which_one_has_no_end_or_no_price() -> None:
    endless = [plan(), plan(replace(RENTED, kept_hours=None))]
    unknown = [plan(), plan(replace(RENTED, training=None))]

    assert "expected about $90.00 in all, worst case no limit." in plan_of_several(endless, {})
    assert "expected unknown in all, worst case unknown." in plan_of_several(unknown, {})
    assert "Account" not in plan_of_several(endless, {})
    assert "worst case $111.16." in plan_of_several([plan(), plan(replace(LENT, kept_hours=None))], {})


@pytest.mark.parametrize(
    ("value", "most", "bill"),
    [
        (None, "unknown", "unknown"),
        (Decimal(0), "$0.00", "$0.00"),
        (Decimal("1234.005"), "$1,234.01", "$1,234.01"),
        (0.001, "$0.01", "$0.00"),
        (1.005, "$1.01", "$1.01"),
    ],
)
def test_a_bound_goes_up_and_a_bill_to_the_nearest_cent(
    value: Decimal | float | None, most: str, bill: str
) -> None:
    assert (bound(value), dollars(value)) == (most, bill)


@pytest.mark.parametrize(
    ("known", "complete", "estimated", "sentence", "in_a_table"),
    [
        (4.2, True, True, "about $4.20", "about $4.20"),
        (4.2, True, False, "$4.20", "$4.20"),
        (4.2, False, True, "about $4.20 and what has no known price", "about $4.20 + ?"),
        (0.0, False, True, "unknown", "unknown"),
        (0.0, True, False, "$0.00", "$0.00"),
        (None, False, False, None, ""),
    ],
)
def test_an_amount_that_rests_on_an_estimate_is_about_it_everywhere(
    known: float | None, complete: bool, estimated: bool, sentence: str | None, in_a_table: str
) -> None:
    assert cell(known, complete=complete, estimated=estimated) == in_a_table
    if known is not None:
        assert spent(known, complete=complete, estimated=estimated) == sentence
    assert about("unknown", estimated=True) == "unknown"

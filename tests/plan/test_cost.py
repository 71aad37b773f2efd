from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vlm_runner.core.budget import RELEASING, deadline, overdue, rent_seconds
from vlm_runner.core.events import BudgetFacts, DatasetFacts, Entry, RunCreated
from vlm_runner.core.run import Phase, Run
from vlm_runner.dollars import dollars
from vlm_runner.errors import ConfigurationError
from vlm_runner.lint.finding import SubsetStats
from vlm_runner.models import find, load_catalogue
from vlm_runner.models.profile import Prices
from vlm_runner.plan import estimate, within
from vlm_runner.plan.cost import estimate_serving
from vlm_runner.spec import RunSpec

if TYPE_CHECKING:
    from pathlib import Path

NOVA = "amazon.nova-lite-v1:0:300k"
LLAMA = "meta.llama3-2-11b-instruct-v1:0:128k"
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def spec_of(base: str = LLAMA, **sections: Any) -> RunSpec:
    training = {"role_arn": "arn:aws:iam::123456789012:role/sft", "hyperparameters": {"epochCount": 2}}
    return RunSpec.from_table(
        {"dataset": {"source": "x"}, "model": {"base": base}, "training": training} | sections
    )


def census(tokens: int = 1_700_000, rows: int = 1000) -> SubsetStats:
    return SubsetStats(rows=rows, usable=rows, text_tokens=tokens, prompt_tokens=[1500] * 64)


def test_the_fact_sheets_own_example_costs_what_it_says() -> None:
    """
    1,000 samples of 1,701 tokens, 2 epochs, on Llama 3.2 11B: 3.4 M tokens, $11.9.
    """
    cost = estimate(spec_of(), find(LLAMA), census(1_701_000), None)

    assert cost.tokens_trained == 3_402_000
    assert cost.training == Decimal("11.907")
    assert cost.per_hour == 23
    assert cost.per_month_if_forgotten == 16_560


def test_a_price_that_is_not_known_makes_the_sum_unknown() -> None:
    nothing = dict.fromkeys(("training_per_million_tokens", "throughput_per_unit_hour"))
    profile = find(NOVA).model_copy(update={"prices": find(NOVA).prices.model_copy(update=nothing)})

    cost = estimate(spec_of(NOVA, serving={"mode": "provisioned"}), profile, census(), None)

    assert cost.training is None
    assert cost.expected is None
    assert dollars(cost.expected) == "unknown"
    assert cost.unknown == ("training_per_million_tokens", "throughput_per_unit_hour")


NEEDED = {
    "training_per_million_tokens": {"provisioned", "on-demand", "none"},
    "throughput_per_unit_hour": {"provisioned"},
    "input_per_million_tokens": {"provisioned", "on-demand"},
    "output_per_million_tokens": {"provisioned", "on-demand"},
}


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sets(st.sampled_from(sorted(Prices.model_fields.keys() & NEEDED.keys()))),
    st.sampled_from(["provisioned", "on-demand", "none"]),
)
def test_no_sum_is_named_while_a_price_in_it_is_not_known(missing: set[str], mode: str) -> None:
    prices = find(NOVA).prices.model_copy(
        update={name: Decimal(3) for name in NEEDED} | dict.fromkeys(missing)
    )
    profile = find(NOVA).model_copy(update={"prices": prices})
    spec = spec_of(NOVA, serving={"mode": mode}, test={"rows": 2, "compare_base": True})

    cost = estimate(spec, profile, census(), None)

    lacks = {name for name in missing if mode in NEEDED[name]}
    assert (cost.expected is None) == bool(lacks)
    assert (cost.worst is None) == bool(lacks)
    assert dollars(cost.expected) == "unknown" or not lacks
    assert bool(cost.unknown) == bool(lacks)
    if cost.rents:
        assert (cost.per_month_if_forgotten is None) == ("throughput_per_unit_hour" in missing)


@pytest.mark.parametrize(
    ("missing", "unknown"),
    [
        ((), ()),
        (("throughput_per_unit_hour",), ("throughput_per_unit_hour",)),
        (("training_per_million_tokens", "storage_per_month"), ()),
        (("input_per_million_tokens",), ("input_per_million_tokens",)),
    ],
    ids=["all are known", "the rent", "what serving does not cost", "the base model's calls"],
)
def test_what_serving_costs_is_unknown_by_its_own_prices_only(
    missing: tuple[str, ...], unknown: tuple[str, ...]
) -> None:
    prices = find(NOVA).prices.model_copy(
        update={name: Decimal(3) for name in (*NEEDED, "storage_per_month")} | dict.fromkeys(missing)
    )
    profile = find(NOVA).model_copy(update={"prices": prices})
    spec = spec_of(NOVA, serving={"mode": "provisioned"}, test={"rows": 2, "compare_base": True})

    cost = estimate_serving(spec, profile, 3600.0)

    assert cost.unknown == unknown
    assert (cost.worst is None) == bool(unknown)


@pytest.mark.parametrize(("mode", "longer"), [("provisioned", 2), ("on-demand", 0)])
def test_a_served_model_costs_an_endpoints_hours_until_it_ends(mode: str, longer: int) -> None:
    spec = spec_of(NOVA, serving={"mode": mode}, test={"rows": 3})
    at_once, later = (estimate_serving(spec, find(NOVA), seconds) for seconds in (None, 7200.0))

    assert later.hours - at_once.hours == longer
    assert at_once.kept_hours is None
    assert later.kept_hours == 0


def test_on_demand_rents_nothing_by_the_hour() -> None:
    cost = estimate(spec_of(NOVA, serving={"mode": "on-demand"}), find(NOVA), census(), None)

    assert cost.per_hour == 0
    assert cost.calls is not None
    assert cost.calls > 0
    assert not cost.rents


def test_keeping_an_endpoint_is_the_worst_case() -> None:
    hours = estimate(spec_of(serving={"keep": "10h"}), find(LLAMA), census(), None)
    endless = estimate(spec_of(serving={"keep": True}), find(LLAMA), census(), None)

    assert hours.expected is not None
    assert hours.worst is not None
    assert hours.worst > hours.expected + 230
    assert endless.worst is None


@pytest.mark.parametrize(
    ("sections", "why"),
    [
        ({"budget": {"max_cost": 20.0}}, "needs"),
        ({"budget": {"max_cost": 0}}, "needs"),
        ({"budget": {"max_cost": 1000.0}, "serving": {"keep": True}}, "keep"),
        ({"budget": {"max_cost": 1000.0}, "serving": {"keep": "1h"}}, "keep"),
        ({"budget": {"max_cost": 1000.0}, "test": {"compare_base": True}}, "Unknown price"),
    ],
)
def test_a_limit_that_cannot_be_kept_is_refused(sections: dict[str, Any], why: str) -> None:
    spec = spec_of(**sections)

    with pytest.raises(ConfigurationError, match=why) as refused:
        within(spec, find(LLAMA), estimate(spec, find(LLAMA), census(), None))

    assert refused.value.hint


def test_an_unknown_price_is_refused_until_the_user_gives_it(tmp_path: Path) -> None:
    spec = spec_of(NOVA, budget={"max_cost": 500.0})
    with pytest.raises(ConfigurationError, match="Unknown price") as refused:
        within(spec, find(NOVA), estimate(spec, find(NOVA), census(), None))
    own = tmp_path / "prices.toml"
    own.write_text(
        f'[models."{NOVA}".prices]\ntraining_per_million_tokens = 2.0\nthroughput_per_unit_hour = 100.0\n'
    )
    profile = load_catalogue(own).find(NOVA)

    budget = within(spec, profile, estimate(spec, profile, census(), None))

    assert "VLM_RUNNER_CATALOGUE" in str(refused.value)
    assert budget is not None
    assert budget.training == 6.8


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.floats(1, 10_000), st.floats(0.01, 500), st.floats(0, 1))
def test_rent_never_exceeds_what_is_left(limit: float, per_hour: float, share: float) -> None:
    spent = limit * share
    seconds = rent_seconds(limit, spent, per_hour)

    rented = max(0.0, seconds + RELEASING.total_seconds()) / 3600 * per_hour
    assert spent + rented <= limit * 1.000001


def run_with(budget: BudgetFacts | None, phase: Phase) -> Run:
    created = RunCreated(
        run_id="cats", uid="0" * 32, spec=spec_of(), spec_fingerprint="f", account="123456789012",
        region="us-west-2", bucket="b", dataset=DatasetFacts(fingerprint="f", rows=8), budget=budget, version="0",
    )  # fmt: skip
    run = Run.begin(Entry(sequence=1, at=NOON, event=created))
    return run.model_copy(update={"phase": phase, "rented_from": NOON if budget is not None else None})


def test_a_run_is_overdue_at_its_deadline_and_only_while_it_rents() -> None:
    budget = BudgetFacts(max_cost=50, training=1, calls=0, per_hour=23, rent_seconds=3600)
    run = run_with(budget, Phase.WARMING)

    assert deadline(run) == NOON + timedelta(hours=1)
    assert overdue(run, NOON + timedelta(minutes=59)) is None
    event = overdue(run, NOON + timedelta(hours=1))
    assert event is not None
    assert event.error == "BudgetReached"
    assert overdue(run_with(budget, Phase.RELEASING), NOON + timedelta(hours=9)) is None
    assert overdue(run_with(None, Phase.TESTING), NOON + timedelta(days=9)) is None

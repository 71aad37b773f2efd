"""Sums of a plan, by hand."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from vlm_runner.core.budget import RELEASING
from vlm_runner.errors import ConfigurationError
from vlm_runner.lint.finding import SubsetStats
from vlm_runner.models import find
from vlm_runner.plan import estimate, within
from vlm_runner.plan.cost import CALL_SECONDS, WARMING_HOURS

from .test_cost import LLAMA, NOVA, census, spec_of


def test_the_rent_lasts_as_long_as_warming_and_all_calls() -> None:
    """Twice the calls where the base model is asked as well."""
    alone = estimate(spec_of(test={"rows": 10, "compare_base": False}), find(LLAMA), census(), None)
    both = estimate(spec_of(test={"rows": 10, "compare_base": True}), find(LLAMA), census(), None)

    assert alone.hours == WARMING_HOURS + Decimal(10 * CALL_SECONDS) / 3600
    assert both.hours == WARMING_HOURS + Decimal(20 * CALL_SECONDS) / 3600


def test_prompts_that_were_not_counted_cost_as_much_as_the_longest_that_was() -> None:
    stats = SubsetStats(rows=9, usable=9, text_tokens=9, prompt_tokens=[100, 400])
    profile = find(NOVA)
    test = {"rows": 5, "compare_base": True, "max_tokens": 10}
    spec = spec_of(NOVA, test=test, serving={"mode": "provisioned"})

    cost = estimate(spec, profile, stats, None)

    assert cost.calls is not None
    assert cost.calls == profile.call_cost(100 + 400 + 3 * 400, 5 * 10)


def test_max_cost_covers_the_time_that_a_release_takes() -> None:
    """What is needed is enough, and a tenth of a cent less, which two seconds of rent cost, is refused."""
    profile = find(LLAMA)
    spec = spec_of(test={"rows": 1, "compare_base": False})
    cost = estimate(spec, profile, census(), None)
    assert cost.training is not None
    assert cost.per_hour is not None
    hours = cost.hours + Decimal(RELEASING // timedelta(seconds=1)) / 3600
    need = cost.training + (cost.calls or 0) + cost.per_hour * hours + Decimal("1.95")
    assert cost.worst is not None
    assert abs(cost.worst - need) < Decimal("1e-20"), "a plan's worst case is what max_cost is held against"

    enough = spec_of(test={"rows": 1, "compare_base": False}, budget={"max_cost": float(need) + 0.001})
    less = spec_of(test={"rows": 1, "compare_base": False}, budget={"max_cost": float(need) - 0.001})

    kept = within(enough, profile, cost)
    assert kept is not None
    assert (kept.training, kept.calls, kept.storage) == (float(cost.training), 0.0, 1.95)
    assert kept.per_hour == float(cost.per_hour)
    with pytest.raises(ConfigurationError, match="The run needs up to"):
        within(less, profile, cost)


@pytest.mark.parametrize(("keep", "hours"), [(False, 0), ("2h", 2), ("90m", Decimal("1.5"))])
def test_the_worst_case_has_all_the_time_that_it_is_kept_its_release_and_a_month_of_storage(
    keep: bool | str, hours: Decimal
) -> None:
    cost = estimate(spec_of(serving={"keep": keep}), find(LLAMA), census(), None)

    assert cost.expected is not None
    assert cost.per_hour is not None
    releasing = Decimal(RELEASING // timedelta(seconds=1)) / 3600
    bound = cost.expected + cost.per_hour * (hours + releasing) + Decimal("1.95")
    assert cost.worst is not None
    assert abs(cost.worst - bound) < Decimal("1e-20")

"""The cost model: dataset statistics times prices, in US dollars. An unknown price stays unknown."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from vlm_runner.core.budget import RELEASING, rent_seconds
from vlm_runner.core.events import BudgetFacts, PlannedCost
from vlm_runner.core.run import known
from vlm_runner.dollars import MONTH_HOURS, bound
from vlm_runner.errors import ConfigurationError
from vlm_runner.models.profile import BASE_TOKENS, CUSTOM_TOKENS
from vlm_runner.models.settle import settled
from vlm_runner.spec import ServingMode, seconds_of

if TYPE_CHECKING:
    from vlm_runner.lint.finding import SubsetStats
    from vlm_runner.models import ModelProfile
    from vlm_runner.spec import RunSpec

WARMING_HOURS = Decimal("0.5")
"""Until a throughput is InService: AWS's samples report 15 to 30 minutes."""
CALL_SECONDS = 20
"""For one test call; generous, since a throughput bills while it thinks."""
RELEASE_HOURS = Decimal(str(RELEASING.total_seconds())) / 3600
"""In which a throughput is deleted, and still bills."""
OTHER: Final = {
    ServingMode.ON_DEMAND: ServingMode.PROVISIONED,
    ServingMode.PROVISIONED: ServingMode.ON_DEMAND,
}


@dataclass(frozen=True, slots=True)
class Cost:
    """US dollars; None where the catalogue knows no price."""

    tokens: int
    """Of one epoch; an estimate."""
    epochs: int
    training: Decimal | None
    per_hour: Decimal | None
    """Of the throughput; 0 where nothing is rented by the hour."""
    rents: bool
    hours: Decimal
    """That the throughput is expected to live."""
    calls: Decimal | None
    """At most, for the test calls that bill by the token."""
    storage_per_month: Decimal | None
    kept_hours: Decimal | None
    """For how long the endpoint is kept after the run; None: without end."""
    prices_from: str
    unknown: tuple[str, ...] = ()
    """The prices that are needed and not known, by their names in the catalogue."""
    about: tuple[str, ...] = ()
    """Those that only one source tells, which is not AWS itself."""
    other: Cost | None = None
    """Of the same run served the other way, where the model can be: on demand, or provisioned."""

    @property
    def estimated(self) -> bool:
        """Whether what is expected is "about": see `vlm_runner.dollars.about`."""
        return bool(self.about or self.tokens_trained or self.hours)

    @property
    def tokens_trained(self) -> int:
        return self.tokens * self.epochs

    @property
    def throughput(self) -> Decimal | None:
        """Expected, until it is released."""
        return None if self.per_hour is None else self.per_hour * self.hours

    @property
    def expected(self) -> Decimal | None:
        return _sum(self.training, self.throughput, self.calls)

    @property
    def worst(self) -> Decimal | None:
        """
        The most that the spec allows: with the release, what is kept, and the model's storage for a month.

        What `max_cost` is held against. None: a price is unknown, or nothing limits it.
        """
        return _sum(self.training, self.calls, self.rent_at_most, self.storage_per_month)

    @property
    def rent_at_most(self) -> Decimal | None:
        """Of the throughput; None: unknown, or without end."""
        if not self.rents:
            return Decimal(0)
        if self.per_hour is None or self.kept_hours is None:
            return None
        return self.per_hour * (self.hours + RELEASE_HOURS + self.kept_hours)

    @property
    def facts(self) -> PlannedCost:
        """As a run keeps it."""
        return PlannedCost(
            tokens_trained=self.tokens_trained,
            training=_number(self.training),
            throughput=_number(self.throughput),
            calls=_number(self.calls),
            expected=_number(self.expected),
            worst=_number(self.worst),
            storage_per_month=_number(self.storage_per_month),
        )

    @property
    def per_month_if_forgotten(self) -> Decimal | None:
        return None if self.per_hour is None else self.per_hour * MONTH_HOURS


def _number(value: Decimal | None) -> float | None:
    return None if value is None else float(value)


def _sum(*parts: Decimal | None) -> Decimal | None:
    known = [part for part in parts if part is not None]
    return sum(known, Decimal(0)) if len(known) == len(parts) else None


def estimate(
    spec: RunSpec, profile: ModelProfile, train: SubsetStats, validation: SubsetStats | None
) -> Cost:
    """
    What the run of `spec` costs, by what its subsets hold. Bedrock bills training records only.
    """
    spec = settled(spec, profile)
    cost = _estimate(spec, profile, train, validation)
    other = OTHER.get(spec.serving.mode)
    if other is None or other.value not in profile.serving.modes:
        return cost
    serving = spec.serving.model_copy(update={"mode": other})
    return replace(
        cost, other=_estimate(spec.model_copy(update={"serving": serving}), profile, train, validation)
    )


def _estimate(
    spec: RunSpec, profile: ModelProfile, train: SubsetStats, validation: SubsetStats | None
) -> Cost:
    epochs = int(
        spec.training.hyperparameters.get("epochCount") or profile.hyperparameters["epochCount"].default
    )
    rents = spec.serving.mode is ServingMode.PROVISIONED
    served = spec.serving.mode is not ServingMode.NONE
    asked = (validation or train).prompt_tokens[: spec.test.rows] if served else []
    used = _used(spec)
    sources = [profile.prices.source_of(name) for name in used if getattr(profile.prices, name) is not None]
    return Cost(
        tokens=train.tokens,
        epochs=epochs,
        training=profile.training_cost(train.tokens, epochs),
        per_hour=profile.throughput_price(spec.serving.model_units) if rents else Decimal(0),
        rents=rents,
        hours=_hours(spec) if rents else Decimal(0),
        calls=_calls(spec, profile, asked, rows=spec.test.rows if served else 0),
        storage_per_month=profile.storage_price(),
        kept_hours=_kept(spec),
        unknown=tuple(name for name in used if getattr(profile.prices, name) is None),
        about=tuple(name for name in used if profile.prices.source_of(name).about),
        prices_from="; ".join(dict.fromkeys(f"{each.source}, {each.date}" for each in sources)),
    )


def estimate_serving(spec: RunSpec, profile: ModelProfile, seconds: float | None) -> Cost:
    """
    What it costs to serve a model that exists, for `seconds` once the test rows are answered (None: until
    somebody ends it). Its storage is not counted: it is paid whether it is served or not.
    """
    spec = settled(spec, profile)
    rents = spec.serving.mode is ServingMode.PROVISIONED
    used = [name for name in _used(spec) if name not in {"training_per_million_tokens", "storage_per_month"}]
    sources = [profile.prices.source_of(name) for name in used if getattr(profile.prices, name) is not None]
    # Where max_cost is given, that is what ends it.
    limited = seconds is not None or spec.budget.max_cost is not None
    return Cost(
        tokens=0,
        epochs=0,
        training=Decimal(0),
        per_hour=profile.throughput_price(spec.serving.model_units) if rents else Decimal(0),
        rents=rents,
        hours=_hours(spec) + Decimal(str(seconds or 0.0)) / 3600 if rents else Decimal(0),
        calls=_calls(spec, profile, [], rows=spec.test.rows),
        storage_per_month=Decimal(0),
        kept_hours=Decimal(0) if limited else None,
        unknown=tuple(name for name in used if getattr(profile.prices, name) is None),
        about=tuple(name for name in used if profile.prices.source_of(name).about),
        prices_from="; ".join(dict.fromkeys(f"{each.source}, {each.date}" for each in sources)),
    )


def _used(spec: RunSpec) -> list[str]:
    """The prices, by their names in the catalogue, on which the run's bill rests."""
    mode, asks = spec.serving.mode, spec.test.rows > 0 and spec.serving.mode is not ServingMode.NONE
    used = ["training_per_million_tokens", "storage_per_month"]
    used += ["throughput_per_unit_hour"] if mode is ServingMode.PROVISIONED else []
    if asks and mode is ServingMode.ON_DEMAND:
        used += CUSTOM_TOKENS
    if asks and spec.test.compare_base:
        used += BASE_TOKENS
    return used


def _hours(spec: RunSpec) -> Decimal:
    calls = spec.test.rows * (2 if spec.test.compare_base else 1)
    return WARMING_HOURS + Decimal(calls * CALL_SECONDS) / 3600


def _kept(spec: RunSpec) -> Decimal | None:
    keep = spec.serving.keep
    if keep is True:
        return None
    return Decimal(0) if keep is False else Decimal(str(seconds_of(keep))) / 3600


def _calls(spec: RunSpec, profile: ModelProfile, asked: list[int], *, rows: int) -> Decimal | None:
    """A throughput's own calls cost nothing beyond its hours; the base model's are billed by the token."""
    ways = [profile.custom_call_cost] if spec.serving.mode is ServingMode.ON_DEMAND else []
    ways += [profile.call_cost] if spec.test.compare_base else []
    if not ways or not rows or spec.serving.mode is ServingMode.NONE:
        return Decimal(0)
    prompts = sum(asked) + (rows - len(asked)) * max(asked, default=profile.tokens.per_record)
    answers = rows * min(spec.test.max_tokens, profile.inference.max_output_tokens)
    return _sum(*(cost(prompts, answers) for cost in ways))


def within(spec: RunSpec, profile: ModelProfile, cost: Cost) -> BudgetFacts | None:
    """
    What the run may spend by its `max_cost`; None: it has none.

    Raises:
        ConfigurationError: it cannot be kept, or is less than the run is expected to cost.
    """
    if spec.budget.max_cost is None:
        return None
    limit = Decimal(str(spec.budget.max_cost))
    if cost.unknown:
        raise ConfigurationError(
            f"Unknown price for {profile.name}'s {', '.join(cost.unknown)}, so max_cost cannot be kept.",
            hint=f"Read AWS's prices: vlm-runner prices {profile.base_id} --refresh. "
            "Or write yours into a file that VLM_RUNNER_CATALOGUE names: "
            f'[models."{profile.base_id}".prices] with those keys.',
        )
    if spec.serving.keep is not False and cost.rents:
        raise ConfigurationError(
            "max_cost cannot be kept together with serving.keep: nothing limits the cost of a kept endpoint.",
            hint="Set keep = false under [serving], or leave max_cost out.",
        )
    worst = known(cost.worst)
    if worst > limit:
        raise ConfigurationError(
            f"The run needs up to {bound(worst)}, and max_cost is {bound(limit)}: "
            f"training {bound(cost.training)}, test calls {bound(cost.calls)}, "
            f"throughput {bound(cost.rent_at_most)}, "
            f"storage of the model for a month {bound(cost.storage_per_month)}.",
            hint="Raise max_cost, or use fewer rows, epochs or test rows"
            + (', or set mode = "none" under [serving].' if cost.rents else "."),
        )
    fixed = [float(known(part)) for part in (cost.training, cost.calls, cost.storage_per_month)]
    per_hour = float(known(cost.per_hour))
    bills = cost.rents and per_hour > 0
    return BudgetFacts(
        max_cost=float(limit),
        training=fixed[0],
        calls=fixed[1],
        storage=fixed[2],
        per_hour=per_hour if bills else None,
        rent_seconds=rent_seconds(float(limit), sum(fixed), per_hour) if bills else None,
    )

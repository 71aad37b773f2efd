"""What each level does, costs and leaves, said before it begins; and the runs of levels 2 to 4. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from vlm_runner.errors import ConfigurationError
from vlm_runner.models.profile import plain
from vlm_runner.spec import (
    AwsSpec,
    BudgetSpec,
    DatasetSpec,
    EventsSpec,
    ImagesSpec,
    PromptSpec,
    RunSpec,
    ServingMode,
    ServingSpec,
    TestSpec,
)

if TYPE_CHECKING:
    from decimal import Decimal
    from pathlib import Path

    from vlm_runner.models import ModelProfile

NEEDS_BUDGET: Final = 2
"""The first level that needs one."""

SWITCH_AFTER: Final = "90m"
"""Of level 4: warming up takes 15 to 30 minutes, two calls a minute."""


@dataclass(frozen=True, slots=True)
class Level:
    number: int
    title: str
    does: str
    costs: str
    leaves: str


LEVELS: Final[tuple[Level, ...]] = (
    Level(
        0,
        "reads",
        "asks who calls, and reads models, lists, quotas, prices, the role and the bucket",
        "nothing; about a minute",
        "nothing",
    ),
    Level(
        1,
        "refusals",
        "asks for what does not exist or may not be, and looks how AWS refuses it; writes one small object "
        "into the bucket (which is created if there is none), and deletes it",
        "nothing; about a minute",
        "the bucket, if it was created",
    ),
    Level(
        2,
        "the switch, and a job that is stopped",
        "lets EventBridge Scheduler delete endpoints that do not exist, and reads the answers from a "
        "dead-letter queue of its own; creates a customization job on a few rows of the sample that comes "
        "with the package, and stops it before it trains; and one whose data do not exist",
        "about nothing (Bedrock bills the tokens trained); if you kill it between creating and stopping and "
        "do not resume it, the job trains, for some cents; about ten minutes",
        "three records of jobs that Bedrock never deletes, Stopped or refused, and their names",
    ),
    Level(
        3,
        "the smallest whole run, on demand",
        "trains one epoch on the same rows, deploys the model on demand, calls it, and deletes deployment "
        "and model",
        "cents, and at most --max-cost; 1 to 4 hours",
        "the record of a job that Bedrock never deletes",
    ),
    Level(
        4,
        "provisioned throughput",
        "the same with a throughput of one model unit, with the dead man's switch set",
        "{rent} from the request until the deletion, normally under an hour, and at most --max-cost; needs "
        "a quota, which is 0 by default",
        "the record of a job that Bedrock never deletes",
    ),
)


def announced(level: Level, price: Decimal | None) -> str:
    """What a user reads before it begins; `price` is that of a model unit for an hour."""
    rent = "an unknown price per hour" if price is None else f"${price:.2f} per hour"
    return (
        f"Level {level.number}: {level.title}\n"
        f"  does    {level.does}.\n"
        f"  costs   {level.costs.format(rent=rent)}.\n"
        f"  leaves  {level.leaves}."
    )


def check_wanted(spec: RunSpec, level: int, *, max_cost: float | None, rent: bool) -> None:
    """
    Raises:
        ConfigurationError: the level needs what was not given.
    """
    if level >= NEEDS_BUDGET and max_cost is None:
        raise ConfigurationError(
            f"Level {level} needs a budget.", hint="Give --max-cost in US dollars, for example --max-cost 5."
        )
    if level < len(LEVELS) - 1:
        return
    if not rent:
        raise ConfigurationError(
            f"Level {level} rents provisioned throughput by the hour.",
            hint="Allow it with: --rent-throughput",
        )
    if spec.serving.dead_man_switch is None:
        raise ConfigurationError(
            f"Level {level} needs a dead man's switch.",
            hint="Add [serving.dead_man_switch] with after and role_arn to the spec.",
        )


def run_spec(
    spec: RunSpec, profile: ModelProfile, level: int, *, data: Path, folder: str, max_cost: float
) -> RunSpec:
    """The smallest run of the spec's model, under the spec's role and in its bucket."""
    epochs = {"epochCount": plain(profile.hyperparameters["epochCount"].minimum)}
    switch = spec.serving.dead_man_switch
    rented = level == len(LEVELS) - 1
    return RunSpec(
        dataset=DatasetSpec(source=str(data)),
        prompt=PromptSpec(preset="accessibility"),
        images=ImagesSpec(),
        model=spec.model,
        # With our own names, which is how what it leaves is found.
        training=spec.training.model_copy(
            update={"hyperparameters": epochs, "job_name": None, "model_name": None}
        ),
        serving=ServingSpec(
            mode=ServingMode.PROVISIONED if rented else ServingMode.ON_DEMAND,
            dead_man_switch=switch.model_copy(update={"after": SWITCH_AFTER}) if rented and switch else None,
        ),
        test=TestSpec(rows=2, max_tokens=64),
        storage=spec.storage.model_copy(update={"prefix": folder}),
        aws=AwsSpec(region=spec.aws.region),
        budget=BudgetSpec(max_cost=max_cost),
        events=EventsSpec(),
    )

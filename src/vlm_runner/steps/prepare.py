"""
Before a run exists: find all that it needs, and refuse what cannot work. Reads only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from anyio import to_thread

from vlm_runner.core.events import DatasetFacts, RunCreated
from vlm_runner.core.names import bucket_name
from vlm_runner.errors import ConfigurationError, DataError
from vlm_runner.evaluate import load_metrics
from vlm_runner.lint import lint_dataset
from vlm_runner.models import Lifecycle
from vlm_runner.plan.cost import estimate, within
from vlm_runner.prompts.templates import compile_prompt
from vlm_runner.spec import ServingMode

if TYPE_CHECKING:
    from vlm_runner.aws.ports import Caller
    from vlm_runner.dataset.rows import Opened
    from vlm_runner.lint import LintReport
    from vlm_runner.models import Catalogue, ModelProfile
    from vlm_runner.spec import RunSpec
    from vlm_runner.steps.ports import Ports


def check_spec(spec: RunSpec, catalogue: Catalogue) -> ModelProfile:
    """
    What can be known without asking anybody.

    Raises:
        ConfigurationError: unknown model or hyperparameter, a value out of range, a serving mode that the
            model lacks, a template that does not parse.
    """
    profile = catalogue.find(spec.model.base)
    profile.check_hyperparameters(spec.training.hyperparameters)
    compile_prompt(spec.prompt)
    load_metrics(spec.test.metrics)
    mode = spec.serving.mode
    if mode is not ServingMode.NONE and mode.value not in profile.serving.modes:
        raise ConfigurationError(
            f"{profile.name} cannot be served as '{mode}'; it can as {', '.join(profile.serving.modes)}.",
            hint="Set mode under [serving].",
        )
    return profile


def region_for(spec: RunSpec, profile: ModelProfile, given: str | None) -> str:
    """
    The region that was asked for, if the model can be fine-tuned there. None is ever assumed.

    Raises:
        ConfigurationError: there is none, or it is the wrong one.
    """
    where = ", ".join(profile.regions)
    region = given or spec.aws.region
    if region is None:
        raise ConfigurationError(
            "No AWS region.",
            hint=f"{profile.name} is fine-tuned in {where}: give --region, or region under [aws].",
        )
    if region not in profile.regions:
        raise ConfigurationError(
            f"{profile.name} is not fine-tuned in {region}.", hint=f"Use --region {profile.regions[0]}."
        )
    return region


async def prepare(spec: RunSpec, run_id: str, uid: str, version: str, ports: Ports) -> RunCreated:
    """
    Look at account, model and dataset, and write down what was found.

    Raises:
        ConfigurationError: credentials, model or role are not fit for it.
        DataError: the dataset cannot be used.
    """
    profile = check_spec(spec, ports.catalogue)
    caller = await ports.aws.account.caller()
    check_role(spec, caller)
    await check_alive(profile, ports)
    opened = await to_thread.run_sync(ports.open_dataset, spec, None)
    check_counts(opened, profile)
    budget, report = None, None
    if spec.budget.max_cost is not None:
        report = await to_thread.run_sync(look, opened, spec, profile, ports)
        cost = estimate(
            spec,
            profile,
            report.census[opened.train.name],
            report.census[opened.validation.name] if opened.validation is not None else None,
        )
        budget = within(spec, profile, cost)
    created = RunCreated(
        run_id=run_id,
        uid=uid,
        spec=spec,
        spec_fingerprint=spec.fingerprint,
        account=caller.account,
        partition=caller.partition,
        region=ports.aws.region,
        bucket=bucket_name(spec.storage.bucket, caller.account, ports.aws.region),
        dataset=DatasetFacts(
            fingerprint=opened.fingerprint,
            revision=opened.revision,
            rows=opened.train.num_rows,
            validation_rows=opened.validation.num_rows if opened.validation is not None else None,
            columns=tuple(opened.train.columns),
        ),
        budget=budget,
        version=version,
    )
    ports.datasets.keep(uid, opened, report)
    return created if report is None else verified(created, report)


def verified(created: RunCreated, report: LintReport) -> RunCreated:
    """`created`, telling staging which images need not be read again."""
    dataset = created.dataset.model_copy(update={"images_verified": report.images_verified})
    return created.model_copy(update={"dataset": dataset})


def look(opened: Opened, spec: RunSpec, profile: ModelProfile, ports: Ports) -> LintReport:
    """
    All of the dataset, with its tokens counted. Blocks.

    The catalogue's dates are left out: `check_alive` has asked Bedrock itself.
    """
    return lint_dataset(opened, spec, profile, today=None, region=ports.aws.region)


def check_role(spec: RunSpec, caller: Caller) -> None:
    """Only roles of the account that calls can be passed (iam:PassRole does not cross accounts)."""
    roles = {"training.role_arn": spec.training.role_arn}
    if spec.serving.dead_man_switch is not None:
        roles["serving.dead_man_switch.role_arn"] = spec.serving.dead_man_switch.role_arn
    for field, arn in roles.items():
        owner = arn.split(":")[4]
        if owner != caller.account:
            raise ConfigurationError(
                f"{field} is a role of account {owner}, and these credentials are of {caller.account}.",
                hint="Name a role of the account that you use, or change AWS_PROFILE.",
            )


async def check_alive(profile: ModelProfile, ports: Ports) -> None:
    """Bedrock's own word on the model's lifecycle counts; the catalogue's dates explain it."""
    found = await ports.aws.bedrock.foundation_model(profile.base_id)
    today = ports.clock.now().date()
    if found is not None and found.lifecycle == "ACTIVE":
        if "FINE_TUNING" not in found.customizations:
            raise ConfigurationError(
                f"Bedrock does not fine-tune {profile.base_id} in {ports.aws.region}.",
                hint=alternatives(profile, ports),
            )
        return
    dates = profile.lifecycle
    known = {
        Lifecycle.ACTIVE: "",
        Lifecycle.LEGACY: f"; it is Legacy since {dates.legacy}",
        Lifecycle.EOL: f"; its end of life was {dates.end_of_life}",
    }[profile.lifecycle_on(today)]
    state = "does not know it" if found is None else f"calls it {found.lifecycle}"
    raise ConfigurationError(
        f"{profile.name} cannot be fine-tuned any more: Bedrock in {ports.aws.region} {state}{known}.",
        hint=alternatives(profile, ports),
    )


def alternatives(profile: ModelProfile, ports: Ports) -> str:
    others = ports.catalogue.alternatives(profile, ports.clock.now().date())
    named = ", ".join(f"{other.base_id} ({', '.join(other.regions)})" for other in others)
    return f"Alive today: {named}." if named else "No other model of the catalogue is alive."


def check_counts(opened: Opened, profile: ModelProfile) -> None:
    """Bedrock counts training and validation together, and says so only after the job has started."""
    validation = opened.validation.num_rows if opened.validation is not None else 0
    total, records = opened.train.num_rows + validation, profile.records
    if total < records.minimum or total > records.maximum:
        raise DataError(
            f"The dataset has {total} rows (training and validation); {profile.name} takes "
            f"{records.minimum} to {records.maximum}.",
            hint="Choose another split or model, or max_rows under [dataset]."
            if total > records.maximum
            else "Add rows, or choose a model that takes fewer.",
        )
    if records.maximum_validation is not None and validation > records.maximum_validation:
        raise DataError(
            f"The validation split has {validation} rows; {profile.name} takes {records.maximum_validation}.",
            hint="Use a smaller one, or a smaller validation_fraction.",
        )

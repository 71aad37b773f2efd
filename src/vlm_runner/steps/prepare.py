"""
Before a run exists: find all that it needs, and refuse what cannot work. Reads only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from anyio import to_thread

from vlm_runner import preflight
from vlm_runner.core.events import DatasetFacts, ParentModel, RunCreated
from vlm_runner.core.names import bucket_name, new_folder
from vlm_runner.errors import NotFound, UsageError
from vlm_runner.lint import lint_dataset
from vlm_runner.models.settle import serving_reason, settled
from vlm_runner.plan.cost import estimate, within
from vlm_runner.prompts.templates import compile_prompt
from vlm_runner.steps.downloads import downloads_signalled

if TYPE_CHECKING:
    from collections.abc import Collection

    from vlm_runner.core.run import Run
    from vlm_runner.dataset.rows import Opened
    from vlm_runner.lint import LintReport
    from vlm_runner.models import Catalogue, ModelProfile
    from vlm_runner.spec import RunSpec
    from vlm_runner.steps.ports import Ports


def check_spec(
    spec: RunSpec, catalogue: Catalogue, region: str, metric_modules: Collection[str] = ()
) -> ModelProfile:
    """
    What can be known without asking anybody; returns the profile of the model.

    Raises:
        ConfigurationError: unknown model or hyperparameter, a value out of range, a serving mode that the
            model lacks, a template that does not parse, a metric that is not allowed, no region, or one where
            the model is not fine-tuned.
    """
    profile = catalogue.find(spec.model.base)
    compile_prompt(spec.prompt, spec.dataset.columns)
    preflight.refuse(
        preflight.spec_problems(spec, profile, metric_modules), preflight.region_problems(profile, region)
    )
    return profile


async def prepare(  # noqa: PLR0917 - what a run is made of
    spec: RunSpec, run_id: str, uid: str, version: str, ports: Ports, parent: Run | None = None
) -> RunCreated:
    """
    Look at account, model and dataset, and write down what was found.

    `parent` is the run of `model.from_run`.

    Raises:
        ConfigurationError: credentials, model or role are not fit for it.
        UsageError: the parent is not done, or has no model.
        DataError: the dataset cannot be used.
    """
    region = ports.aws.region
    profile, given = check_spec(spec, ports.catalogue, region, ports.metric_modules), spec
    spec = settled(given, profile)
    caller = await ports.aws.account.caller()
    bucket = bucket_name(spec.storage.bucket, caller.account, region)
    preflight.refuse(preflight.role_problems(spec, caller), preflight.in_place_problems(spec, bucket))
    found = await ports.aws.bedrock.foundation_model(profile.base_id)
    today = ports.clock.now().date()
    preflight.refuse(preflight.model_problems(profile, found, ports.catalogue, region, today))
    trains_on = None
    if parent is not None:
        preflight.refuse(preflight.parent_problems(spec, profile, parent, caller, region))
        trains_on = await parent_model(parent, ports)
    with downloads_signalled(ports):
        opened = await to_thread.run_sync(ports.open_dataset, spec, None)
    validation = opened.validation.num_rows if opened.validation is not None else 0
    preflight.refuse(
        preflight.count_problems(
            profile, opened.train.num_rows, validation, at_most=spec.dataset.bad_rows.skip
        )
    )
    budget, report, planned = None, None, None
    if spec.budget.max_cost is not None:
        with downloads_signalled(ports):
            report = await to_thread.run_sync(lint_all, opened, spec, profile, ports)
        cost = estimate(
            spec,
            profile,
            report.census[opened.train.name],
            report.census[opened.validation.name] if opened.validation is not None else None,
        )
        budget, planned = within(spec, profile, cost), cost.facts
    created = RunCreated(
        run_id=run_id,
        uid=uid,
        spec=spec,
        spec_fingerprint=given.fingerprint,
        account=caller.account,
        partition=caller.partition,
        region=region,
        bucket=bucket,
        folder=new_folder(spec.storage.prefix, run_id, uid),
        dataset=DatasetFacts(
            fingerprint=opened.fingerprint,
            revision=opened.revision,
            rows=opened.train.num_rows,
            validation_rows=validation if opened.validation is not None else None,
            columns=tuple(opened.train.columns),
        ),
        budget=budget,
        planned=planned,
        serving_reason=serving_reason(given, profile),
        version=version,
        parent=trains_on,
    )
    ports.datasets.keep(uid, opened, report)
    return created if report is None else verified(created, report)


async def parent_model(run: Run, ports: Ports) -> ParentModel:
    """
    The model of a finished run, which is there and can be used.

    Raises:
        UsageError: the run is not done, or has no model.
        NotFound: the model is gone, or is not Active.
    """
    arn, served = trained_model(run), run.created.serves
    model = await ports.aws.bedrock.find_model(arn)
    if model is None or model.status != "Active":
        state = "does not exist any more" if model is None else f"is {model.status}"
        raise NotFound(f"The model of run {run.run_id} {state}: {arn}.")
    origin = (run.run_id, run.uid) if served is None else (served.run_id, served.uid)
    return ParentModel(run_id=origin[0], uid=origin[1], model_arn=arn)


def trained_model(run: Run) -> str:
    """
    The ARN of the custom model that the run trained, or serves.

    Raises:
        UsageError: it is not done, or it trained none.
    """
    if not run.done:
        raise UsageError(
            f"Run {run.run_id} is not done: it is in phase {run.phase}.",
            hint=f"Resume it with: vlm-runner resume {run.run_id}",
        )
    if run.model is None:
        raise UsageError(f"Run {run.run_id} trained no model: {run.reason or 'it was cancelled before'}")
    return run.model.model_arn


def verified(created: RunCreated, report: LintReport) -> RunCreated:
    """`created`, telling staging which images need not be read again."""
    dataset = created.dataset.model_copy(update={"images_verified": report.images_verified})
    return created.model_copy(update={"dataset": dataset})


def lint_all(opened: Opened, spec: RunSpec, profile: ModelProfile, ports: Ports) -> LintReport:
    """
    All of the dataset, with its tokens counted. Blocks.

    The catalogue's dates are left out: `prepare` has asked Bedrock itself.
    """
    return lint_dataset(
        opened,
        spec,
        profile,
        today=None,
        region=ports.aws.region,
        metric_modules=ports.metric_modules,
    )

"""What comes next: from a run to one command. The only place that chooses where a run goes."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, TypeVar, assert_never

from vlm_runner.core import names
from vlm_runner.core.commands import (
    AwaitEndpoint,
    AwaitJob,
    Command,
    DeadManSwitch,
    HandOver,
    Record,
    Release,
    RequestServing,
    RunTests,
    StageImages,
    SubmitJob,
    WriteRecords,
    WriteReport,
)
from vlm_runner.core.events import (
    CreateRefused,
    CreateUncertain,
    Event,
    JobIntended,
    RunFailed,
    ServingIntended,
)
from vlm_runner.core.pace import NOT_YET_VISIBLE
from vlm_runner.core.retry import DENIED_WHILE_RENTING, STEP
from vlm_runner.core.run import Phase, Run
from vlm_runner.errors import (
    AccessDenied,
    AwsRefused,
    AwsUnavailable,
    ConfigurationError,
    CredentialsError,
    DataError,
    VlmRunnerError,
)
from vlm_runner.spec import ServingMode, seconds_of

T = TypeVar("T")

QUIET = timedelta(minutes=15)
"""
For how long a create that was signed and not answered can still arrive.

AWS rejects a request whose signature is older than five minutes (IAM user guide, signing), plus five of a
clock that runs ahead, plus slack.
"""


LONGEST_REASON = 2000
"""Characters: every save writes the whole history again."""


def decide(run: Run, *, quiet: timedelta = QUIET, closed_for: float = 0.0) -> Command:  # noqa: C901, PLR0911, PLR0912 - one line a phase
    """
    The next command.

    `closed_for` is the number of seconds, by this process's own clock, since the last moment in which
    anybody may have signed a create of this run.

    Raises:
        ValueError: the run is DONE.
    """
    match run.phase:
        case Phase.STAGING:
            return StageImages(run)
        case Phase.RECORDING:
            return WriteRecords(run)
        case Phase.SUBMITTING:
            if run.job_intent is None or run.refused_job is not None:
                return Record(intend_job(run))
            return SubmitJob(run.job_intent)
        case Phase.TRAINING:
            return AwaitJob(_known(run.job).arn)
        case Phase.REQUESTING:
            if run.serving_intent is None or run.refused_serving is not None:
                return Record(intend_serving(run))
            return RequestServing(run.serving_intent, run.uid, dead_man_switch(run))
        case Phase.WARMING:
            serving = _known(run.serving)
            return AwaitEndpoint(_known(run.serving_intent).mode, serving.arn, serving.deleted_at)
        case Phase.TESTING:
            return RunTests(run, _known(run.serving).arn)
        case Phase.RELEASING:
            return hand_over(run) or release(run, quiet.total_seconds(), closed_for)
        case Phase.REPORTING:
            return WriteReport(run)
        case Phase.DONE:
            raise ValueError(f"run {run.run_id} is done")
        case _:
            assert_never(run.phase)


def bears(  # noqa: D417 - the rest says itself
    run: Run, error: Exception, *, failing_for: float, closed_for: float, quiet: timedelta, worked: bool
) -> bool:
    """
    Whether the same command is to be tried again, a little later.

    A refusal is the last word, unless a create is of unknown fate: the quota that is used up may be used
    by that very create. Then it is asked for until nothing can come any more.

    Args:
        worked: some command has succeeded in this process, so its credentials were good.
    """
    if isinstance(error, AwsUnavailable):
        return failing_for < STEP.patience
    if isinstance(error, CredentialsError):
        return worked and failing_for < STEP.patience
    if isinstance(error, AccessDenied) and run.phase in {Phase.WARMING, Phase.TESTING}:
        return failing_for < DENIED_WHILE_RENTING.patience
    if isinstance(error, AwsRefused):
        return run.uncertain and closed_for < quiet.total_seconds()
    return False


def on_error(run: Run, error: Exception) -> Event | None:
    """
    What an error that was borne long enough means for the run: an event to go on with, or None to halt.

    A halted run is resumable, and nothing of it bills. So whatever can be mended from outside (a role, a
    quota, a network) halts the run as long as nothing bills; bad data cannot be mended, since the data of
    a run is pinned; and where something bills, or may, everything leads to its release.
    """
    if run.phase in {Phase.RELEASING, Phase.REPORTING}:
        return None
    may_have_rented = run.phase is Phase.REQUESTING and run.uncertain and not isinstance(error, AwsRefused)
    if run.phase in {Phase.WARMING, Phase.TESTING} or may_have_rented or isinstance(error, DataError):
        code = error.exit_code if isinstance(error, VlmRunnerError) else 1
        code = 100 if code == AwsUnavailable.exit_code else code
        return RunFailed(error=type(error).__name__, reason=plain(str(error) or repr(error)), exit_code=code)
    return None


def on_halt(run: Run, error: Exception) -> Event | None:
    """
    What to record before halting: that nothing was created after all, where that is certain.

    To be asked only after `bears` said no.
    """
    definite = isinstance(error, AwsRefused) or (
        isinstance(error, AwsUnavailable | ConfigurationError) and not run.uncertain
    )
    if not definite:
        return None
    if run.phase is Phase.SUBMITTING and run.job_intent is not None and run.refused_job is None:
        return CreateRefused(what="job", reason=plain(str(error)))
    if run.phase is Phase.REQUESTING and run.serving_intent is not None and run.refused_serving is None:
        return CreateRefused(what="serving", reason=plain(str(error)))
    return None


def on_doubt(run: Run, cause: str) -> Event | None:
    """
    A create was sent, or may have been, and its fate is unknown; None where that is recorded already.

    Asked where an answer was lost, and by a process that takes a run over from one that did not let go.
    """
    if run.phase is Phase.SUBMITTING and run.job_intent is not None:
        known = run.uncertain_job is not None or run.refused_job is not None
        return None if known else CreateUncertain(what="job", cause=plain(cause))
    if run.phase is Phase.REQUESTING and run.serving_intent is not None:
        known = run.uncertain_serving is not None or run.refused_serving is not None
        return None if known else CreateUncertain(what="serving", cause=plain(cause))
    return None


def plain(text: str) -> str:
    """`text` as a checkpoint can hold it: whole characters, and not too many."""
    whole = text.encode(errors="replace").decode()
    return whole if len(whole) <= LONGEST_REASON else whole[: LONGEST_REASON - 1] + "…"


def intend_job(run: Run) -> JobIntended:
    """The customization job's request, from the run alone."""
    records = _known(run.records)
    token = names.client_request_token(run, "job")
    name = names.resource_name(run, "job")
    spec = run.spec
    request: dict[str, Any] = {
        "jobName": name,
        "customModelName": names.resource_name(run, "model"),
        "roleArn": spec.training.role_arn,
        "clientRequestToken": token,
        "baseModelIdentifier": spec.model.base,
        "customizationType": "FINE_TUNING",
        "hyperParameters": dict(spec.training.hyperparameters),
        "trainingDataConfig": {"s3Uri": records.train_uri},
        "outputDataConfig": {
            "s3Uri": f"s3://{run.bucket}/{names.run_prefix(spec.storage.prefix, run.run_id)}output/"
        },
        "jobTags": names.tags(run),
        "customModelTags": names.tags(run),
    }
    if records.validation_uri is not None:
        request["validationDataConfig"] = {"validators": [{"s3Uri": records.validation_uri}]}
    return JobIntended(name=name, token=token, request=request)


def intend_serving(run: Run) -> ServingIntended:
    """The throughput's or deployment's request. A commitment is never asked for: it cannot be deleted."""
    model_arn = _known(run.model).model_arn
    mode = run.spec.serving.mode
    kind: names.Kind = "throughput" if mode is ServingMode.PROVISIONED else "deployment"
    name, token = names.resource_name(run, kind), names.client_request_token(run, kind)
    common: dict[str, Any] = {"clientRequestToken": token, "tags": names.tags(run)}
    if mode is ServingMode.PROVISIONED:
        request = common | {
            "provisionedModelName": name,
            "modelId": model_arn,
            "modelUnits": run.spec.serving.model_units,
        }
    else:
        request = common | {"modelDeploymentName": name, "modelArn": model_arn}
    return ServingIntended(mode=mode, name=name, token=token, request=request)


def hand_over(run: Run) -> HandOver | None:
    """Leave the endpoint to the user if the spec says so and the run went well."""
    keep = run.spec.serving.keep
    well = run.reason is None and run.cancelled is None
    if keep is False or not well or run.serving is None or run.serving_intent is None:
        return None
    return HandOver(
        mode=run.serving_intent.mode,
        arn=run.serving.arn,
        name=run.serving_intent.name,
        delete_command=names.delete_command(run.serving_intent.mode, run.serving.arn, run.region),
        expires_at=None if keep is True else run.updated_at + timedelta(seconds=seconds_of(keep)),
        switch=dead_man_switch(run),
    )


def dead_man_switch(run: Run) -> DeadManSwitch | None:
    """The schedule that the spec asks for, once the run has said what it rents."""
    asked, intent = run.spec.serving.dead_man_switch, run.serving_intent
    if asked is None or intent is None:
        return None
    return DeadManSwitch(
        schedule_name=names.resource_name(run, "schedule"),
        mode=intent.mode,
        endpoint_name=intent.name,
        role_arn=asked.role_arn,
        after=seconds_of(asked.after),
    )


def release(run: Run, quiet: float, closed_for: float) -> Release:
    """Everything of this run that may cost, and for how long more of it may still appear."""
    intent = run.serving_intent
    job = run.job_intent if run.may_train else None
    unsure_job = job is not None and run.job is None
    never_rented = run.serving is None and run.refused_serving is None
    unsure_serving = intent is not None and (run.uncertain_serving is not None or never_rented)
    unseen = job is not None or (
        run.serving is not None and run.endpoint is None and run.endpoint_failure is None
    )
    return Release(
        uid=run.uid,
        job_name=job.name if job is not None else None,
        job_token=job.token if job is not None else None,
        mode=intent.mode if intent is not None else None,
        endpoint_name=intent.name if intent is not None else None,
        endpoint_arn=run.serving.arn if run.serving is not None else None,
        sweep_for=max(0.0, quiet - closed_for) if unsure_job or unsure_serving else 0.0,
        unseen_for=max(0.0, NOT_YET_VISIBLE - closed_for) if unseen else 0.0,
        switch=dead_man_switch(run),
    )


def _known(value: T | None) -> T:
    if value is None:
        raise ValueError("the checkpoint's phase and facts contradict each other")
    return value

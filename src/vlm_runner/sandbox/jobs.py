"""Model customization jobs: create, get, list, stop."""

import threading
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from vlm_runner.sandbox.authorization import job_rights
from vlm_runner.sandbox.catalogue import FoundationModel, find_model
from vlm_runner.sandbox.dataset_check import check_dataset
from vlm_runner.sandbox.errors import AwsError, invalid
from vlm_runner.sandbox.hyperparameters import all_hyperparameters, check_hyperparameters
from vlm_runner.sandbox.job_output import training_loss, validation_loss
from vlm_runner.sandbox.ledger import Entry
from vlm_runner.sandbox.listing import by_name, find, page, select
from vlm_runner.sandbox.resources import DatasetVerdict, Job, Region, later
from vlm_runner.sandbox.role_files import RoleFiles
from vlm_runner.sandbox.roles import assumable, check_account
from vlm_runner.sandbox.state import SandboxState, tags_of

P = Mapping[str, Any]
INTERNAL_ERROR = "Encountered an internal error when processing the request."
VALIDATION_SECONDS = 180.0  # in practice, validation takes about three minutes


def create_job(state: SandboxState, region: Region, p: P) -> dict[str, Any]:
    now = state.now()
    memory = timedelta(seconds=state.scenario.token_memory_seconds)
    if arn := region.tokens.recall("CreateModelCustomizationJob", p, now, memory, clash="ConflictException"):
        return {"jobArn": arn}
    model, base_arn = _base(region, p["baseModelIdentifier"])
    model.require_active(now)
    epochs = _check_request(state, region, model, p)
    _check_names(region, p, now)
    tags = tags_of(p, "jobTags")
    tags_of(p, "customModelTags")
    _check_quota(state, region, now)
    job = _new_job(state, region, p, (model, base_arn), epochs)
    job.failure = state.use_once("fail_next_job")
    job.stalled = state.use_flag_once("stall_next_job")
    if state.use_flag_once("internal_error_next_job"):
        job.failure, job.fails_at = INTERNAL_ERROR, job.validated_at
    region.jobs[job.arn] = job
    region.tags[job.arn] = tags
    job.entry.tags = dict(tags)
    region.tokens.remember("CreateModelCustomizationJob", p, now, job.arn)
    _start_check(state, region, job)
    return {"jobArn": job.arn}


def _base(region: Region, identifier: str) -> tuple[FoundationModel, str]:
    custom = region.models.get(identifier) or by_name(region.models, identifier)
    if custom:
        return custom.job.model, custom.arn
    model, customizable = find_model(identifier, region.name)
    if not customizable:
        raise invalid(f"The model {identifier} does not support the customization type FINE_TUNING.")
    return model, model.arn(region.name)


def _check_request(state: SandboxState, region: Region, model: FoundationModel, p: P) -> float:
    if p.get("customizationType", "FINE_TUNING") != "FINE_TUNING":
        kind = p["customizationType"]
        raise invalid(f"The model {model.customizable_id} does not support the customization type {kind}.")
    if "s3Uri" not in p["trainingDataConfig"]:
        raise invalid("trainingDataConfig must have an s3Uri for FINE_TUNING.")
    numbers = check_hyperparameters(model, p.get("hyperParameters", {}))
    _check_role(state, region, p["roleArn"])
    return numbers["epochCount"]


def _check_role(state: SandboxState, region: Region, role_arn: str) -> None:
    check_account(role_arn, state.account)
    job = f"arn:aws:bedrock:{region.name}:{state.account}:model-customization-job/new"
    service = "bedrock.amazonaws.com"
    if state.scenario.require_roles and not assumable(
        role_arn, state.roles, service=service, account=state.account, source=job
    ):
        raise invalid("Could not assume provided IAM role. Please verify the role and its trust policy.")


def _check_names(region: Region, p: P, now: datetime) -> None:
    if by_name(region.jobs, p["jobName"]):
        raise invalid("The provided job name is currently in use.")
    promised = {job.request["customModelName"] for job in region.jobs.values() if job.ended_at(now) is None}
    if p["customModelName"] in promised or by_name(region.models, p["customModelName"]):
        raise invalid("The provided custom model name is currently in use.")


def _check_quota(state: SandboxState, region: Region, now: datetime) -> None:
    active = sum(job.ended_at(now) is None for job in region.jobs.values())
    for limit, what in (
        (state.scenario.running_jobs, "running"),
        (state.scenario.scheduled_jobs, "scheduled"),
    ):
        if active >= limit:
            raise AwsError(
                "ServiceQuotaExceededException",
                f"You have exceeded the limit of {limit} {what} customization jobs for your account.",
            )


def _new_job(
    state: SandboxState, region: Region, p: P, base: tuple[FoundationModel, str], epochs: float
) -> Job:
    (model, base_arn), now = base, state.now()
    arn = state.arn(region.name, f"model-customization-job/{model.customizable_id}")
    total = state.scenario.job_seconds
    validated_at = later(now, VALIDATION_SECONDS if total is None else total * 0.1)
    entry = Entry(
        "customization_job",
        p["jobName"],
        arn,
        region.name,
        now,
        model,
        lambda _: "InProgress",
        tokens_trained=0,
    )
    job = Job(
        arn=arn,
        name=p["jobName"],
        request=p,
        model=model,
        base_arn=base_arn,
        model_arn=state.arn(region.name, f"custom-model/{model.customizable_id}"),
        epochs=epochs,
        created_at=now,
        validated_at=validated_at,
        entry=entry,
    )
    entry.status = job.status
    state.ledger.open(entry)
    return job


def _start_check(state: SandboxState, region: Region, job: Job) -> None:
    """Runs in a thread of its own, because reading all images takes real time."""

    def check() -> None:
        try:
            files = RoleFiles(state, job.request["roleArn"], region.name)
            denied = files.denial(job_rights(state.account, region.name, job.arn, job.request))
            verdict = (
                DatasetVerdict(failure=denied)
                if denied
                else check_dataset(job.request, job.model, state.account, files)
            )
        except Exception as error:  # noqa: BLE001 -- a bug here must fail the job, not leave it for ever InProgress
            verdict = DatasetVerdict(failure=f"Internal error of the sandbox: {error!r}")
        job.verdict = verdict

    thread = threading.Thread(target=check, name=f"check-{job.name}", daemon=True)
    state.checks.append(thread)
    thread.start()


def get_job(state: SandboxState, region: Region, p: P) -> dict[str, Any]:
    job, now = find(region.jobs, p["jobIdentifier"]), state.now()
    status = job.status(now)
    done = status == "Completed"
    request = job.request
    return {
        "jobArn": job.arn,
        "jobName": job.name,
        "outputModelName": request["customModelName"],
        "outputModelArn": job.model_arn if done else None,
        "clientRequestToken": request.get("clientRequestToken"),
        "roleArn": request["roleArn"],
        "status": status,
        "statusDetails": status_details(job, now),
        "failureMessage": job.failure if status == "Failed" else None,
        "creationTime": job.created_at,
        "lastModifiedTime": _modified_at(job, now),
        "endTime": job.ended_at(now),
        "baseModelArn": job.base_arn,
        "hyperParameters": all_hyperparameters(job.model, request.get("hyperParameters", {})),
        "trainingDataConfig": request["trainingDataConfig"],
        "validationDataConfig": request.get("validationDataConfig", {"validators": []}),
        "outputDataConfig": request["outputDataConfig"],
        "customizationType": "FINE_TUNING",
        "outputModelKmsKeyArn": request.get("customModelKmsKeyId"),
        "vpcConfig": request.get("vpcConfig"),
        **(metrics_of(job) if done else {}),
    }


def metrics_of(job: Job) -> dict[str, Any]:
    validators = job.request.get("validationDataConfig", {}).get("validators", [])
    return {
        "trainingMetrics": {"trainingLoss": training_loss(1.0)},
        "validationMetrics": [{"validationLoss": validation_loss(1.0)} for _ in validators],
    }


def _modified_at(job: Job, now: datetime) -> datetime:
    marks = (job.created_at, job.validated_at, job.processed_at, job.stop_at, job.ended_at(now))
    return max(mark for mark in marks if mark and mark <= now)


def status_details(job: Job, now: datetime) -> dict[str, Any]:
    return {
        "validationDetails": _phase(job, now, job.created_at, job.validated_at),
        "dataProcessingDetails": _phase(job, now, job.validated_at, job.processed_at),
        "trainingDetails": _phase(job, now, job.processed_at, job.completes_at),
    }


def _phase(job: Job, now: datetime, starts: datetime | None, ends: datetime | None) -> dict[str, Any]:
    overall, ended = job.status(now), job.ended_at(now)
    # The data check may last longer than its share of simulated time: then validation is still in progress.
    begun = starts is not None and now >= starts and (job.verdict is not None or starts == job.created_at)
    if not begun or (ended and starts and starts >= ended):
        return {"status": "NotStarted"}
    if job.stalled and starts == job.validated_at and ended is None and overall == "InProgress":
        return {"status": "NotStarted"}
    details = {"creationTime": starts, "lastModifiedTime": min(mark for mark in (now, ends, ended) if mark)}
    cut_short = ended is not None and (ends is None or ended <= ends) and overall != "Completed"
    if cut_short or overall == "Stopping":
        return details | {"status": overall}
    finished = ends is not None and now >= ends and job.verdict is not None
    return details | {"status": "Completed" if finished else "InProgress"}


def list_jobs(state: SandboxState, region: Region, p: P) -> dict[str, Any]:
    now = state.now()
    rows = [
        {
            "jobArn": job.arn,
            "baseModelArn": job.base_arn,
            "jobName": job.name,
            "status": job.status(now),
            "statusDetails": status_details(job, now),
            "creationTime": job.created_at,
            "lastModifiedTime": _modified_at(job, now),
            "endTime": job.ended_at(now),
            "customModelArn": job.model_arn if job.status(now) == "Completed" else None,
            "customModelName": job.request["customModelName"],
            "customizationType": "FINE_TUNING",
        }
        for job in select(region.jobs.values(), p, status=lambda job: job.status(now))
    ]
    return page(rows, p, "modelCustomizationJobSummaries")


def stop_job(state: SandboxState, region: Region, p: P) -> dict[str, Any]:
    job, now = find(region.jobs, p["jobIdentifier"]), state.now()
    if job.status(now) != "InProgress":
        raise AwsError("ConflictException", f"The job is {job.status(now)} and cannot be stopped.")
    job.stop_at = now
    job.stopped_at = later(now, state.scenario.stopping_seconds)
    return {}

"""Custom models, created by completed jobs."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from vlm_runner.sandbox.errors import AwsError
from vlm_runner.sandbox.hyperparameters import all_hyperparameters
from vlm_runner.sandbox.jobs import metrics_of
from vlm_runner.sandbox.listing import find, page, select
from vlm_runner.sandbox.resources import Region
from vlm_runner.sandbox.state import SandboxState

P = Mapping[str, Any]


def get_model(state: SandboxState, region: Region, p: P) -> dict[str, Any]:
    model = find(region.models, p["modelIdentifier"])
    job = model.job
    return {
        "modelArn": model.arn,
        "modelName": model.name,
        "jobName": job.name,
        "jobArn": job.arn,
        "baseModelArn": job.base_arn,
        "customizationType": "FINE_TUNING",
        "modelKmsKeyArn": job.request.get("customModelKmsKeyId"),
        "hyperParameters": all_hyperparameters(job.model, job.request.get("hyperParameters", {})),
        "trainingDataConfig": job.request["trainingDataConfig"],
        "validationDataConfig": job.request.get("validationDataConfig"),
        "outputDataConfig": job.request["outputDataConfig"],
        "creationTime": model.created_at,
        "modelStatus": model.status(state.now()),
        **metrics_of(job),
    }


def list_models(state: SandboxState, region: Region, p: P) -> dict[str, Any]:
    now = state.now()
    chosen = select(
        region.models.values(), p, status=lambda model: model.status(now), status_key="modelStatus"
    )
    rows = [
        {
            "modelArn": model.arn,
            "modelName": model.name,
            "creationTime": model.created_at,
            "baseModelArn": model.job.base_arn,
            "baseModelName": model.job.model.id.partition(":")[0],  # the pattern has no place for :0
            "customizationType": "FINE_TUNING",
            "ownerAccountId": state.account,
            "modelStatus": model.status(now),
        }
        for model in chosen
        if p.get("baseModelArnEquals", model.job.base_arn) == model.job.base_arn
        and p.get("foundationModelArnEquals", model.job.model.arn(region.name))
        == model.job.model.arn(region.name)
    ]
    return page(rows, p, "modelSummaries")


def delete_model(state: SandboxState, region: Region, p: P) -> dict[str, Any]:
    model = find(region.models, p["modelIdentifier"])
    served = {one.model_arn for one in region.deployments.values()}
    for throughput in region.throughputs.values():
        served |= {throughput.model_arn, throughput.desired_model_arn}
    if model.arn in served:
        raise AwsError("ConflictException", f"The custom model {model.name} is in use and cannot be deleted.")
    del region.models[model.arn]
    region.tags.pop(model.arn, None)
    if model.job.verdict:
        model.job.verdict = replace(model.job.verdict, memory=None)  # frees the largest part of a job
    model.entry.ended_at = state.now()
    model.entry.status = lambda _: "Deleted"
    return {}

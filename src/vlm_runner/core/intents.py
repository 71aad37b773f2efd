"""The requests for what costs, from the run alone: the same bytes whenever they are made. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vlm_runner.core import names
from vlm_runner.core.events import JobIntended, ServingIntended
from vlm_runner.core.run import known
from vlm_runner.spec import ServingMode

if TYPE_CHECKING:
    from vlm_runner.core.run import Run


def intend_job(run: Run) -> JobIntended:
    """The customization job's request, from the run alone."""
    records, parent = known(run.records), run.created.parent
    # Name and token derive from the run: a repeated create is the same request, and buys nothing new.
    # A job that ended by an internal error keeps its name, and perhaps its model's.
    generation = 0 if run.job_error is None else run.job_error.attempt
    token = names.client_request_token(run, "job", generation)
    name = names.resource_name(run, "job", generation)
    spec = run.spec
    request: dict[str, Any] = {
        "jobName": name,
        "customModelName": names.resource_name(run, "model", generation),
        "roleArn": spec.training.role_arn,
        "clientRequestToken": token,
        # A custom model may be the base (Bedrock user guide, model-customization-submit).
        "baseModelIdentifier": parent.model_arn if parent is not None else spec.model.base,
        "customizationType": "FINE_TUNING",
        "hyperParameters": dict(spec.training.hyperparameters),
        "trainingDataConfig": {"s3Uri": records.train_uri},
        "outputDataConfig": {"s3Uri": f"s3://{run.bucket}/{names.run_folder(run)}output/"},
        "jobTags": names.tags(run),
        "customModelTags": names.tags(run),
    }
    if spec.training.kms_key is not None:
        request["customModelKmsKeyId"] = spec.training.kms_key
    if (vpc := spec.training.vpc) is not None:
        request["vpcConfig"] = {
            "subnetIds": list(vpc.subnets),
            "securityGroupIds": list(vpc.security_groups),
        }
    if records.validation_uri is not None and records.validation_in_job:
        request["validationDataConfig"] = {"validators": [{"s3Uri": records.validation_uri}]}
    return JobIntended(name=name, token=token, request=request)


def endpoint_kind(mode: ServingMode) -> names.Kind:
    return "throughput" if mode is ServingMode.PROVISIONED else "deployment"


def intend_serving(run: Run) -> ServingIntended:
    """The throughput's or deployment's request. A commitment is never asked for: it cannot be deleted."""
    model_arn = known(run.model).model_arn
    mode = run.spec.serving.mode
    kind = endpoint_kind(mode)
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

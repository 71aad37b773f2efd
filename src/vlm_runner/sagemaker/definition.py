"""
The pipeline's definition, as plain JSON values; pure.

The order is the notebook's: upload images, upload JSONL, train, then provision, test and release in ONE
step. SageMaker has no `finally`: a step that fails skips those that depend on it, so what rents must also be
what releases.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from vlm_runner.core.names import slug

if TYPE_CHECKING:
    from collections.abc import Mapping

VERSION: Final = "2020-12-01"
ENTRYPOINT: Final = "vlm-runner"

UPLOAD_IMAGES: Final = "UploadImages"
UPLOAD_RECORDS: Final = "UploadRecords"
TRAIN: Final = "Train"
SERVE: Final = "ServeTestRelease"
STEPS: Final = (UPLOAD_IMAGES, UPLOAD_RECORDS, TRAIN, SERVE)

DAY: Final = 24 * 3600
RUNTIMES: Final[Mapping[str, int]] = {UPLOAD_IMAGES: DAY, UPLOAD_RECORDS: DAY, SERVE: DAY}
"""Seconds, of the steps that do not wait for training."""
TRAIN_DAYS: Final = 5
"""
An account's quota by default: "Longest run time for a processing job", 432,000 s, L-EA47BDD3 (AWS General
Reference, Amazon SageMaker AI endpoints and quotas).
"""
MOST_TRAIN_DAYS: Final = 9
"""SageMaker API reference, ProcessingStoppingCondition: 777,600 s."""
INSTANCE_TYPE: Final = "ml.t3.large"
"""Four of them for processing jobs are an account's quota by default; of ml.t3.xlarge two (the same page)."""

VOLUME_GB: Final = 100


@dataclass(frozen=True, slots=True)
class Blueprint:
    """What a pipeline is made of; the rest are parameters, given at each start."""

    image: str
    checkpoint_uri: str
    role_arn: str
    """Under which the steps run, by default."""
    instance_type: str = INSTANCE_TYPE
    instances: int = 1
    """For uploading images; all other steps have one."""
    train_days: int = TRAIN_DAYS
    """The step only waits; one that ends too early is started again, and goes on."""
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    subnets: tuple[str, ...] = ()
    security_groups: tuple[str, ...] = ()


def definition(blueprint: Blueprint) -> dict[str, Any]:
    """The same blueprint, the same definition."""
    run = {"Get": "Parameters.RUN_ID"}
    return {
        "Version": VERSION,
        "Metadata": {},
        "Parameters": [
            {"Name": "RUN_ID", "Type": "String"},
            {"Name": "ROLE_ARN", "Type": "String", "DefaultValue": blueprint.role_arn},
            {"Name": "INST_TYPE", "Type": "String", "DefaultValue": blueprint.instance_type},
            {"Name": "INST_COUNT", "Type": "Integer", "DefaultValue": blueprint.instances},
        ],
        "Steps": [
            _step(blueprint, UPLOAD_IMAGES, ["stage", run], count={"Get": "Parameters.INST_COUNT"}),
            _step(blueprint, UPLOAD_RECORDS, ["resume", run, "--until", "recording"], after=UPLOAD_IMAGES),
            _step(blueprint, TRAIN, ["resume", run, "--until", "training"], after=UPLOAD_RECORDS),
            _step(blueprint, SERVE, ["resume", run], after=TRAIN),
        ],
    }


def display_name(run_id: str) -> str:
    """
    Of RUN's executions: the run id where SageMaker takes it, else a name that derives from it.

    PipelineExecutionDisplayName has letters, digits and single or repeated hyphens between them, at most 82
    characters (SageMaker API reference, StartPipelineExecution).
    """
    if re.fullmatch(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,81}", run_id):
        return run_id
    return f"{slug(run_id, 60) or 'run'}-{hashlib.sha256(run_id.encode()).hexdigest()[:12]}"


def _step(
    blueprint: Blueprint, name: str, words: list[Any], *, after: str | None = None, count: Any = 1
) -> dict[str, Any]:
    seconds = blueprint.train_days * DAY if name == TRAIN else RUNTIMES[name]
    arguments: dict[str, Any] = {
        "ProcessingResources": {
            "ClusterConfig": {
                "InstanceType": {"Get": "Parameters.INST_TYPE"},
                "InstanceCount": count,
                "VolumeSizeInGB": VOLUME_GB,
            }
        },
        "AppSpecification": {
            "ImageUri": blueprint.image,
            "ContainerEntrypoint": [ENTRYPOINT],
            "ContainerArguments": words,
        },
        "RoleArn": {"Get": "Parameters.ROLE_ARN"},
        "Environment": {
            "VLM_RUNNER_CHECKPOINT_URI": blueprint.checkpoint_uri,
            "VLM_RUNNER_LOG": "json",
            **blueprint.environment,
        },
        "StoppingCondition": {"MaxRuntimeInSeconds": seconds},
    }
    if blueprint.subnets:
        vpc = {"Subnets": list(blueprint.subnets), "SecurityGroupIds": list(blueprint.security_groups)}
        arguments["NetworkConfig"] = {"VpcConfig": vpc}
    step: dict[str, Any] = {"Name": name, "Type": "Processing", "Arguments": arguments}
    if after is not None:
        step["DependsOn"] = [after]
    # No CacheConfig: a cached step would silently be an old run. No RetryPolicies: AWS's JSON schema and its
    # Developer Guide differ on what they look like, Pipelines repeats after its own faults and throttling
    # anyway, and after any other failure `start` goes on where the run stands.
    return step

"""
What AWS's JSON schema of pipeline definitions, version 2020-12-01, allows of a pipeline of Processing steps.

Written by hand from the published one (GitHub, aws-sagemaker-mlops, sagemaker-model-building-pipeline-
definition-JSON-schema, as read on 2026-11-25): required properties, types, patterns and enumerations;
nothing else is allowed in. Left out are steps of other types, and what Processing steps of ours do not use.

RetryPolicies are left out, too: there the schema wants one exception type as a string, while the Developer
Guide ("Retry Policy for Pipeline Steps") and the SageMaker SDK give a list. What suits both has none.
"""

from __future__ import annotations

from typing import Any


def _object(required: list[str], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": required, "properties": properties, "additionalProperties": False}


def _list(items: Any) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _or_get(kind: str) -> dict[str, Any]:
    """A value, or where the service shall get it from."""
    return {"oneOf": [{"type": kind}, _object(["Get"], Get={"type": "string"})]}


NAME = {"type": "string", "pattern": r"^[A-Za-z0-9\-_]{1,64}$"}
DESCRIPTION = {"type": "string", "maxLength": 4096}
STRING, INTEGER, BOOLEAN = _or_get("string"), _or_get("integer"), _or_get("boolean")


def _parameter(kind: str, default: dict[str, Any]) -> dict[str, Any]:
    required = ["Name"] if kind == "String" else ["Name", "Type"]
    return _object(required, Name=NAME, Type={"enum": [kind]}, Description=DESCRIPTION, DefaultValue=default)


PARAMETER = {
    "oneOf": [
        _parameter("String", {"type": "string", "maxLength": 4096}),
        _parameter("Integer", {"type": "integer"}),
        _parameter("Float", {"type": "number"}),
        _parameter("Boolean", {"type": "boolean"}),
    ]
}

CLUSTER = _object(
    [], InstanceCount=INTEGER, InstanceType=STRING, VolumeKmsKeyId=STRING, VolumeSizeInGB=INTEGER
)
CONTAINER = _object([], ImageUri=STRING, ContainerEntrypoint=_list(STRING), ContainerArguments=_list(STRING))
VPC = _object([], Subnets=_list(STRING), SecurityGroupIds=_list(STRING))
PROCESSING = _object(
    [],
    ProcessingResources=_object([], ClusterConfig=CLUSTER),
    AppSpecification=CONTAINER,
    RoleArn=STRING,
    Environment={"type": "object", "additionalProperties": STRING},
    NetworkConfig=_object(
        [],
        EnableInterContainerTrafficEncryption=BOOLEAN,
        EnableNetworkIsolation=BOOLEAN,
        VpcConfig=VPC,
    ),
    StoppingCondition=_object([], MaxRuntimeInSeconds=INTEGER),
    Tags=_list(_object([], Key=STRING, Value=STRING)),
)
STEP = _object(
    ["Type", "Name", "Arguments"],
    Type={"enum": ["Processing"]},
    Name=NAME,
    DisplayName=NAME,
    Description=DESCRIPTION,
    DependsOn=_list(NAME),
    Arguments=PROCESSING,
)

DEFINITION = _object(
    ["Steps"],
    Version={"enum": ["2020-12-01"]},
    Metadata={
        "type": "object",
        "patternProperties": {r"^[A-Za-z0-9\-_]{1,128}$": {"type": "string", "maxLength": 1024}},
    },
    Parameters=_list(PARAMETER),
    Steps=_list(STEP),
)

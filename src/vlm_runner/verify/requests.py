"""Whom the questions are about, and the requests that put them. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vlm_runner.aws.scheduler import TARGETS
from vlm_runner.core.names import TAG_RUN, TAG_UID
from vlm_runner.spec import ServingMode

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class Request:
    service: str
    operation: str
    parameters: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom and what the requests are about."""

    account: str
    partition: str
    region: str
    bucket: str
    folder: str
    """Key prefix of all objects of this verification, with its slash."""
    name: str
    """With which the names of all that it creates begin."""
    role_arn: str
    switch_role_arn: str | None
    base_model: str
    inference_model: str
    model_name: str
    units_quota: str | None
    """Code of the model's quota of model units."""
    training_usage: str | None
    """Usage type of training it, in AWS's price list."""
    queue_url: str = ""
    queue_arn: str = ""
    due: datetime | None = None
    job: dict[str, Any] = field(default_factory=dict[str, Any])
    """The request of a customization job, as a run sends it."""

    @property
    def missing(self) -> str:
        return f"{self.name}-missing"

    def arn(self, kind: str) -> str:
        return f"arn:{self.partition}:bedrock:{self.region}:{self.account}:{kind}"

    @property
    def missing_model(self) -> str:
        """A custom model's ARN, never a foundation model's: a throughput for that would be rented."""
        return self.arn(f"custom-model/{self.base_model}/aaaaaaaaaaaa")

    @property
    def tags(self) -> list[dict[str, str]]:
        """As a run tags what it creates, so that `reap` and the policies see them as ours."""
        return [{"key": TAG_UID, "value": self.name}, {"key": TAG_RUN, "value": self.name}]


def call(service: str, operation: str, **parameters: Any) -> Request:
    return Request(service, operation, parameters)


def bad_job(s: Subject, part: str, **changes: Any) -> Request:
    """A job that must be refused. If it is not, it has nothing to train on, and the sweep stops it."""
    name = f"{s.name}-{part}"
    whole = {
        "jobName": name,
        "customModelName": name,
        "roleArn": s.role_arn,
        "baseModelIdentifier": s.base_model,
        "customizationType": "FINE_TUNING",
        "hyperParameters": {"epochCount": "1"},
        "trainingDataConfig": {"s3Uri": f"s3://{s.bucket}/{s.folder}missing.jsonl"},
        "outputDataConfig": {"s3Uri": f"s3://{s.bucket}/{s.folder}output/"},
        "jobTags": s.tags,
        "customModelTags": s.tags,
    }
    return Request("bedrock", "CreateModelCustomizationJob", whole | changes)


def distrusting_job(s: Subject) -> Request | None:
    """One whose role is the switch's, which trusts EventBridge Scheduler only."""
    return None if s.switch_role_arn is None else bad_job(s, "distrust", roleArn=s.switch_role_arn)


def switch_schedule(
    s: Subject, part: str, mode: ServingMode, *, casing: Callable[[str], str] = str
) -> Request | None:
    """One that deletes an endpoint that does not exist, as soon as it is due, and tells the queue."""
    if s.switch_role_arn is None or s.due is None:
        return None
    action, parameter = TARGETS[mode]
    return call(
        "scheduler",
        "CreateSchedule",
        Name=f"{s.name}-{part}",
        ScheduleExpression=s.due.strftime("at(%Y-%m-%dT%H:%M:%S)"),
        ScheduleExpressionTimezone="UTC",
        FlexibleTimeWindow={"Mode": "OFF"},
        ActionAfterCompletion="DELETE",
        Target={
            "Arn": f"arn:{s.partition}:scheduler:::aws-sdk:bedrock:{action}",
            "RoleArn": s.switch_role_arn,
            "Input": json.dumps({casing(parameter): s.missing}),
            "RetryPolicy": {"MaximumEventAgeInSeconds": 600, "MaximumRetryAttempts": 0},
            "DeadLetterConfig": {"Arn": s.queue_arn},
        },
    )


def bad_switch(s: Subject) -> Request | None:
    """One whose role does not exist."""
    asked = switch_schedule(s, "no-role", ServingMode.ON_DEMAND)
    if asked is None:
        return None
    nobody = f"arn:{s.partition}:iam::{s.account}:role/{s.missing}"
    target = {key: value for key, value in asked.parameters["Target"].items() if key != "DeadLetterConfig"}
    return Request(
        asked.service, asked.operation, asked.parameters | {"Target": target | {"RoleArn": nobody}}
    )


def lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]


def put(s: Subject, key: str, **condition: str) -> Request:
    return call("s3", "PutObject", Bucket=s.bucket, Key=f"{s.folder}{key}", Body=b"vlm-runner", **condition)


def read_letters(s: Subject) -> Request | None:
    """What is in the dead-letter queue."""
    if s.switch_role_arn is None:
        return None
    return call(
        "sqs",
        "ReceiveMessage",
        QueueUrl=s.queue_url,
        MaxNumberOfMessages=10,
        MessageAttributeNames=["All"],
        # Seen again by whoever looks next: this process may be killed before it has written them down.
        VisibilityTimeout=0,
    )


def quota_of(s: Subject, operation: str) -> Request | None:
    """The model's quota of model units."""
    if s.units_quota is None:
        return None
    return call("service-quotas", operation, ServiceCode="bedrock", QuotaCode=s.units_quota)


def training_price(s: Subject) -> Request | None:
    """What the price list has for training the model."""
    if s.training_usage is None:
        return None
    asked = {"regionCode": s.region, "usagetype": s.training_usage}
    filters = [{"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in asked.items()]
    return call("pricing", "GetProducts", ServiceCode="AmazonBedrock", Filters=filters)

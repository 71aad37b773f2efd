"""Nothing of an account is in a recording."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pytest
from botocore.loaders import Loader
from botocore.model import ServiceModel

from vlm_runner.aws.exchange import RawExchange
from vlm_runner.verify.recording import Header, Recording, read
from vlm_runner.verify.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Heard = Callable[..., list[dict[str, Any]]]

ACCOUNT = "987654321098"
UID = "0badcafe"
UUID = "3f7a9d1e-5a4b-4c3d-8e2f-aaaabbbbcccc"
CANARIES = (
    ACCOUNT,
    "canary",
    "tweety",
    "AROACANARY",
    "q4xmj7zgk9hi",
    UUID,
    UID,
)
ROLE = f"arn:aws:iam::{ACCOUNT}:role/team/canary-role"
JOB = f"arn:aws:bedrock:us-east-1:{ACCOUNT}:model-customization-job/amazon.nova-lite-v1:0:300k/q4xmj7zgk9hi"
CALLER = f"arn:aws:sts::{ACCOUNT}:assumed-role/canary-admin/tweety@canary.example"
DENIAL = (
    f"User: {CALLER} is not authorized to perform: bedrock:CreateProvisionedModelThroughput on resource: "
    f"arn:aws:bedrock:us-east-1:{ACCOUNT}:custom-model/amazon.nova-lite-v1:0:300k/q4xmj7zgk9hi "
    f"because no identity-based policy allows it (request {UUID})."
)


def raw(
    service: str,
    operation: str,
    request: dict[str, Any],
    answer: dict[str, Any] | None = None,
    refusal: tuple[int, str, str] | None = None,
) -> RawExchange:
    model = ServiceModel(Loader().load_service_model(service, "service-2"), service)
    described = model.operation_model(operation)
    status, code, message = refusal or (200, None, None)
    return RawExchange(
        at=datetime(2026, 11, 26, tzinfo=UTC),
        service=service,
        operation=operation,
        request=request,
        request_shape=described.input_shape,
        status=status,
        code=code,
        message=message,
        answer=answer or {},
        answer_shape=described.output_shape,
    )


EXCHANGES = [
    raw("sts", "GetCallerIdentity", {}, {"Account": ACCOUNT, "Arn": CALLER, "UserId": "AROACANARY:tweety"}),
    raw(
        "bedrock",
        "CreateModelCustomizationJob",
        {
            "jobName": "canary-job",
            "customModelName": "canary-model",
            "roleArn": ROLE,
            "clientRequestToken": "canary-token-1",
            "baseModelIdentifier": "amazon.nova-lite-v1:0:300k",
            "hyperParameters": {"epochCount": "1", "learningRate": "0.00001"},
            "trainingDataConfig": {"s3Uri": "s3://canary-bucket/secret-canary/train.jsonl"},
            "outputDataConfig": {"s3Uri": "s3://canary-bucket/runs/canary/output/"},
            "jobTags": [{"key": "canary-key", "value": "canary-value"}],
            "customModelKmsKeyId": f"arn:aws:kms:us-east-1:{ACCOUNT}:key/{UUID}",
        },
        {"jobArn": JOB},
    ),
    raw(
        "bedrock",
        "GetModelCustomizationJob",
        {"jobIdentifier": "canary-job"},
        {
            "jobArn": JOB,
            "status": "Ending",
            "clientRequestToken": "canary-token-1",
            "failureMessage": "Bucket canary-bucket of canary-job: see s3://canary-bucket/secret-canary/train.jsonl",
            "creationTime": datetime(2026, 11, 26, tzinfo=UTC),
        },
    ),
    raw(
        "bedrock",
        "CreateProvisionedModelThroughput",
        {"provisionedModelName": "canary", "modelId": JOB, "modelUnits": 1},
        refusal=(
            403,
            "AccessDeniedException",
            DENIAL,
        ),
    ),
    raw(
        "scheduler",
        "CreateSchedule",
        {
            "Name": f"vr-verify-{UID}-switch",
            "ScheduleExpression": "at(2026-11-27T12:00:00)",
            "FlexibleTimeWindow": {"Mode": "OFF"},
            "Target": {
                "Arn": "arn:aws:scheduler:::aws-sdk:bedrock:deleteCustomModelDeployment",
                "RoleArn": ROLE,
                "Input": json.dumps({"CustomModelDeploymentIdentifier": "canary-deployment"}),
            },
        },
        {"ScheduleArn": f"arn:aws:scheduler:us-east-1:{ACCOUNT}:schedule/default/vr-verify-{UID}-switch"},
    ),
    raw(
        "sqs",
        "ReceiveMessage",
        {"QueueUrl": f"https://sqs.us-east-1.amazonaws.com/{ACCOUNT}/canary-queue"},
        {
            "Messages": [
                {
                    "MessageId": UUID,
                    "ReceiptHandle": "canaryhandle==",
                    "Body": '{"canary": 1}',
                    "MessageAttributes": {
                        "ERROR_CODE": {"StringValue": "ResourceNotFoundException", "DataType": "String"},
                        "ERROR_MESSAGE": {"StringValue": "No canary-deployment here.", "DataType": "String"},
                        "SCHEDULE_ARN": {
                            "StringValue": f"arn:aws:scheduler:us-east-1:{ACCOUNT}:schedule/default/canary",
                            "DataType": "String",
                        },
                    },
                }
            ]
        },
    ),
    raw(
        "bedrock-runtime",
        "Converse",
        {"modelId": JOB, "messages": [{"role": "user", "content": [{"text": "canary?"}]}]},
        {"output": {"message": {"role": "assistant", "content": [{"text": "tweety"}]}}},
    ),
    raw(
        "s3",
        "PutObject",
        {
            "Bucket": "canary-bucket",
            "Key": "images/canary.png",
            "Body": BytesIO(b"canary"),
            "Metadata": {"ca nary": "x"},
        },
        {"ETag": '"canary"'},
    ),
    raw("iam", "GetRole", {"RoleName": "canary-role"}, {
        "Role": {"RoleName": "canary-role", "Arn": ROLE, "AssumeRolePolicyDocument": {"canary": ACCOUNT},
                 "Description": "The canary of tweety", "Tags": [{"Key": "tweety", "Value": "canary"}]},
    }),
]  # fmt: skip


@pytest.fixture
def heard(tmp_path: Path) -> Heard:
    """What stands in a recording of these exchanges, by a key and in a file of its own."""

    def hear(key: bytes = b"one", name: str = "recording.jsonl") -> list[dict[str, Any]]:
        redactor = Redactor(key, uid=UID, secrets=[ACCOUNT, "canary-bucket"])
        recording = Recording(tmp_path / name, redactor, Header("2026-11-26T00:00:00Z", "us-east-1", {}))
        for each in EXCHANGES:
            recording.hear(each, seconds=1.0)
        recording.close()
        read(tmp_path / name)
        return [json.loads(line) for line in (tmp_path / name).read_text().splitlines()[1:]]

    return hear


def test_no_canary_is_in_a_recording(heard: Heard) -> None:
    """
    Accounts, names, ids, tokens, tags, keys, policies, bodies, and what sentences say of them.
    """
    text = "\n".join(map(json.dumps, heard()))

    assert [canary for canary in CANARIES if canary.lower() in text.lower()] == []


def test_what_a_judge_needs_is_kept(heard: Heard) -> None:
    """
    Models, states (new ones too), sentences, the casing of parameters, numbers: they are AWS's.
    """
    _, created, looked, denied, scheduled, letter, *_ = heard()

    assert created["request"]["baseModelIdentifier"] == "amazon.nova-lite-v1:0:300k"
    assert created["request"]["hyperParameters"] == {"epochCount": "1", "learningRate": "0.00001"}
    assert looked["answer"]["status"] == "Ending"
    assert denied["message"].startswith("User: arn:aws:sts::123456789012:assumed-role/name-")
    assert (
        "is not authorized to perform: bedrock:CreateProvisionedModelThroughput on resource"
        in denied["message"]
    )
    assert "CustomModelDeploymentIdentifier" in scheduled["request"]["Target"]["Input"]
    assert scheduled["request"]["Target"]["Arn"].endswith("aws-sdk:bedrock:deleteCustomModelDeployment")
    told = letter["answer"]["Messages"][0]["MessageAttributes"]
    assert told["ERROR_CODE"]["StringValue"] == "ResourceNotFoundException"
    assert told["ERROR_MESSAGE"]["StringValue"].startswith("No name-")


def test_the_same_name_has_the_same_placeholder(heard: Heard) -> None:
    """
    All through a recording, so that an echo can be told; and another one in a recording with another key.
    """
    _, created, looked, *_ = heard()
    _, other, *_ = heard(b"two", "other.jsonl")

    assert looked["answer"]["clientRequestToken"] == created["request"]["clientRequestToken"]
    assert looked["request"]["jobIdentifier"] == created["request"]["jobName"]
    assert looked["answer"]["jobArn"] == created["answer"]["jobArn"]
    assert other["request"]["jobName"] != created["request"]["jobName"]


def test_a_line_that_was_cut_off_is_dropped(tmp_path: Path) -> None:
    """
    A process was killed while it wrote: the recording goes on after the last whole line.
    """
    path, header = tmp_path / "recording.jsonl", Header("2026-11-26T00:00:00Z", "us-east-1", {})
    first = Recording(path, Redactor(b"key"), header)
    first.hear(EXCHANGES[0], seconds=1.0)
    first.close()
    path.write_text(path.read_text() + '{"probe": "1.1", "lev')

    again = Recording(path, Redactor(b"key"), header)
    again.hear(EXCHANGES[1], seconds=2.0)
    again.close()

    assert [each.operation for each in again.exchanges] == [
        "GetCallerIdentity",
        "CreateModelCustomizationJob",
    ]
    assert read(path)[1] == again.exchanges

"""What Bedrock refuses at once."""

from typing import Any

import pytest
from botocore.exceptions import ClientError

from .desk import BUCKET, LLAMA, ROLE, Desk

REFUSED: list[tuple[str, dict[str, Any], str, str]] = [
    ("underscore in a job name", {"jobName": "cats_1"}, "ValidationException", "at 'jobName'"),
    ("hyphens for ever", {"jobName": "a" + "-" * 60 + "_"}, "ValidationException", "at 'jobName'"),
    ("long job name", {"jobName": "c" * 64}, "ValidationException", "less than or equal to 63"),
    ("dot in a model name", {"customModelName": "cats.1"}, "ValidationException", "'customModelName'"),
    ("underscore in a token", {"clientRequestToken": "a_b"}, "ValidationException", "'clientRequestToken'"),
    ("role of no account", {"roleArn": "arn:aws:iam::1:role/x"}, "ValidationException", "'roleArn'"),
    (
        "role of another account",
        {"roleArn": "arn:aws:iam::999999999999:role/x"},
        "AccessDeniedException",
        "Cross-account",
    ),
    (
        "equals sign in an S3 URI",
        {"outputDataConfig": {"s3Uri": f"s3://{BUCKET}/run=1/"}},
        "ValidationException",
        "'outputDataConfig.s3Uri'",
    ),
    ("unknown kind", {"customizationType": "GUESSING"}, "ValidationException", "enum value set"),
    (
        "kind the model lacks",
        {"customizationType": "DISTILLATION"},
        "ValidationException",
        "does not support the customization type",
    ),
    (
        "id without its context",
        {"baseModelIdentifier": "amazon.nova-lite-v1:0"},
        "ValidationException",
        "does not support",
    ),
    ("model of another region", {"baseModelIdentifier": LLAMA}, "ValidationException", "is invalid"),
    ("unknown hyperparameter", {"hyperParameters": {"depth": "1"}}, "ValidationException", "depth"),
    ("too many epochs", {"hyperParameters": {"epochCount": "6"}}, "ValidationException", "between 1 and 5"),
    ("half an epoch", {"hyperParameters": {"epochCount": "1.5"}}, "ValidationException", "valid integer"),
    (
        "learning rate of Llama",
        {"hyperParameters": {"learningRate": "0.01"}},
        "ValidationException",
        "learningRate",
    ),
    (
        "too many tags",
        {"jobTags": [{"key": f"k{n}", "value": "v"} for n in range(51)]},
        "TooManyTagsException",
        "50",
    ),
    (
        "comma in a tag",
        {"jobTags": [{"key": "a,b", "value": "v"}]},
        "ValidationException",
        "jobTags.1.member.key",
    ),
    (
        "no file to train on",
        {
            "trainingDataConfig": {
                "invocationLogsConfig": {"invocationLogSource": {"s3Uri": f"s3://{BUCKET}/x"}}
            }
        },
        "ValidationException",
        "s3Uri",
    ),
]


def refusal(call: Any, **arguments: Any) -> tuple[str, str, int]:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    reply = caught.value.response
    return reply["Error"]["Code"], reply["Error"]["Message"], reply["ResponseMetadata"]["HTTPStatusCode"]


@pytest.mark.parametrize(
    ("changes", "code", "words"), [row[1:] for row in REFUSED], ids=[r[0] for r in REFUSED]
)
def test_refuses_a_job(desk: Desk, changes: dict[str, Any], code: str, words: str) -> None:
    found = refusal(desk.bedrock.create_model_customization_job, **desk.job(**changes))

    assert found[0] == code
    assert words in found[1]
    assert desk.call("GET", "ledger")["entries"] == []


def test_a_missing_member_is_named(desk: Desk) -> None:
    """botocore would not let it through, so a raw request does."""
    client = desk.client("bedrock", attempts=2)  # one of its own, as it is spoilt here

    def cut(request: Any, **_: Any) -> None:
        request.data = b'{"jobName": "cats"}'

    client.meta.events.register("before-sign.bedrock.CreateModelCustomizationJob", cut)

    code, message, status = refusal(client.create_model_customization_job, **desk.job())

    assert (code, status) == ("ValidationException", 400)
    assert message.startswith("5 validation errors detected: Value null at 'customModelName'")


def test_job_names_are_taken_for_ever(desk: Desk) -> None:
    desk.stage()
    desk.bedrock.create_model_customization_job(**desk.job())
    desk.advance(86400)
    desk.bedrock.delete_custom_model(modelIdentifier="cats-model")

    again = desk.job(clientRequestToken="token-2", customModelName="other")
    found = refusal(desk.bedrock.create_model_customization_job, **again)

    assert found == ("ValidationException", "The provided job name is currently in use.", 400)


def test_model_names_are_unique_while_alive(desk: Desk) -> None:
    desk.finished_model()
    second = desk.job(jobName="dogs", clientRequestToken="token-2")

    assert refusal(desk.bedrock.create_model_customization_job, **second)[0] == "ValidationException"
    desk.bedrock.delete_custom_model(modelIdentifier="cats-model")
    assert desk.bedrock.create_model_customization_job(**second)["jobArn"]


def test_two_jobs_run_at_most(desk: Desk) -> None:
    desk.stage()
    for name in ("one", "two"):
        job = desk.job(jobName=name, customModelName=name, clientRequestToken=name)
        desk.bedrock.create_model_customization_job(**job)
    third = desk.job(jobName="three", customModelName="three", clientRequestToken="three")

    code, _, status = refusal(desk.bedrock.create_model_customization_job, **third)

    assert (code, status) == ("ServiceQuotaExceededException", 400)
    desk.advance(86400)
    assert desk.bedrock.create_model_customization_job(**third)["jobArn"]


def test_a_missing_role_is_refused_until_it_is_there(desk: Desk) -> None:
    request = desk.job(roleArn=ROLE.replace("bedrock-sft", "another"))

    code, message, _ = refusal(desk.bedrock.create_model_customization_job, **request)
    trust = (
        '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", '
        '"Principal": {"Service": "bedrock.amazonaws.com"}}]}'
    )
    desk.client("iam").create_role(RoleName="another", AssumeRolePolicyDocument=trust)

    assert (code, "Could not assume provided IAM role" in message) == ("ValidationException", True)
    assert desk.bedrock.create_model_customization_job(**request)["jobArn"]


def test_unknown_resources_are_not_found(desk: Desk) -> None:
    for call, arguments in (
        (desk.bedrock.get_model_customization_job, {"jobIdentifier": "cats"}),
        (desk.bedrock.get_custom_model, {"modelIdentifier": "cats"}),
        (desk.bedrock.get_provisioned_model_throughput, {"provisionedModelId": "cats"}),
        (desk.bedrock.get_custom_model_deployment, {"customModelDeploymentIdentifier": "cats"}),
    ):
        code, _, status = refusal(call, **arguments)
        assert (code, status) == ("ResourceNotFoundException", 404)


def test_what_the_sandbox_lacks_is_501_and_not_a_flaky_500(desk: Desk) -> None:
    assert refusal(desk.bedrock.list_guardrails)[2] == 501
    # One of ours that is not there, and one of moto's that it has not written.
    assert refusal(desk.client("sagemaker").list_human_task_uis)[2] == 501

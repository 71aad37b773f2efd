"""What an AWS account refuses, and a sandbox that knows better would let pass."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from .desk import ACCOUNT, BUCKET, NOVA, ROLE, Desk
from .test_refusals import refusal
from .test_schedules import delete_later
from .test_serving import ASK, rent

if TYPE_CHECKING:
    from collections.abc import Callable

NOVA_2 = "amazon.nova-2-lite-v1:0:256k"
SWITCH_NOT_ASSUMED = "The execution role you provide must allow AWS EventBridge Scheduler to assume the role."
JOB_ROLE_NOT_ASSUMED = "Could not assume provided IAM role"
DATA_NOT_READ = f"Could not validate GetObject permissions to access Amazon S3 bucket: {BUCKET}"
SDK = "arn:aws:scheduler:::aws-sdk:bedrock:"


def role(desk: Desk, name: str, *, trusts: str, source: str = "*", rights: Any = ()) -> str:
    statement = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": trusts}}
    condition = {"ArnLike": {"aws:SourceArn": source}, "StringEquals": {"aws:SourceAccount": ACCOUNT}}
    iam = desk.client("iam")
    trust = policy(statement | {"Condition": condition})
    arn = str(iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust)["Role"]["Arn"])
    for right in rights:
        iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=policy(right))
    return arn


def policy(*statements: Any) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(*actions: str, resource: str = "*") -> dict[str, Any]:
    return {"Effect": "Allow", "Action": list(actions), "Resource": resource}


def schedule(desk: Desk, **target: str) -> tuple[str, str]:
    code, message, _ = refusal(delete_later, desk=desk, seconds=60, **target)
    return code, message


def schedule_of_a_schedules_own_arn(desk: Desk) -> tuple[str, str]:
    source = f"arn:aws:scheduler:us-east-1:{ACCOUNT}:schedule/default/switch"
    return schedule(desk, RoleArn=role(desk, "narrow", trusts="scheduler.amazonaws.com", source=source))


def job(desk: Desk, **changes: Any) -> tuple[str, str]:
    code, message, _ = refusal(desk.bedrock.create_model_customization_job, **desk.job(**changes))
    return code, message


def job_of_another_region(desk: Desk) -> tuple[str, str]:
    source = f"arn:aws:bedrock:us-west-2:{ACCOUNT}:model-customization-job/*"
    return job(desk, roleArn=role(desk, "elsewhere", trusts="bedrock.amazonaws.com", source=source))


def failed(desk: Desk, **changes: Any) -> tuple[str, str]:
    desk.bedrock.create_model_customization_job(**desk.job(**changes))
    desk.advance(6 * 3600)
    found = desk.bedrock.get_model_customization_job(jobIdentifier="cats")
    return found["status"], found.get("failureMessage", "")


def failed_without(desk: Desk, action: str) -> tuple[str, str]:
    desk.stage()
    rights = [allow(*({"s3:ListBucket", "s3:GetObject", "s3:PutObject"} - {action}))]
    return failed(desk, roleArn=role(desk, "poor", trusts="bedrock.amazonaws.com", rights=rights))


KEY = f"arn:aws:kms:us-east-1:{ACCOUNT}:key/11111111-2222-3333-4444-555555555555"
VPC = {"subnetIds": ["subnet-0a1"], "securityGroupIds": ["sg-0b2"]}
S3 = ("s3:ListBucket", "s3:GetObject", "s3:PutObject")


def failed_with_rights(desk: Desk, *actions: str, **changes: Any) -> tuple[str, str]:
    desk.stage()
    arn = role(desk, "other", trusts="bedrock.amazonaws.com", rights=[allow(*S3, *actions)])
    return failed(desk, roleArn=arn, **changes)


def with_a_key_that_only_others_may_decrypt(desk: Desk) -> tuple[str, str]:
    model = desk.finished_model(customModelKmsKeyId=KEY)
    bedrock = desk.client("bedrock", keys=user(desk, allow("bedrock:*")))
    code, message, _ = refusal(
        bedrock.create_provisioned_model_throughput,
        provisionedModelName="cats", modelId=model, modelUnits=1,
    )  # fmt: skip
    return code, message


def asked_by_one_who_may_not_decrypt(desk: Desk) -> tuple[str, str]:
    rented = rent(desk, desk.finished_model(customModelKmsKeyId=KEY))
    desk.advance(3600)
    runtime = desk.client("bedrock-runtime", keys=user(desk, allow("bedrock:*")))
    code, message, _ = refusal(runtime.converse, modelId=rented, messages=ASK)
    return code, message


def with_a_validation_set(desk: Desk) -> tuple[str, str]:
    desk.stage()
    validators = {"validators": [{"s3Uri": f"s3://{BUCKET}/data/train.jsonl"}]}
    return failed(desk, baseModelIdentifier=NOVA_2, validationDataConfig=validators)


def with_eight_records(desk: Desk) -> tuple[str, str]:
    desk.stage()
    return failed(desk, baseModelIdentifier=NOVA_2)


def without_units(desk: Desk) -> tuple[str, str]:
    model = desk.finished_model()
    desk.change_scenario(no_commitment_units=0)
    code, message, _ = refusal(rent, desk=desk, model=model)
    return code, message


def an_eleventh_deployment(desk: Desk) -> tuple[str, str]:
    model = desk.finished_model()
    desk.change_scenario(deployment_seconds=0)
    create = desk.bedrock.create_custom_model_deployment
    for number in range(10):
        create(modelDeploymentName=f"dep-{number}", modelArn=model)
    code, message, _ = refusal(create, modelDeploymentName="dep-10", modelArn=model)
    return code, message


def ask(desk: Desk, model: str) -> tuple[str, str]:
    code, message, _ = refusal(desk.runtime.converse, modelId=model, messages=ASK)
    return code, message


def user(desk: Desk, *statements: Any) -> tuple[str, str]:
    """The keys of a user with these rights."""
    iam = desk.client("iam")
    iam.create_user(UserName="cats")
    iam.put_user_policy(UserName="cats", PolicyName="p", PolicyDocument=policy(*statements))
    key = iam.create_access_key(UserName="cats")["AccessKey"]
    return (key["AccessKeyId"], key["SecretAccessKey"])


def by_a_user_without_rights(desk: Desk) -> tuple[str, str]:
    bedrock = desk.client("bedrock", keys=user(desk, allow("s3:GetObject")))
    code, message, _ = refusal(bedrock.list_custom_models)
    return code, message


def by_a_user_who_may_not_pass_the_role(desk: Desk) -> tuple[str, str]:
    keys = user(desk, allow("bedrock:*"))
    bedrock = desk.client("bedrock", keys=keys)
    code, message, _ = refusal(bedrock.create_model_customization_job, **desk.job())
    return code, message


def by_a_user_who_is_denied(desk: Desk) -> tuple[str, str]:
    keys = user(desk, allow("*"), allow("s3:*") | {"Effect": "Deny"})
    desk.make_bucket()
    code, message, _ = refusal(desk.client("s3", keys=keys).list_objects_v2, Bucket=BUCKET)
    return code, message


REFUSED: dict[str, tuple[Callable[[Desk], tuple[str, str]], str, str]] = {
    "a schedule's role that does not exist": (
        lambda desk: schedule(desk, RoleArn=f"arn:aws:iam::{ACCOUNT}:role/none"),
        "ValidationException", SWITCH_NOT_ASSUMED,
    ),
    "a schedule's role that trusts another service": (
        lambda desk: schedule(desk, RoleArn=ROLE), "ValidationException", SWITCH_NOT_ASSUMED,
    ),
    "a schedule's role for the schedule instead of its group": (
        schedule_of_a_schedules_own_arn, "ValidationException", SWITCH_NOT_ASSUMED,
    ),
    "a schedule that reads": (
        lambda desk: schedule(desk, Arn=f"{SDK}getProvisionedModelThroughput"),
        "ValidationException", "not valid for the service",
    ),
    "a schedule of an unknown action": (
        lambda desk: schedule(desk, Arn=f"{SDK}deleteNothing"),
        "ValidationException", "not valid for the service",
    ),
    "a schedule of an action in PascalCase": (
        lambda desk: schedule(desk, Arn=f"{SDK}DeleteProvisionedModelThroughput"),
        "ValidationException", "not valid for the service",
    ),
    "a job's role that does not exist": (
        lambda desk: job(desk, roleArn=f"arn:aws:iam::{ACCOUNT}:role/none"),
        "ValidationException", JOB_ROLE_NOT_ASSUMED,
    ),
    "a job's role for another Region's jobs": (
        job_of_another_region, "ValidationException", JOB_ROLE_NOT_ASSUMED,
    ),
    "a job whose role may not list the bucket": (
        lambda desk: failed_without(desk, "s3:ListBucket"), "Failed", DATA_NOT_READ,
    ),
    "a job whose role may not read the data": (
        lambda desk: failed_without(desk, "s3:GetObject"), "Failed", DATA_NOT_READ,
    ),
    "a job whose role may not write the output": (
        lambda desk: failed_without(desk, "s3:PutObject"), "Failed", "Amazon S3 perms missing (PutObject)",
    ),
    "a model's key that the job's role may not use": (
        lambda desk: failed_with_rights(
            desk, "kms:Decrypt", "kms:GenerateDataKey", "kms:DescribeKey", customModelKmsKeyId=KEY
        ),
        "Failed", f"not authorized to perform: kms:CreateGrant on resource: {KEY}",
    ),
    "a VPC that the job's role may not join": (
        lambda desk: failed_with_rights(desk, "ec2:Describe*", vpcConfig=VPC),
        "Failed", "not authorized to perform: ec2:CreateNetworkInterface on resource: ",
    ),
    "a throughput of a model under a key by who may not decrypt it": (
        with_a_key_that_only_others_may_decrypt, "AccessDeniedException", f"kms:Decrypt on resource: {KEY}",
    ),
    "a question to a model under a key by who may not decrypt it": (
        asked_by_one_who_may_not_decrypt, "AccessDeniedException", f"kms:Decrypt on resource: {KEY}",
    ),
    "Nova 2 Lite with a validation set": (
        with_a_validation_set, "Failed", "Nova 2.0 doesn't support validation set",
    ),
    "Nova 2 Lite with eight records": (with_eight_records, "Failed", "200"),
    "a throughput in an account with AWS's default quota": (
        without_units, "ServiceQuotaExceededException", "no commitment model units",
    ),
    "an eleventh deployment": (an_eleventh_deployment, "ServiceQuotaExceededException", "10"),
    "Converse with the id that training takes": (
        lambda desk: ask(desk, NOVA), "ValidationException", "support on-demand throughput.",
    ),
    "Converse with another context size": (
        lambda desk: ask(desk, "amazon.nova-lite-v1:0:24k"), "ResourceNotFoundException", "Model not found.",
    ),
    "Converse by plain id with a model that only profiles serve": (
        lambda desk: ask(desk, "amazon.nova-2-lite-v1:0"), "ValidationException", "inference profile",
    ),
    "a caller without the right": (
        by_a_user_without_rights, "AccessDeniedException",
        "cats is not authorized to perform: bedrock:ListCustomModels because no identity-based policy",
    ),
    "a caller who may not pass the role": (
        by_a_user_who_may_not_pass_the_role, "AccessDeniedException",
        f"not authorized to perform: iam:PassRole on resource: {ROLE} because no identity-based policy",
    ),
    "a caller who is denied what is allowed too": (
        by_a_user_who_is_denied, "AccessDenied",
        f"s3:ListBucket on resource: arn:aws:s3:::{BUCKET} with an explicit deny in an identity-based policy",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_the_sandbox_refuses_what_aws_refuses(desk: Desk, what: str) -> None:
    act, code, words = REFUSED[what]

    found = act(desk)

    assert found[0] == code
    assert words in found[1]


def test_a_refused_schedule_is_not_stored(desk: Desk) -> None:
    schedule(desk, RoleArn=f"arn:aws:iam::{ACCOUNT}:role/none")

    assert desk.client("scheduler").list_schedules()["Schedules"] == []


def test_a_switch_whose_role_may_not_delete_never_strikes(desk: Desk) -> None:
    rent(desk, desk.finished_model())
    delete_later(desk, 2000, RoleArn=role(desk, "weak", trusts="scheduler.amazonaws.com", rights=[]))

    desk.advance(4000)

    assert desk.bedrock.list_provisioned_model_throughputs()["provisionedModelSummaries"]


def test_a_deleted_deployment_is_shown_as_deleting_for_a_while(desk: Desk) -> None:
    model = desk.finished_model()
    desk.change_scenario(deleting_seconds=300)
    desk.bedrock.create_custom_model_deployment(modelDeploymentName="dep", modelArn=model)
    desk.advance(601)
    name = {"customModelDeploymentIdentifier": "dep"}

    desk.bedrock.delete_custom_model_deployment(**name)
    shown = desk.bedrock.get_custom_model_deployment(**name)["status"]
    again = refusal(desk.bedrock.delete_custom_model_deployment, **name)[0]
    desk.advance(301)

    assert (shown, again) == ("Deleting", "ConflictException")
    assert refusal(desk.bedrock.get_custom_model_deployment, **name)[0] == "ResourceNotFoundException"


def test_nova_2_lite_may_answer_with_twenty_thousand_tokens(desk: Desk) -> None:
    answer = desk.runtime.converse(
        modelId="us.amazon.nova-2-lite-v1:0", messages=ASK, inferenceConfig={"maxTokens": 20_000}
    )

    assert answer["stopReason"] == "end_turn"

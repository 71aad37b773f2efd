"""What the sandbox asks of IAM, and what our policies allow, held against AWS's authorization reference."""

from __future__ import annotations

from typing import Any

import pytest

from vlm_runner.doctor.documents import Scope, all_documents, verify_documents
from vlm_runner.sandbox.policies import Question, decide, listed

from .reference import acts_on, authorization_reference, is_of

ACCOUNT = "123456789012"
SCOPE = Scope(
    account=ACCOUNT,
    region="us-east-1",
    bucket="cats",
    role_arn=f"arn:aws:iam::{ACCOUNT}:role/of-the-job",
    base_model="amazon.nova-2-lite-v1:0:256k",
    inference_model="amazon.nova-2-lite-v1:0",
    store="checkpoints/v",
    dead_man_role_arn=f"arn:aws:iam::{ACCOUNT}:role/of-the-switch",
    kms_key=f"arn:aws:kms:us-east-1:{ACCOUNT}:key/1",
    model_key=f"arn:aws:kms:us-east-1:{ACCOUNT}:key/2",
    subnets=("subnet-0a1",),
    security_groups=("sg-0b2",),
)
PRINTED = all_documents(SCOPE) | verify_documents(SCOPE)
RIGHTS = [name for name in PRINTED if not name.endswith("trust")]


@pytest.fixture(scope="module")
def reference() -> dict[str, Any]:
    found = authorization_reference()
    if found is None:
        pytest.skip("the authorization reference is fetched by make install")
    return found


@pytest.mark.parametrize("document", RIGHTS)
def test_each_printed_action_exists_and_works_on_a_resource_of_its_statement(
    reference: dict[str, Any], document: str
) -> None:
    wrong = [
        (statement["Sid"], action)
        for statement in PRINTED[document]["Statement"]
        for action in statement["Action"]
        if not acts_on(reference, action, listed(statement["Resource"]))
    ]

    assert wrong == []


@pytest.mark.parametrize("document", RIGHTS)
def test_each_condition_key_is_one_that_the_service_has(reference: dict[str, Any], document: str) -> None:
    wrong = [
        (statement["Sid"], key)
        for statement in PRINTED[document]["Statement"]
        for keys in statement.get("Condition", {}).values()
        for key in keys
        if not _has_key(reference, statement["Action"][0].partition(":")[0], key)
    ]

    assert wrong == []


def test_an_action_that_there_is_not_or_not_for_the_resource_is_found(reference: dict[str, Any]) -> None:
    deployment = f"arn:aws:bedrock:us-east-1:{ACCOUNT}:custom-model-deployment/x"

    assert acts_on(reference, "bedrock:DeleteCustomModelDeployment", [deployment])
    assert not acts_on(reference, "bedrock:DeleteCats", ["*"])
    assert not acts_on(reference, "bedrock:DeleteProvisionedModelThroughput", [deployment])


def _has_key(reference: dict[str, Any], service: str, key: str) -> bool:
    plain = {"aws:ResourceAccount", "aws:TagKeys"}  # global: every service has them
    if key in plain or key.startswith(("aws:RequestTag/", "aws:ResourceTag/")):
        return True
    return key in reference[service]["conditions"]


def test_a_base_model_behind_an_inference_profile_may_be_asked() -> None:
    """By the profile, which needs the model in each Region that it sends to (inference-profiles-prereq)."""
    model = SCOPE.inference_model
    asked = [f"arn:aws:bedrock:us-east-1:{ACCOUNT}:inference-profile/us.{model}"]
    asked += [
        f"arn:aws:bedrock:{region}::foundation-model/{model}"
        for region in ("us-east-1", "us-east-2", "us-west-2")
    ]
    policy = PRINTED["caller_policy"]

    decided = [decide([policy], Question("bedrock:InvokeModel", each)) for each in asked]
    another = asked[-1].replace(model, "amazon.nova-pro-v1:0")

    assert decided == ["allowed"] * 4
    assert decide([policy], Question("bedrock:InvokeModel", another)) == "implicitDeny"


@pytest.mark.parametrize("action", ["CreateModelCustomizationJob", "CreateProvisionedModelThroughput"])
def test_what_is_paid_for_is_allowed_on_every_kind_of_model_that_is_listed_for_it(
    reference: dict[str, Any], action: str
) -> None:
    """A throughput is listed for the foundation model too; a denial would come after the training is paid."""
    kinds = [kind for kind in reference["bedrock"]["privileges"][action]["resource_types"] if kind]
    (statement,) = [
        one for one in PRINTED["caller_policy"]["Statement"] if f"bedrock:{action}" in one["Action"]
    ]

    lacking = [kind for kind in kinds if not is_of(reference, "bedrock", kind, listed(statement["Resource"]))]

    assert "foundation-model" in kinds
    assert lacking == []

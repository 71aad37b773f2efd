"""What `vlm-runner iam SPEC --verify` prints is what a verification does, and no more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.e2e.judgements import needless, question
from vlm_runner.doctor.checks import scope_of
from vlm_runner.doctor.documents import caller_policy, dead_man_policy, verify_policy, verify_switch_policy
from vlm_runner.sandbox.policies import decide
from vlm_runner.verify.recording import read

from .desk import ACCOUNT, PROFILE, SPEC

if TYPE_CHECKING:
    from pathlib import Path

SCOPE = scope_of(SPEC, PROFILE, ACCOUNT, "us-east-1")
SERVICES = {"bedrock-runtime": "bedrock", "service-quotas": "servicequotas"}
NAMES = {
    "s3:HeadBucket": "s3:ListBucket",
    "s3:ListObjectsV2": "s3:ListBucket",
    "s3:PutPublicAccessBlock": "s3:PutBucketPublicAccessBlock",
    "bedrock:Converse": "bedrock:InvokeModel",
}
"""Actions that are called otherwise than their operations (service authorization reference)."""
PASSED = "iam:PassRole"
"""An action of no operation: it is looked at where another one is given a role."""


def actions(document: dict[str, Any]) -> set[str]:
    return {action for statement in document["Statement"] for action in statement["Action"]}


def test_a_verification_does_what_its_policy_allows(recorded: Path) -> None:
    """
    Every action of levels 0 to 2 is in the caller's policy or in the additional one, which has no other.
    """
    _, exchanges = read(recorded)
    done = {f"{SERVICES.get(each.service, each.service)}:{each.operation}" for each in exchanges}
    needed = {NAMES.get(each, each) for each in done}
    additional, ordinary = actions(verify_policy(SCOPE)), actions(caller_policy(SCOPE))

    assert needed - additional - ordinary == {
        "sts:GetCallerIdentity"
    }  # which needs no right (STS API reference)
    assert additional - needed == {PASSED}


def test_the_switchs_role_needs_each_statement_to_try_what_does_not_exist_and_to_tell_of_it() -> None:
    """What the targets of level 2 ask of IAM: an endpoint that is not there has no tag."""
    bedrock, sqs = (f"arn:aws:{service}:us-east-1:{ACCOUNT}:" for service in ("bedrock", "sqs"))
    asked = [
        {"action": action, "resource": resource, "context": {}}
        for action, resource in (
            ("bedrock:DeleteProvisionedModelThroughput", f"{bedrock}provisioned-model/vr-verify-1-missing"),
            ("bedrock:DeleteCustomModelDeployment", f"{bedrock}custom-model-deployment/vr-verify-1-missing"),
            ("sqs:SendMessage", f"{sqs}vr-verify-1-letters"),
        )
    ]
    statements = verify_switch_policy(SCOPE)["Statement"]

    assert [one for one in asked if decide([{"Statement": statements}], question(one)) != "allowed"] == []
    assert needless(statements, asked) == []
    assert any(decide([dead_man_policy(SCOPE)], question(one)) != "allowed" for one in asked)

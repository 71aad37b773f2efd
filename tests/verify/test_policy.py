"""What `vlm-runner iam SPEC --verify` prints is what a verification does, and no more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vlm_runner.doctor.checks import scope_of
from vlm_runner.doctor.documents import caller_policy, verify_policy
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
    # Levels 3 and 4 delete the model that they have trained.
    assert additional - needed == {PASSED, "bedrock:DeleteCustomModel"}

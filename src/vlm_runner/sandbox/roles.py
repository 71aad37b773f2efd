"""Whether Bedrock can assume a role, according to moto's IAM."""

import json
from typing import Protocol

from vlm_runner.sandbox.errors import AwsError, invalid


class Roles(Protocol):
    def trust_policy(self, role_name: str) -> str | None: ...


class MotoRoles:
    def __init__(self, account: str) -> None:
        self._account = account

    def trust_policy(self, role_name: str) -> str | None:
        from moto.iam.models import iam_backends  # noqa: PLC0415 -- moto is imported when first needed

        roles = iam_backends[self._account]["aws"].roles.values()
        return next((role.assume_role_policy_document for role in roles if role.name == role_name), None)


def check_role(role_arn: str, account: str, roles: Roles, *, must_exist: bool) -> None:
    """
    Raises:
        AwsError: the message Bedrock returns for a role of another account, a missing one, or no trust.
    """
    if role_arn.split(":")[4] not in {account, ""}:
        raise AwsError("AccessDeniedException", f"Cross-account pass role is not allowed: {role_arn}")
    if must_exist and not _trusted(roles.trust_policy(role_arn.rpartition("/")[2])):
        raise invalid("Could not assume provided IAM role. Please verify the role and its trust policy.")


def _trusted(policy: str | None) -> bool:
    statements = json.loads(policy or "{}").get("Statement", [])
    listed = statements if isinstance(statements, list) else [statements]
    return any("bedrock.amazonaws.com" in json.dumps(statement.get("Principal", {})) for statement in listed)

"""The roles of the account, in moto's IAM, and whether Bedrock can assume one."""

import json
import threading
from typing import Protocol

from vlm_runner.sandbox.errors import AwsError, invalid


class Roles(Protocol):
    def trust_policy(self, role_name: str) -> str | None: ...

    def create_first(self) -> None: ...

    def reset(self) -> None: ...


class MotoRoles:
    """`first` are the names of the roles that the account has from the start, for Bedrock to assume."""

    def __init__(self, account: str, first: tuple[str, ...] = ()) -> None:
        self._account, self._first = account, first
        self._created, self._lock = False, threading.Lock()

    def trust_policy(self, role_name: str) -> str | None:
        from moto.iam.models import iam_backends  # noqa: PLC0415 -- moto is imported when first needed

        self.create_first()
        roles = iam_backends[self._account]["aws"].roles.values()
        return next((role.assume_role_policy_document for role in roles if role.name == role_name), None)

    def create_first(self) -> None:
        """Once, before anybody looks at IAM: a quarter of a second, which most accounts never need."""
        from moto.iam.models import iam_backends  # noqa: PLC0415 -- as above

        with self._lock:
            if self._created:
                return
            self._created = True
            backend = iam_backends[self._account]["aws"]
            for name in self._first:
                backend.create_role(
                    role_name=name,
                    assume_role_policy_document=json.dumps(_trust_of(self._account)),
                    path="/",
                    permissions_boundary=None,
                    description="The role that Bedrock assumes for a customization job.",
                    tags=[],
                    max_session_duration="3600",
                )
                backend.put_role_policy(name, "s3", json.dumps(_RIGHTS))

    def reset(self) -> None:
        self._created = False


_RIGHTS = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Action": ["s3:ListBucket", "s3:GetObject", "s3:PutObject"], "Resource": "*"}
    ],
}


def _trust_of(account: str) -> dict[str, object]:
    """Bedrock user guide, model-customization-iam-role, "Trust relationship"."""
    jobs = f"arn:aws:bedrock:*:{account}:model-customization-job/*"
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "bedrock.amazonaws.com"},
        "Action": "sts:AssumeRole",
        "Condition": {
            "StringEquals": {"aws:SourceAccount": account},
            "ArnLike": {"aws:SourceArn": jobs},
        },
    }
    return {"Version": "2012-10-17", "Statement": [statement]}


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

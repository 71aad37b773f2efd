"""The account's roles, in moto's IAM: whom they trust, and what they may do."""

import json
import sys
import threading
from typing import Any, Protocol

from vlm_runner.sandbox.errors import AwsError
from vlm_runner.sandbox.guard import Principal, document_of
from vlm_runner.sandbox.policies import Document, may_assume


class Roles(Protocol):
    def trust_policy(self, role_name: str) -> Document | None:
        """None: there is no such role."""
        ...

    def principal(self, role_name: str) -> Principal | None: ...

    def arn(self, role_name: str) -> str: ...

    def create_first(self) -> None: ...

    def reset(self) -> None: ...


class MotoRoles:
    """
    `first` are the names of the roles that the account has from the start, for Bedrock to assume; beside them
    it has `SWITCH_ROLE`, for EventBridge Scheduler.
    """

    def __init__(self, account: str, first: tuple[str, ...] = ()) -> None:
        self._account = account
        self._first = {name: (_bedrock_trust(account), _JOB_RIGHTS) for name in first}
        if first:
            self._first[SWITCH_ROLE] = (_scheduler_trust(account), _SWITCH_RIGHTS)
        self._created, self._lock = False, threading.Lock()

    def trust_policy(self, role_name: str) -> Document | None:
        found = self._find(role_name)
        if found is not None:
            return document_of(found.assume_role_policy_document)
        return None if self._created else self._first.get(role_name, (None, None))[0]

    def principal(self, role_name: str) -> Principal | None:
        found = self._find(role_name)
        if found is not None:
            policies = [*found.policies.values(), *found.managed_policies.values()]
            return Principal(self._session(role_name), [document_of(one) for one in policies])
        if self._created or role_name not in self._first:
            return None
        return Principal(self._session(role_name), [self._first[role_name][1]])

    def arn(self, role_name: str) -> str:
        found = self._find(role_name)
        return str(found.arn) if found is not None else f"arn:aws:iam::{self._account}:role/{role_name}"

    def _session(self, role_name: str) -> str:
        return f"arn:aws:sts::{self._account}:assumed-role/{role_name}/service"

    def _find(self, role_name: str) -> Any:
        """Of moto, whose IAM takes a quarter of a second to import: only once somebody has used it."""
        models = sys.modules.get("moto.iam.models")
        if models is None:
            return None
        self.create_first()
        roles = models.iam_backends[self._account]["aws"].roles.values()
        return next((role for role in roles if role.name == role_name), None)

    def create_first(self) -> None:
        """Once, before anybody looks at IAM."""
        from moto.iam.models import iam_backends  # noqa: PLC0415 -- moto is imported when first needed

        with self._lock:
            if self._created:
                return
            self._created = True
            backend = iam_backends[self._account]["aws"]
            for name, (trust, rights) in self._first.items():
                backend.create_role(
                    role_name=name,
                    assume_role_policy_document=json.dumps(trust),
                    path="/",
                    permissions_boundary=None,
                    description="One of the sandbox's own.",
                    tags=[],
                    max_session_duration="3600",
                )
                backend.put_role_policy(name, "rights", json.dumps(rights))

    def reset(self) -> None:
        self._created = False


SWITCH_ROLE = "vlm-runner-switch"


def _document(**statement: Any) -> Document:
    return {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", **statement}]}


_JOB_RIGHTS = _document(
    # kms and ec2: for models with a key, and jobs in a VPC
    Action=["s3:ListBucket", "s3:GetObject", "s3:PutObject", "kms:*", "ec2:*"],
    Resource="*",
)
_SWITCH_RIGHTS = _document(
    Action=[
        "bedrock:DeleteProvisionedModelThroughput",
        "bedrock:DeleteCustomModelDeployment",
        "sqs:SendMessage",  # to a schedule's dead-letter queue
    ],
    Resource="*",
)


def _bedrock_trust(account: str) -> Document:
    """Bedrock user guide, model-customization-iam-role, "Trust relationship"."""
    jobs = f"arn:aws:bedrock:*:{account}:model-customization-job/*"
    return _trust("bedrock.amazonaws.com", account, jobs)


def _scheduler_trust(account: str) -> Document:
    """EventBridge Scheduler user guide, cross-service-confused-deputy-prevention: the source is the group."""
    return _trust("scheduler.amazonaws.com", account, f"arn:aws:scheduler:*:{account}:schedule-group/default")


def _trust(service: str, account: str, source: str) -> Document:
    return _document(
        Principal={"Service": service},
        Action="sts:AssumeRole",
        Condition={"StringEquals": {"aws:SourceAccount": account}, "ArnLike": {"aws:SourceArn": source}},
    )


def assumable(role_arn: str, roles: Roles, *, service: str, account: str, source: str) -> bool:
    """Whether `service` can assume the role on behalf of `source`, one of the account's resources."""
    context = {"aws:SourceAccount": (account,), "aws:SourceArn": (source,)}
    return may_assume(roles.trust_policy(role_arn.rpartition("/")[2]), service, context)


def check_account(role_arn: str, account: str) -> None:
    """
    Raises:
        AwsError: the message that Bedrock returns for a role of another account.
    """
    if role_arn.split(":")[4] not in {account, ""}:
        raise AwsError("AccessDeniedException", f"Cross-account pass role is not allowed: {role_arn}")

"""
Who may do what: policies applied to whoever is known to the account's IAM.

A request signed by a user's or a role session's keys is judged by their policies. Any other access key is the
account's administrator, so that a sandbox can be used without setting up IAM.
"""

import ast
import json
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from vlm_runner.sandbox.errors import QUERY_SERVICES, AwsError
from vlm_runner.sandbox.policies import Document, Question, decide


@dataclass(frozen=True)
class Principal:
    arn: str
    policies: Sequence[Document]

    @property
    def context(self) -> Mapping[str, tuple[str, ...]]:
        """What each of its requests carries: a user's name, which policies may use as a variable."""
        kind, _, name = self.arn.rpartition(":")[2].partition("/")
        return {"aws:username": (name.rpartition("/")[2],)} if kind == "user" else {}


class Guard:
    """Judges, and keeps each distinct judgement once, for `GET /_sandbox/authorizations`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        with self._lock:
            self._judged: dict[str, dict[str, Any]] = {}

    def denied(self, principal: Principal, questions: Sequence[Question]) -> tuple[Question, str] | None:
        """The first question whose answer is no, and why; None if all are allowed."""
        refused = None
        for asked in questions:
            question = replace(asked, context={**principal.context, **asked.context})
            decision = decide(principal.policies, question)
            self._record(principal.arn, question, decision)
            if decision != "allowed" and refused is None:
                refused = question, decision
        return refused

    def judgements(self) -> list[dict[str, Any]]:
        with self._lock:
            return list(self._judged.values())

    def _record(self, principal: str, question: Question, decision: str) -> None:
        context = {key: list(values) for key, values in question.context.items()}
        judged = {
            "principal": principal,
            "action": question.action,
            "resource": question.resource,
            "context": context,
            "decision": decision,
        }
        with self._lock:
            self._judged.setdefault(json.dumps(judged, sort_keys=True), judged)


def denial(service: str, principal: str, question: Question, decision: str) -> AwsError:
    """IAM user guide, "Access denied error messages"; S3 words it alike."""
    reason = (
        "with an explicit deny in an identity-based policy"
        if decision == "explicitDeny"
        else f"because no identity-based policy allows the {question.action} action"
    )
    what = f" on resource: {question.resource}" if question.resource not in {None, "*"} else ""
    message = f"User: {principal} is not authorized to perform: {question.action}{what} {reason}"
    plain = service == "s3" or service in QUERY_SERVICES
    return AwsError("AccessDenied" if plain else "AccessDeniedException", message, 403)


def principal_of(account: str, access_key: str, session_token: str | None) -> Principal | None:
    """The user or role session whose key this is; None: the account's administrator."""
    if "moto.iam.models" not in sys.modules:
        return None  # nobody has been created
    from moto.iam.access_control import CreateAccessKeyFailure, create_access_key  # noqa: PLC0415

    headers = {"X-Amz-Security-Token": session_token} if session_token else {}
    try:
        key = create_access_key(account, "aws", access_key, headers)
    except (CreateAccessKeyFailure, KeyError):
        return None
    return Principal(key.arn, [document_of(one) for one in key.collect_policies()])


def document_of(policy: Any) -> Mapping[str, Any]:
    """Of a policy in any form in which moto keeps them: managed, a user's, a role's, CloudFormation's."""
    if isinstance(policy, Mapping):
        kept = policy.get("policy_document", policy)
    elif isinstance(policy, str):
        kept = policy
    else:
        kept = next(version.document for version in policy.versions if version.is_default)
    if not isinstance(kept, str):
        return _object(kept)
    try:
        return _object(json.loads(kept))
    except ValueError:
        return _object(ast.literal_eval(kept))  # what CloudFormation gave moto, as Python's own text


def _object(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"a policy is an object, not {type(value).__name__}")
    return value

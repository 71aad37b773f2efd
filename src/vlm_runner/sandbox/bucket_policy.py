"""
What a bucket policy demands of uploads, which moto stores and does not enforce.

Only denials by the encryption that a request asks for (S3 user guide, UsingServerSideEncryption and
UsingKMSEncryption). A part of a multipart upload names no encryption, so the upload is judged when it is
created.
"""

import json
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from vlm_runner.sandbox.errors import AwsError
from vlm_runner.sandbox.http import HttpRequest

JUDGED = ("PutObject", "CopyObject", "CreateMultipartUpload")
_HEADERS = {
    "s3:x-amz-server-side-encryption": "x-amz-server-side-encryption",
    "s3:x-amz-server-side-encryption-aws-kms-key-id": "x-amz-server-side-encryption-aws-kms-key-id",
}


def check_policy(request: HttpRequest, policy: bytes | str | None, resource: str) -> None:
    """`resource` is the ARN of the object that is written. Raises AwsError where a statement denies it."""
    statements = json.loads(policy).get("Statement", []) if policy else []
    for statement in statements if isinstance(statements, list) else [statements]:
        if statement.get("Effect") == "Deny" and _is_about(statement, resource):
            conditions = statement.get("Condition", {})
            if conditions and all(
                _holds(operator, keys, request.headers) for operator, keys in conditions.items()
            ):
                raise AwsError("AccessDenied", "Access Denied", 403)


def without_conditional_denials(policy: bytes) -> str:
    """What moto may judge by: it denies by a statement whatever its Condition says."""
    document = json.loads(policy)
    statements = document.get("Statement", [])
    kept = [
        each
        for each in (statements if isinstance(statements, list) else [statements])
        if each.get("Effect") != "Deny" or not each.get("Condition")
    ]
    return json.dumps(document | {"Statement": kept})


def _is_about(statement: Mapping[str, Any], resource: str) -> bool:
    actions, resources = _listed(statement.get("Action")), _listed(statement.get("Resource"))
    return any(fnmatchcase("s3:PutObject", action) for action in actions) and any(
        fnmatchcase(resource, pattern) for pattern in resources
    )


def _holds(operator: str, keys: Mapping[str, Any], headers: Mapping[str, str]) -> bool:
    """All keys of a condition; an operator or a key that is not known holds for nothing."""
    return all(
        key in _HEADERS and _compared(operator, headers.get(_HEADERS[key]), _listed(values))
        for key, values in keys.items()
    )


def _compared(operator: str, given: str | None, values: list[str]) -> bool:
    if operator == "Null":
        return (given is None) == (str(values[0]).lower() == "true")
    name, if_exists = operator.removesuffix("IfExists"), operator.endswith("IfExists")
    if given is None:
        # IAM user guide: a negated operator, and one with IfExists, hold without the key.
        return if_exists or name in {"StringNotEquals", "StringNotLike"}
    same = fnmatchcase if name.endswith("Like") else str.__eq__
    equal = any(same(given, value) for value in values)
    kind = name.removesuffix("Equals").removesuffix("Like")
    return {"String": equal, "StringNot": not equal}.get(kind, False)


def _listed(value: Any) -> list[str]:
    return value if isinstance(value, list) else [] if value is None else [value]

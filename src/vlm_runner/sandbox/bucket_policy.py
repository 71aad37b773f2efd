"""
What a bucket policy demands of uploads, which moto stores and does not enforce.

Only denials by the encryption that a request asks for (S3 user guide, UsingServerSideEncryption and
UsingKMSEncryption). A part of a multipart upload names no encryption, so the upload is judged when it is
created.
"""

import json
from collections.abc import Mapping
from typing import Any

from vlm_runner.sandbox.errors import AwsError
from vlm_runner.sandbox.http import HttpRequest
from vlm_runner.sandbox.policies import Question, decide, statements_of

JUDGED = ("PutObject", "CopyObject", "CreateMultipartUpload")
_HEADERS = {
    "s3:x-amz-server-side-encryption": "x-amz-server-side-encryption",
    "s3:x-amz-server-side-encryption-aws-kms-key-id": "x-amz-server-side-encryption-aws-kms-key-id",
}


def check_policy(request: HttpRequest, policy: bytes | str | None, resource: str) -> None:
    """`resource` is the ARN of the object that is written. Raises AwsError where a statement denies it."""
    judged = [one for one in statements_of(json.loads(policy or "{}")) if _is_about_encryption(one)]
    context = {key: (request.headers[name],) for key, name in _HEADERS.items() if name in request.headers}
    if decide([{"Statement": judged}], Question("s3:PutObject", resource, context)) == "explicitDeny":
        raise AwsError("AccessDenied", "Access Denied", 403)


def without_conditional_denials(policy: bytes) -> str:
    """What moto may judge by: it denies by a statement whatever its Condition says."""
    document = json.loads(policy)
    kept = [one for one in statements_of(document) if one.get("Effect") != "Deny" or not one.get("Condition")]
    return json.dumps(document | {"Statement": kept})


def _is_about_encryption(statement: Mapping[str, Any]) -> bool:
    """Whether its condition names nothing but what is known here of a request."""
    named = {key.lower() for keys in statement.get("Condition", {}).values() for key in keys}
    return bool(named) and named <= _HEADERS.keys()

"""The service and Region that a request is for, read from its SigV4 credential scope."""

import re
from dataclasses import dataclass

from vlm_runner.sandbox.http import HttpRequest

_SCOPE = re.compile(r"Credential=([^/,\s]+)/(\d{8})/([^/]+)/([^/]+)/aws4_request")


@dataclass(frozen=True)
class Scope:
    access_key: str
    region: str
    service: str


# An unsigned request is for S3: only public objects are requested that way.
UNSIGNED = Scope("anonymous", "us-east-1", "s3")


def scope_of(request: HttpRequest) -> Scope:
    """The scope of a signed or presigned request. The signature itself is not verified."""
    signed = _SCOPE.search(request.headers.get("authorization", ""))
    if signed is None:
        credential = request.query.get("X-Amz-Credential", "")
        signed = _SCOPE.search(f"Credential={credential}")
    if signed is None:
        return UNSIGNED
    return Scope(signed[1], signed[3], signed[4])

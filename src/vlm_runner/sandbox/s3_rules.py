"""
What S3 checks and moto does not: owner, digests, and the conditions of operations other than PutObject.

Sources: S3 API reference, PutObject, CompleteMultipartUpload and CopyObject (x-amz-expected-bucket-owner,
Content-MD5, x-amz-checksum-*, If-Match, If-None-Match) and "Error responses".
"""

import base64
import hashlib
import zlib
from collections.abc import Callable
from typing import Final

from anycrc import Model

from vlm_runner.sandbox.errors import AwsError
from vlm_runner.sandbox.http import HttpRequest

_CRC32C: Final = Model("CRC32-ISCSI")
_CRC64NVME: Final = Model("CRC64-NVME")
_CHECKSUMS: dict[str, Callable[[bytes], bytes]] = {
    "x-amz-checksum-crc32": lambda body: zlib.crc32(body).to_bytes(4, "big"),
    "x-amz-checksum-crc32c": lambda body: _CRC32C.calc(body).to_bytes(4, "big"),
    "x-amz-checksum-crc64nvme": lambda body: _CRC64NVME.calc(body).to_bytes(8, "big"),
    "x-amz-checksum-sha1": lambda body: hashlib.sha1(body).digest(),  # noqa: S324 -- S3 offers it
    "x-amz-checksum-sha256": lambda body: hashlib.sha256(body).digest(),
}


def check_owner(request: HttpRequest, account: str) -> None:
    for header in ("x-amz-expected-bucket-owner", "x-amz-source-expected-bucket-owner"):
        if request.headers.get(header, account) != account:
            raise AwsError("AccessDenied", "Access Denied", 403)


def check_digests(request: HttpRequest) -> None:
    """Checks the body against the digests in the headers. Trailers are not verified."""
    body, headers = request.body, request.headers
    if request.method not in {"PUT", "POST"} or "aws-chunked" in headers.get("content-encoding", ""):
        return
    declared = headers.get("x-amz-content-sha256", "")
    if len(declared) == 64 and declared != hashlib.sha256(body).hexdigest():
        message = "The provided 'x-amz-content-sha256' header does not match what was computed."
        raise AwsError("XAmzContentSHA256Mismatch", message, 400)
    if md5 := headers.get("content-md5"):
        _compare(md5, hashlib.md5(body).digest(), "Content-MD5")  # noqa: S324 -- S3 offers it
    if "uploadId" in request.query and request.method == "POST":
        return  # there a checksum is of the whole object, not of this body
    for header, digest in _CHECKSUMS.items():
        if header in headers:
            _compare(headers[header], digest(body), header.removeprefix("x-amz-checksum-").upper())


def _compare(declared: str, computed: bytes, name: str) -> None:
    if declared != base64.b64encode(computed).decode():
        message = f"The {name} you specified did not match what we received."
        raise AwsError("BadDigest", message, 400)


def check_conditions(request: HttpRequest, etag: str | None) -> None:
    """Conditions on the target, where `etag` is the current one. The caller holds the lock."""
    if_match = request.headers.get("if-match")
    if_none_match = request.headers.get("if-none-match")
    if if_none_match is not None and if_none_match != "*":
        raise AwsError(
            "NotImplemented", "A header you provided implies functionality that is not implemented", 501
        )
    if if_none_match == "*" and etag is not None:
        raise _failed("If-None-Match")
    if if_match is None:
        return
    if etag is None:
        raise AwsError("NoSuchKey", "The specified key does not exist.", 404)
    if if_match != "*" and if_match.strip('"') != etag.strip('"'):
        raise _failed("If-Match")


def _failed(condition: str) -> AwsError:
    message = f"At least one of the pre-conditions you specified did not hold: {condition}"
    return AwsError("PreconditionFailed", message, 412)

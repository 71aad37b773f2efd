"""The name of the operation behind a request, for faults and the call log."""

from urllib.parse import parse_qs

from vlm_runner.sandbox.http import HttpRequest
from vlm_runner.sandbox.service_api import api_for
from vlm_runner.sandbox.signature import Scope

_OBJECT = {"GET": "GetObject", "HEAD": "HeadObject", "PUT": "PutObject", "DELETE": "DeleteObject"}
_BUCKET = {"GET": "ListObjects", "HEAD": "HeadBucket", "PUT": "CreateBucket", "DELETE": "DeleteBucket"}
_SCHEDULE = {
    "GET": "GetSchedule", "POST": "CreateSchedule", "PUT": "UpdateSchedule", "DELETE": "DeleteSchedule",
}  # fmt: skip
_SUBRESOURCES = {
    "tagging": "Tagging",
    "acl": "Acl",
    "policy": "Policy",
    "versioning": "Versioning",
    "lifecycle": "LifecycleConfiguration",
    "encryption": "Encryption",
    "publicAccessBlock": "PublicAccessBlock",
    "ownershipControls": "OwnershipControls",
    "location": "Location",
    "policyStatus": "PolicyStatus",
    "cors": "Cors",
    "notification": "NotificationConfiguration",
}


def operation_of(scope: Scope, request: HttpRequest) -> tuple[str, str]:
    """(service, operation); an unknown operation is `METHOD /path`."""
    if scope.service == "bedrock":
        service, api = api_for(request)
        model = api.match(request)
        return service, model.name if model else _unknown(request)
    if scope.service == "s3":
        return "s3", _s3(request)
    if scope.service == "scheduler" and request.path.startswith("/schedules"):
        named = request.path.strip("/") != "schedules"
        return "scheduler", _SCHEDULE.get(request.method, _unknown(request)) if named else "ListSchedules"
    if target := request.headers.get("x-amz-target"):
        return scope.service, target.rpartition(".")[2]
    form = parse_qs(request.body.decode("latin-1")) if b"Action=" in request.body[:4096] else {}
    action = request.query.get("Action") or next(iter(form.get("Action", [])), None)
    return scope.service, action or _unknown(request)


def _unknown(request: HttpRequest) -> str:
    return f"{request.method} {request.path}"


def _s3(request: HttpRequest) -> str:
    bucket, _, key = request.path.lstrip("/").partition("/")
    if not bucket:
        return "ListBuckets"
    if multipart := _multipart(request):
        return multipart
    for name, label in _SUBRESOURCES.items():
        if name in request.query:
            return f"{request.method.capitalize()}{'Object' if key else 'Bucket'}{label}"
    return _s3_object(request) if key else _s3_bucket(request)


def _s3_object(request: HttpRequest) -> str:
    copies = request.method == "PUT" and "x-amz-copy-source" in request.headers
    return "CopyObject" if copies else _OBJECT.get(request.method, _unknown(request))


def _s3_bucket(request: HttpRequest) -> str:
    if request.method == "POST" and "delete" in request.query:
        return "DeleteObjects"
    if request.method == "GET" and "list-type" in request.query:
        return "ListObjectsV2"
    return _BUCKET.get(request.method, _unknown(request))


def _multipart(request: HttpRequest) -> str | None:
    if "uploads" in request.query:
        return "CreateMultipartUpload" if request.method == "POST" else "ListMultipartUploads"
    if "uploadId" not in request.query:
        return None
    by_method = {
        "PUT": "UploadPart",
        "POST": "CompleteMultipartUpload",
        "DELETE": "AbortMultipartUpload",
        "GET": "ListParts",
    }
    return by_method.get(request.method)

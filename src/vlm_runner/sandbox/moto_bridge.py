"""Every service except Bedrock: moto's WSGI application, called in process."""

import io
import threading
import traceback
from functools import lru_cache
from typing import Any
from urllib.parse import unquote_to_bytes

from vlm_runner.sandbox.bucket_policy import JUDGED, check_policy, without_conditional_denials
from vlm_runner.sandbox.errors import AwsError, error_reply
from vlm_runner.sandbox.http import HttpReply, HttpRequest
from vlm_runner.sandbox.operations import operation_of
from vlm_runner.sandbox.s3_rules import check_conditions, check_digests, check_owner
from vlm_runner.sandbox.signature import Scope

_CONDITIONAL = frozenset({"PutObject", "CopyObject", "CompleteMultipartUpload", "DeleteObject"})


class Moto:
    """
    moto's state is global to the process, so two sandboxes in one process share it.

    S3 writes are serialized: moto's conditional PUT checks and then writes, without a lock.
    """

    def __init__(self, account: str) -> None:
        from moto.moto_server.werkzeug_app import (  # noqa: PLC0415 -- Flask and moto are slow to import
            DomainDispatcherApplication,
            create_backend_app,
        )

        self._account = account
        self._app = DomainDispatcherApplication(create_backend_app)
        # moto lists its own folders to find which service a host is of, which takes longer than most calls.
        self._app.get_backend_for_host = lru_cache(256)(self._app.get_backend_for_host)  # type: ignore[method-assign]
        self._s3_writes = threading.Lock()

    def reset(self) -> None:
        from moto.core.base_backend import BackendDict  # noqa: PLC0415

        BackendDict.reset()

    def handle(self, scope: Scope, request: HttpRequest) -> HttpReply:
        try:
            return self._s3(scope, request) if scope.service == "s3" else self._call(request)
        except AwsError as error:
            return _without_body_if_head(request, error_reply(scope.service, error))
        except NotImplementedError:
            message = f"The sandbox does not implement {operation_of(scope, request)[1]}."
            code = "NotImplemented" if scope.service == "s3" else "NotImplementedException"
            return error_reply(scope.service, AwsError(code, message, 501))
        except Exception as error:  # noqa: BLE001 -- a bug in moto, reported as such
            traceback.print_exc()
            return error_reply(scope.service, AwsError("InternalFailure", f"moto failed: {error!r}", 500))

    def _s3(self, scope: Scope, request: HttpRequest) -> HttpReply:
        bucket, _, key = request.path.lstrip("/").partition("/")
        if bucket and (found := self._bucket(bucket)) is not None:
            check_owner(request, self._account)
            if found.policy:
                self._enforce(found, scope, request, f"arn:aws:s3:::{bucket}/{key}")
        check_digests(request)
        if request.method in {"GET", "HEAD"}:
            return self._call(request)
        with self._s3_writes:
            if operation_of(scope, request)[1] in _CONDITIONAL and self._bucket(bucket) is not None:
                check_conditions(request, self._etag(bucket, key))
            return self._call(request)

    def _enforce(self, bucket: Any, scope: Scope, request: HttpRequest, resource: str) -> None:
        from moto.iam.access_control import IAMPolicy  # noqa: PLC0415

        judged = IAMPolicy(without_conditional_denials(bucket.policy))
        bucket.get_permission = judged.is_action_permitted
        if operation_of(scope, request)[1] in JUDGED:
            check_policy(request, bucket.policy, resource)

    def _bucket(self, name: str) -> Any:
        from moto.s3.models import s3_backends  # noqa: PLC0415

        return s3_backends[self._account]["aws"].buckets.get(name)

    def _etag(self, bucket: str, key: str) -> str | None:
        from moto.s3.models import FakeKey  # noqa: PLC0415

        found = self._bucket(bucket).keys.get(key)
        return str(found.etag) if isinstance(found, FakeKey) else None

    def _call(self, request: HttpRequest) -> HttpReply:
        started: list[Any] = []

        def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> None:  # noqa: ARG001
            started[:] = [int(status.split(maxsplit=1)[0]), headers]

        chunks = self._app(_environ(request, self._account), start_response)
        try:
            body = b"".join(chunks)
        finally:
            getattr(chunks, "close", lambda: None)()
        status, headers = started
        return HttpReply(status, headers, body)


def _without_body_if_head(request: HttpRequest, reply: HttpReply) -> HttpReply:
    return HttpReply(reply.status, reply.headers, b"") if request.method == "HEAD" else reply


def _environ(request: HttpRequest, account: str) -> dict[str, Any]:
    host = request.headers.get("host", "127.0.0.1")
    target = f"{request.raw_path}?{request.raw_query}" if request.raw_query else request.raw_path
    environ: dict[str, Any] = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(request.raw_path).decode("latin-1"),
        "QUERY_STRING": request.raw_query,
        "REQUEST_URI": target,
        "RAW_URI": target,
        "SERVER_NAME": host.partition(":")[0],
        "SERVER_PORT": host.partition(":")[2] or "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(request.body),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "CONTENT_LENGTH": str(len(request.body)),
    }
    names: dict[str, str] = {}
    for name, value in request.header_list:
        key = name.upper().replace("-", "_")
        if key == "CONTENT_TYPE":
            environ[key] = value
        elif key not in {"CONTENT_LENGTH", "TRANSFER_ENCODING", "EXPECT"}:
            environ[f"HTTP_{key}"] = value
        if "_" in name and name.lower().startswith("x-amz-meta-"):
            names[f"HTTP_{key}"] = name
    environ["moto.preserved_header_names"] = names
    environ["HTTP_X_MOTO_ACCOUNT_ID"] = account
    return environ

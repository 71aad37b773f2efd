"""Requests and replies as they went over the wire, for checks against the services' models."""

import json
import threading
from pathlib import Path

from vlm_runner.sandbox.event_stream import CONTENT_TYPE
from vlm_runner.sandbox.http import HttpReply, HttpRequest

SERVICES = frozenset(
    {"bedrock", "bedrock-runtime", "scheduler", "sagemaker", "servicequotas", "ce", "pricing"}
)
"""Those that the sandbox answers itself, and moto's scheduler; all of them speak JSON."""
_TOLD = frozenset({"content-type", "x-amz-target"})


class ExchangeLog:
    def __init__(self, path: Path) -> None:
        self._lock, self._file = threading.Lock(), path.open("a", encoding="utf-8")

    def write(self, service: str, operation: str, request: HttpRequest, reply: HttpReply) -> None:
        # A stream of events is no JSON to hold against a model: the SDK's own decoder reads it.
        if service not in SERVICES or ("content-type", CONTENT_TYPE) in reply.headers:
            return
        exchange = {
            "service": service,
            "operation": operation,
            "method": request.method,
            "path": request.raw_path,
            "query": request.raw_query,
            "headers": [(name, value) for name, value in request.header_list if name.lower() in _TOLD],
            "request": request.body.decode(),
            "status": reply.status,
            "reply_headers": reply.headers,
            "reply": reply.body.decode(),
        }
        with self._lock:
            self._file.write(json.dumps(exchange) + "\n")
            self._file.flush()

    def close(self) -> None:
        self._file.close()

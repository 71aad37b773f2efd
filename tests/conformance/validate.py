"""Whether an exchange is one that AWS's service models allow; see sandbox/exchange_log.py for its form."""

from __future__ import annotations

import json
from collections import Counter
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from vlm_runner.sandbox.constraints import violations as broken_constraints
from vlm_runner.sandbox.errors import AwsError
from vlm_runner.sandbox.http import HttpRequest
from vlm_runner.sandbox.service_api import ServiceApi

from .models import newest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from botocore.model import OperationModel

Shape = Any
Exchange = dict[str, Any]

COMMON_ERRORS = {
    # AWS's common errors, which no model lists; the statuses are those of its JSON protocols
    "AccessDeniedException": {400, 403},
    "ExpiredTokenException": {400, 403},
    "UnrecognizedClientException": {400, 403},
    "ThrottlingException": {400, 429},
    "ValidationException": {400},
    "SerializationException": {400},
    "InternalFailure": {500},
    "ServiceUnavailableException": {503},
    "UnknownOperationException": {404},
    "NotImplementedException": {501},  # not AWS's: what the sandbox lacks
}
KNOWN = {
    "'INFERENCE_PROFILE' at": "AWS lists it where a model answers through profiles; its own model lacks it",
    "'Llama 3.2 11B Instruct' at": "AWS's own name for it, longer than its model's 20",
}
"""Differences that AWS itself has from its models, each with a reason."""

_TYPES: dict[str, tuple[type, ...]] = {
    "structure": (dict,),
    "map": (dict,),
    "list": (list,),
    "string": (str,),
    "blob": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "long": (int,),
    "float": (int, float),
    "double": (int, float),
    "timestamp": (int, float, str),
}
_ENOUGH = 20  # of one operation and status: the rest look alike


def violations(exchange: Exchange) -> list[str]:
    """One sentence for each way in which the exchange differs from the models."""
    model = newest(exchange["service"])
    if exchange["operation"] not in model.operation_names:
        known = exchange["status"] in {404, 501}
        return [] if known else [f"{exchange['operation']}: no operation of {exchange['service']}"]
    operation = model.operation_model(exchange["operation"])
    if exchange["status"] >= 300:
        found = list(_of_error(exchange, operation))
    else:
        found = [*_of_request(exchange, operation), *_of_reply(exchange, operation)]
    unknown = [each for each in found if not any(known in each for known in KNOWN)]
    return [f"{exchange['operation']}: {each}" for each in unknown]


def violations_in(recording: Path) -> list[str]:
    """Of all exchanges of a file, each once."""
    seen: Counter[tuple[str, int]] = Counter()
    found: dict[str, None] = {}
    for line in recording.read_text().splitlines():
        exchange = json.loads(line)
        kind = (exchange["operation"], exchange["status"])
        seen[kind] += 1
        if seen[kind] <= _ENOUGH:
            found |= dict.fromkeys(violations(exchange))
    return list(found)


@cache
def _api(service: str) -> ServiceApi:
    return ServiceApi(newest(service))


def _of_request(exchange: Exchange, operation: OperationModel) -> Iterator[str]:
    """What was accepted must be what the model accepts."""
    headers = [tuple(each) for each in exchange["headers"]]
    request = HttpRequest(
        exchange["method"], exchange["path"], exchange["query"], headers, exchange["request"].encode()
    )
    if operation.service_model.protocol == "rest-json":
        try:
            call = _api(exchange["service"]).read(request)
        except AwsError as error:
            yield f"request: {error.message or error.code}"
            return
        if call.operation != operation.name:
            yield f"request: its path is that of {call.operation}"
        return
    if operation.input_shape is not None:
        sent = request.json()
        problems = [*_shape(operation.input_shape, sent, "request")]
        yield from problems or broken_constraints(operation.input_shape, sent, "request")


def _of_reply(exchange: Exchange, operation: OperationModel) -> Iterator[str]:
    expected = int(operation.http.get("responseCode", 200))
    if exchange["status"] != expected:
        yield f"status: {exchange['status']} instead of {expected}"
    shape: Shape = operation.output_shape
    if shape is None or shape.serialization.get("payload"):
        return
    body = json.loads(exchange["reply"] or "{}")
    problems = [*_shape(shape, body, "reply")]
    yield from problems or broken_constraints(shape, body, "reply")


def _of_error(exchange: Exchange, operation: OperationModel) -> Iterator[str]:
    headers = {name.lower(): value for name, value in exchange["reply_headers"]}
    body = json.loads(exchange["reply"] or "{}")
    code = (headers.get("x-amzn-errortype") or body.get("__type", "")).rpartition("#")[2].partition(":")[0]
    declared = {
        str(shape.metadata.get("error", {}).get("code", shape.name)): shape
        for shape in operation.error_shapes
    }
    if code in declared:
        expected = declared[code].metadata.get("error", {}).get("httpStatusCode")
        if expected is not None and exchange["status"] != expected:
            yield f"status: {exchange['status']} instead of {expected} for {code}"
    elif exchange["status"] not in COMMON_ERRORS.get(code, set()):
        yield f"error: {code or 'without a code'} with {exchange['status']} is not declared"


def _shape(shape: Shape, value: Any, path: str) -> Iterator[str]:
    """Types, members that are not known, and nulls; the rest is for `constraints`."""
    if value is None:
        yield f"{path}: null, which AWS leaves out"
        return
    if getattr(shape, "is_document_type", False):
        return
    kinds = _TYPES[shape.type_name]
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        yield f"{path}: {type(value).__name__} instead of {shape.type_name}"
    elif shape.type_name == "timestamp" and isinstance(value, str):
        if not _is_time(value):
            yield f"{path}: '{value}' instead of a time"
    else:
        for member, each, name in _within(shape, value):
            if member is None:
                yield f"{path}.{name}: no such member"
            else:
                yield from _shape(member, each, f"{path}.{name}")


def _within(shape: Shape, value: Any) -> Iterator[tuple[Shape | None, Any, str]]:
    """The members of a structure, a list or a map: shape, value and name."""
    if shape.type_name == "structure":
        for name, each in value.items():
            yield shape.members.get(name), each, name
    elif shape.type_name == "map":
        for name, each in value.items():
            yield shape.value, each, name
    elif shape.type_name == "list":
        for each in value:
            yield shape.member, each, "member"


def _is_time(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True

"""
An AWS service as described by botocore's model: routes, members, constraints and error statuses.

Taken from botocore, not written by hand, so that URLs, required members and typed exceptions match the SDK.
"""

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import unquote

from botocore.loaders import Loader
from botocore.model import OperationModel, ServiceModel

from vlm_runner.sandbox.constraints import Shape, violations
from vlm_runner.sandbox.errors import AwsError, invalid
from vlm_runner.sandbox.event_stream import CONTENT_TYPE, event_stream
from vlm_runner.sandbox.http import HttpReply, HttpRequest, json_reply


@dataclass(frozen=True)
class Call:
    """A parsed request: the operation and its parameters, named as in the service model."""

    operation: str
    parameters: dict[str, Any]


@dataclass(frozen=True)
class _Route:
    method: str
    pattern: re.Pattern[str]
    operation: OperationModel


class ServiceApi:
    def __init__(self, model: ServiceModel) -> None:
        self._model = model
        self._routes = [_route(self._model.operation_model(name)) for name in self._model.operation_names]
        self._statuses = dict(_error_statuses(self._model))

    def match(self, request: HttpRequest) -> OperationModel | None:
        route = self._find(request)
        return route.operation if route else None

    def has(self, operation: str) -> bool:
        return operation in self._model.operation_names

    def _find(self, request: HttpRequest) -> _Route | None:
        path = request.raw_path.rstrip("/") or "/"
        for route in self._routes:
            if route.method == request.method and route.pattern.fullmatch(path):
                return route
        return None

    def read(self, request: HttpRequest) -> Call:
        """
        Parse `request` and check it against the model's constraints.

        Raises:
            AwsError: ValidationException with AWS's own message, or SerializationException.
        """
        route = self._find(request)
        if route is None:
            raise AwsError("UnknownOperationException", "", 404)
        shape = route.operation.input_shape
        parameters = {} if shape is None else _parameters(shape, route, request)
        if shape is not None and (problems := violations(shape, parameters)):
            noun = "error" if len(problems) == 1 else "errors"
            raise invalid(f"{len(problems)} validation {noun} detected: {'; '.join(problems)}")
        return Call(route.operation.name, parameters)

    def reply(self, operation: str, result: Mapping[str, Any]) -> HttpReply:
        """The serialized result; absent members are left out, as by AWS."""
        model = self._model.operation_model(operation)
        status = int(model.http.get("responseCode", 200))
        shape = model.output_shape
        payload = shape.serialization.get("payload") if shape else None
        if payload and model.has_event_stream_output:
            return HttpReply(status, [("content-type", CONTENT_TYPE)], event_stream(result[payload]))
        if payload and isinstance(result.get(payload), bytes):
            return HttpReply(status, [("content-type", "application/json")], result[payload])
        return json_reply({name: value for name, value in result.items() if value is not None}, status)

    def status_of(self, code: str) -> int | None:
        return self._statuses.get(code)


@cache
def service_api(service: str) -> ServiceApi:
    return ServiceApi(service_model(service))


def service_model(service: str) -> ServiceModel:
    """The newest of botocore's; its loader's own way looks into the folders of all 400 services first."""
    loader = Loader()
    version = loader.determine_latest_version(service, "service-2")
    return ServiceModel(loader.load_data(f"{service}/{version}/service-2"), service)


def api_for(request: HttpRequest) -> tuple[str, ServiceApi]:
    """Bedrock's two services both sign as `bedrock`, so the path decides."""
    name = "bedrock-runtime" if request.raw_path.startswith("/model/") else "bedrock"
    return name, service_api(name)


def _route(operation: OperationModel) -> _Route:
    uri = str(operation.http["requestUri"]).split("?")[0].rstrip("/") or "/"
    pattern = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(uri))
    return _Route(str(operation.http["method"]), re.compile(pattern), operation)


def _error_statuses(model: ServiceModel) -> list[tuple[str, int]]:
    fallback = {"httpStatusCode": 400}
    return [
        (str(shape.name), int(shape.metadata.get("error", fallback)["httpStatusCode"]))
        for shape in model.error_shapes
    ]


def _parameters(shape: Shape, route: _Route, request: HttpRequest) -> dict[str, Any]:
    found = route.pattern.fullmatch(request.raw_path.rstrip("/"))
    labels = {} if found is None else {name: unquote(text) for name, text in found.groupdict().items()}
    payload = shape.serialization.get("payload")
    document = {payload: request.body} if payload else _document(request.body)
    sources = {"uri": labels, "querystring": request.query, "header": request.headers}
    parameters: dict[str, Any] = {}
    for name, member in shape.members.items():
        location, wire = member.serialization.get("location"), member.serialization.get("name", name)
        if source := sources.get(location):
            value = _from_text(member, source.get(wire.lower() if location == "header" else wire))
        elif location is None:
            value = document.get(name) if payload else _from_json(member, document.get(wire), name)
        else:
            value = None
        if value is not None:
            parameters[name] = value
    return parameters


def _document(body: bytes) -> Mapping[str, Any]:
    try:
        document = json.loads(body or b"{}")
    except ValueError:
        raise AwsError("SerializationException", "The request body is not JSON.", 400) from None
    if not isinstance(document, dict):
        raise AwsError("SerializationException", "The request body is not a JSON object.", 400)
    return document


def _from_text(shape: Shape, text: str | None) -> Any:
    if text is None:
        return None
    try:
        match shape.type_name:
            case "integer" | "long":
                return int(text)
            case "boolean":
                return text.lower() == "true"
            case _:
                return text
    except ValueError:
        raise AwsError("SerializationException", f"'{text}' is not a number.", 400) from None


_JSON_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "long": (int,),
    "float": (int, float),
    "double": (int, float),
    "boolean": (bool,),
    "list": (list,),
    "map": (dict,),
    "structure": (dict,),
    "blob": (str,),
}


def _from_json(shape: Shape, value: Any, path: str) -> Any:
    """`value` with its blobs decoded and unknown members dropped."""
    if value is None or getattr(shape, "is_document_type", False):
        return value
    expected = _JSON_TYPES.get(shape.type_name)
    if expected and not isinstance(value, expected):
        raise AwsError("SerializationException", f"'{path}' is not a {shape.type_name}.", 400)
    match shape.type_name:
        case "structure":
            known = {name: member for name, member in shape.members.items() if value.get(name) is not None}
            return {name: _from_json(member, value[name], f"{path}.{name}") for name, member in known.items()}
        case "list":
            return [_from_json(shape.member, item, f"{path}.{i + 1}.member") for i, item in enumerate(value)]
        case "map":
            return {key: _from_json(shape.value, item, f"{path}.{key}") for key, item in value.items()}
        case "blob":
            return _blob(value, path)
        case _:
            return value


def _blob(value: str, path: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error:
        raise AwsError("SerializationException", f"'{path}' is not base64.", 400) from None

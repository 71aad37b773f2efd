"""Whatever bytes come back from AWS's address: a value of the ports, or an error that a user may meet."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import fields, is_dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final
from unittest import mock

from tests.aws.test_answers import CREATES, HOLDS_NOTHING, READS

if TYPE_CHECKING:
    from collections.abc import Mapping

CALLS: Final = {**CREATES, **READS, **HOLDS_NOTHING}
S3_BODIES: Final = {
    "ListObjectsV2": "<ListBucketResult><IsTruncated>false</IsTruncated><KeyCount>1</KeyCount><Contents><Key>folder/a"
    "</Key><Size>3</Size><ETag>&quot;abc&quot;</ETag><LastModified>2026-11-27T00:00:00.000Z</LastModified></Contents>"
    "</ListBucketResult>",
    "CreateMultipartUpload": "<InitiateMultipartUploadResult><Bucket>bucket</Bucket><Key>k</Key><UploadId>u</UploadId>"
    "</InitiateMultipartUploadResult>",
    "GetCallerIdentity": "<GetCallerIdentityResponse xmlns='https://sts.amazonaws.com/doc/2011-06-15/'>"
    "<GetCallerIdentityResult><Arn>arn:aws:iam::123456789012:user/x</Arn><UserId>x</UserId><Account>123456789012"
    "</Account></GetCallerIdentityResult></GetCallerIdentityResponse>",
    "GetRole": "<GetRoleResponse xmlns='https://iam.amazonaws.com/doc/2010-05-08/'><GetRoleResult><Role><Path>/</Path>"
    "<RoleName>r</RoleName><RoleId>AROA1234567890123456</RoleId><Arn>arn:aws:iam::123456789012:role/r</Arn>"
    "<CreateDate>2026-11-27T00:00:00Z</CreateDate><AssumeRolePolicyDocument>%7B%22Statement%22%3A%5B%5D%7D"
    "</AssumeRolePolicyDocument></Role></GetRoleResult></GetRoleResponse>",
    "Converse": '{"output": {"message": {"role": "assistant", "content": [{"text": "Hi"}]}}, "stopReason": "end_turn", '
    '"usage": {"inputTokens": 1, "outputTokens": 2, "totalTokens": 3}, "metrics": {"latencyMs": 1}}',
    "InvokeModel": '{"generation": "text", "prompt_token_count": 1, "generation_token_count": 2, "stop_reason": "stop"}',
    "GetProducts": '{"FormatVersion": "aws_v1", "PriceList": ["{\\"product\\": {\\"attributes\\": {\\"usagetype\\": '
    '\\"USE1-NovaLite-input-tokens\\"}}, \\"terms\\": {\\"OnDemand\\": {\\"a\\": {\\"effectiveDate\\": '
    '\\"2026-01-01T00:00:00Z\\", \\"priceDimensions\\": {\\"b\\": {\\"unit\\": \\"1K tokens\\", \\"pricePerUnit\\": '
    '{\\"USD\\": \\"0.1\\"}}}}}}}"]}',
}  # fmt: skip
ERRORS: Final = (
    {"message": "Rate exceeded", "__type": "ThrottlingException"},
    "<Error><Code>SlowDown</Code><Message>Please</Message></Error>",
    "<ErrorResponse><Error><Code>ExpiredToken</Code><Message>Old</Message></Error></ErrorResponse>",
)


def sample(shape: Any, name: str = "", depth: int = 0) -> Any:
    """A value that botocore's model allows for `shape`."""
    kind = shape.type_name
    if depth > 6:
        return None
    if kind == "structure":
        return {member: sample(inner, member, depth + 1) for member, inner in shape.members.items()}
    if kind == "list":
        return [sample(shape.member, name, depth + 1)]
    if kind == "map":
        return {"key": sample(shape.value, name, depth + 1)}
    if kind in {"integer", "long"}:
        return 1
    if kind in {"float", "double"}:
        return 0.5
    if kind == "boolean":
        return True
    if kind == "timestamp":
        return "2026-11-27T00:00:00Z"
    if getattr(shape, "enum", None):
        return shape.enum[0]
    if "arn" in name.lower():
        return "arn:aws:bedrock:us-east-1:123456789012:custom-model/x/abcdefghijkl"
    return {"nextToken": None, "NextToken": None, "keyMarker": None}.get(name, "vr-text")


@cache
def services() -> Mapping[str, Any]:
    """The model of each operation that is called, by its name."""
    from botocore.session import Session

    session = Session()
    found: dict[str, Any] = {}
    for name in (
        "bedrock", "bedrock-runtime", "iam", "service-quotas", "sts", "s3", "scheduler", "cloudformation", "ecs",
        "sagemaker", "events", "sns", "sqs", "pricing", "ce",
    ):  # fmt: skip
        model = session.get_service_model(name)
        for operation in model.operation_names:
            found.setdefault(operation, (name, model.operation_model(operation)))
    return found


def seeds() -> list[bytes]:
    found = []
    for call in CALLS:
        operation = call.partition(",")[0]
        _, model = services()[operation]
        body: Any = S3_BODIES.get(operation)
        if body is None:
            body = {} if model.output_shape is None else sample(model.output_shape)
        xml = isinstance(body, str) and body.startswith("<")
        headers = {"content-type": "application/xml" if xml else "application/json", "etag": '"0123"'}
        found.append(json.dumps({"call": call, "status": 200, "headers": headers, "body": body}).encode())
    for number, (status, error) in enumerate(zip((400, 503, 403), ERRORS, strict=True)):
        call = list(CALLS)[number * 7]
        found.append(json.dumps({"call": call, "status": status, "headers": {}, "body": error}).encode())
    return found


class Endpoint:
    """Answers each request with the same bytes, and closes the connection."""

    def __init__(self) -> None:
        self.reply = b""

    async def open(self) -> str:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1 << 20)
        self._server = server
        return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(Exception):
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = head.partition(b"content-length: ")[2].partition(b"\r\n")[0]
            if length.isdigit():
                await reader.readexactly(int(length))
            writer.write(
                self.reply.split(b"\r\n\r\n", 1)[0] + b"\r\n\r\n" if head.startswith(b"head ") else self.reply
            )
            await writer.drain()
        with contextlib.suppress(Exception):
            writer.close()


class Desk:
    """One session, on a loop of its own, that asks the endpoint."""

    def __init__(self) -> None:
        from vlm_runner.aws import session
        from vlm_runner.aws.session import AwsSession

        once = {"read": (1, 2, 2), "pay": (1, 2, 2), "bulk": (1, 2, 2)}
        mock.patch.object(session, "USES", once).start()
        mock.patch.object(session, "INVOKE_SECONDS", 2).start()
        mock.patch.object(session, "limiter_of", lambda *_: NoLimit()).start()
        keys = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "AWS_EC2_METADATA_DISABLED": "true"}
        mock.patch.dict("os.environ", keys).start()
        self.loop, self.endpoint = asyncio.new_event_loop(), Endpoint()
        url = self.loop.run_until_complete(self.endpoint.open())
        self.aws = AwsSession(region="us-east-1", endpoint_url=url, engine="aioboto3")

    def ask(self, call: str, reply: bytes) -> Any:
        self.endpoint.reply = reply
        return self.loop.run_until_complete(asyncio.wait_for(CALLS[call](self.aws), 30))


class NoLimit:
    async def take(self, *, urgent: bool) -> None:
        """At once."""

    def refused(self) -> None:
        """Nothing."""


@cache
def desk() -> Desk:
    return Desk()


def reply_of(table: dict[str, Any]) -> bytes:
    status, headers, body = table.get("status"), table.get("headers"), table.get("body")
    content = body if isinstance(body, str) else json.dumps(body)
    raw = content.encode(errors="replace")
    lines = [f"HTTP/1.1 {status if isinstance(status, int) else 200} OK"]
    for name, value in (headers if isinstance(headers, dict) else {}).items():
        lines.append(f"{name}: {value}".replace("\n", " ").replace("\r", " "))
    lines += [f"Content-Length: {len(raw)}", "Connection: close"]
    return "\r\n".join(lines).encode(errors="replace") + b"\r\n\r\n" + raw


def read_answer(body: bytes) -> None:
    from tests.fuzz.targets import refusing
    from vlm_runner.errors import AwsRefused, UncertainCreate, VlmRunnerError

    try:
        table = json.loads(body)
    except (ValueError, RecursionError):
        table = {}
    if not isinstance(table, dict) or str(table.get("call")) not in CALLS:
        # Bytes that are no HTTP at all.
        call, reply = list(CALLS)[len(body) % len(CALLS)], body
    else:
        call, reply = str(table["call"]), reply_of(table)
    with refusing():
        try:
            value = desk().ask(call, reply)
        except VlmRunnerError as error:
            if call in CREATES:
                settled = isinstance(error, UncertainCreate | AwsRefused) or reply[9:12] != b"200"
                assert settled, f"{call}: {type(error).__name__} says that nothing was made"
            raise
        _check_value(value)


def _check_value(value: Any) -> None:
    """What a port gives holds plain values only."""
    if is_dataclass(value) and not isinstance(value, type):
        for each in fields(value):
            _check_value(getattr(value, each.name))
    elif isinstance(value, dict):
        for key, inner in value.items():
            _check_value(key)
            _check_value(inner)
    elif isinstance(value, list | tuple | set | frozenset):
        for inner in value:
            _check_value(inner)
    elif isinstance(value, float):
        assert value == value and abs(value) != float("inf"), "is no number"  # noqa: PLR0124 - NaN

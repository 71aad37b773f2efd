"""HTTP requests and replies, independent of any web framework."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, unquote


@dataclass(frozen=True)
class HttpRequest:
    """`raw_path` and `raw_query` are as sent, because decoding a path splits the ARNs in it."""

    method: str
    raw_path: str
    raw_query: str
    header_list: Sequence[tuple[str, str]]
    body: bytes
    headers: dict[str, str] = field(init=False)
    query: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "headers", {name.lower(): value for name, value in self.header_list})
        object.__setattr__(self, "query", dict(parse_qsl(self.raw_query, keep_blank_values=True)))

    @property
    def path(self) -> str:
        return unquote(self.raw_path)

    def json(self) -> Any:
        return json.loads(self.body or b"{}")


@dataclass(frozen=True)
class HttpReply:
    status: int
    headers: list[tuple[str, str]]
    body: bytes


def timestamp(moment: datetime) -> str:
    """ISO 8601 in UTC with milliseconds, the form of Bedrock's JSON."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return timestamp(value)
    raise TypeError(f"no JSON form for {type(value).__name__}")


def json_reply(value: object, status: int = 200, *, extra: Sequence[tuple[str, str]] = ()) -> HttpReply:
    body = json.dumps(value, default=_plain).encode()
    return HttpReply(status, [("content-type", "application/json"), *extra], body)

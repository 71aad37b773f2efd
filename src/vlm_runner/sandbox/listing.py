"""Lookups and lists, shared by all kinds of resources."""

import base64
import binascii
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar

from vlm_runner.sandbox.errors import invalid, not_found


class Named(Protocol):
    arn: str
    name: str


class Dated(Named, Protocol):
    created_at: datetime


N = TypeVar("N", bound=Named)
D = TypeVar("D", bound=Dated)


def by_name(resources: Mapping[str, N], name: str) -> N | None:
    return next((resource for resource in resources.values() if resource.name == name), None)


def find(resources: Mapping[str, N], identifier: str) -> N:
    """By ARN or by name: every Get operation of Bedrock accepts both."""
    found = resources.get(identifier) or by_name(resources, identifier)
    if found is None:
        raise not_found()
    return found


def select(
    resources: Iterable[D],
    query: Mapping[str, Any],
    *,
    status: Callable[[D], str],
    status_key: str = "statusEquals",
) -> list[D]:
    """The filters that all of Bedrock's list operations share, in the requested order."""
    after, before = _moment(query.get("creationTimeAfter")), _moment(query.get("creationTimeBefore"))
    wanted = [
        resource
        for resource in resources
        if str(query.get("nameContains", "")) in resource.name
        and (status_key not in query or status(resource) == query[status_key])
        and (after is None or resource.created_at >= after)
        and (before is None or resource.created_at <= before)
    ]
    return sorted(
        wanted, key=lambda r: r.created_at, reverse=query.get("sortOrder", "Descending") == "Descending"
    )


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise invalid(f"'{text}' is not a valid timestamp.") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def page(rows: Sequence[dict[str, Any]], query: Mapping[str, Any], member: str) -> dict[str, Any]:
    size = int(query.get("maxResults", 100))
    start = _start(query.get("nextToken"))
    rest = len(rows) > start + size
    token = base64.urlsafe_b64encode(f"at:{start + size}".encode()).decode() if rest else None
    return {member: [_present(row) for row in rows[start : start + size]], "nextToken": token}


def _start(token: str | None) -> int:
    if token is None:
        return 0
    try:
        return int(base64.urlsafe_b64decode(token).decode().removeprefix("at:"))
    except (binascii.Error, ValueError):
        raise invalid("The nextToken is invalid.") from None


def _present(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value is not None}

"""
The one place where an answer of AWS becomes values.

What answers need not be AWS: a captive portal, a proxy, a cut connection also answer 2xx. botocore then
returns a dict without members, or with wrong ones. So no other module touches what botocore returned: it gets
an `AwsAnswer`, which can only be asked for a member of a given kind. A member that is missing or of another
kind means that AWS did not answer: `AwsUnavailable`, and `UncertainCreate` for a create.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from contextlib import aclosing, contextmanager
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import unquote

from vlm_runner.aws.errors import translated
from vlm_runner.core.counts import LARGEST_COUNT, counted, finite
from vlm_runner.core.text import json_object
from vlm_runner.errors import AwsUnavailable, UncertainCreate
from vlm_runner.redact import one_line

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator

T = TypeVar("T")

LONGEST_NAME: Final = 2048
"""Characters of a status, a name, an ARN, a token: no service allows more (their API references)."""
LONGEST_MESSAGE: Final = 2000
"""Characters kept of a text for people. AWS's own limit is 2048; every save of a run writes it again."""
LONGEST_TEXT: Final = 4 * 1024 * 1024
"""Characters of what a model or a queue delivers."""
MOST_PAGES: Final = 10_000
MOST_BYTES: Final = 256 * 1024 * 1024
"""Of a stream that is read whole."""
BODY_SECONDS: Final = 60.0
"""For the same, and for each of its bytes as long as SLOWEST says."""
SLOWEST: Final = 10_000.0
"""Bytes a second: what comes or goes more slowly for long is given up."""

_NAME: Final = re.compile(r"[^\x00-\x20\x7f-\xa0\u2028\u2029]+")
_ARN: Final = re.compile(r"arn:aws[a-z-]*:[a-z0-9-]+:[a-z0-9-]*:[0-9]*:[!-~]+")
_TOKENS: Final = ("nextToken", "NextToken", "NextContinuationToken")


class AwsAnswer:
    """What AWS answered to one request, or a structure in it."""

    def __init__(self, operation: str, members: Any, *, create: bool = False) -> None:
        self._operation, self._create = operation, create
        if not isinstance(members, Mapping):
            raise self.malformed("a structure", "its place", members)
        self._members = members

    def malformed(self, kind: str, name: str, value: object) -> AwsUnavailable:
        """The error for a member that is not what the API reference promises."""
        given = "none" if value is None else f"{type(value).__name__} {one_line(repr(value), 60)}"
        error = UncertainCreate if self._create else AwsUnavailable
        return error(
            f"{self._operation}: no answer of AWS ({kind} was expected as {name}, and {given} came).",
            hint="A proxy or a captive portal may answer in its place.",
        )

    def name(self, member: str) -> str:
        """A status, a name or a token: not empty, one line, no spaces."""
        value = self._members.get(member)
        if not isinstance(value, str) or len(value) > LONGEST_NAME or not _NAME.fullmatch(value):
            raise self.malformed("a name", member, value)
        return value

    def optional_name(self, member: str) -> str | None:
        return self.name(member) if self._members.get(member) is not None else None

    def arn(self, member: str) -> str:
        value = self.name(member)
        if not _ARN.fullmatch(value):
            raise self.malformed("an ARN", member, value)
        return value

    def optional_arn(self, member: str) -> str | None:
        return self.arn(member) if self._members.get(member) is not None else None

    def text(self, member: str) -> str:
        """Any text, as it came."""
        value = self._members.get(member)
        if not isinstance(value, str) or len(value) > LONGEST_TEXT:
            raise self.malformed("a text", member, value)
        return value

    def message(self, member: str) -> str | None:
        """A text for people, if there is one: cut to length, in one line, so that it cannot forge another."""
        return None if self._members.get(member) is None else one_line(self.text(member), LONGEST_MESSAGE)

    def number(self, member: str) -> float:
        value = self._members.get(member)
        try:
            return finite(value)
        except ValueError:
            raise self.malformed("a number", member, value) from None

    def optional_number(self, member: str) -> float | None:
        return self.number(member) if self._members.get(member) is not None else None

    def decimal(self, member: str) -> Decimal:
        """A finite number that AWS writes as a text, such as an amount of money."""
        return self.parsed(member, _decimal)

    def count(self, member: str, most: int = LARGEST_COUNT) -> int:
        value = self._members.get(member)
        try:
            return counted(value, most)
        except ValueError:
            raise self.malformed("a count", member, value) from None

    def flag(self, member: str) -> bool:
        value = self._members.get(member)
        if not isinstance(value, bool):
            raise self.malformed("true or false", member, value)
        return value

    def optional_flag(self, member: str) -> bool:
        """False where AWS leaves it out."""
        return self.flag(member) if self._members.get(member) is not None else False

    def optional_moment(self, member: str) -> datetime | None:
        value = self._members.get(member)
        if value is None:
            return None
        if not isinstance(value, datetime):
            raise self.malformed("a time", member, value)
        return value if value.tzinfo else value.replace(tzinfo=UTC)

    def parsed(self, member: str, parse: Callable[[str], T]) -> T:
        """What `parse` makes of a text; ValueError of it says that AWS did not write this."""
        value = self.text(member)
        try:
            return parse(value)
        except ValueError:
            raise self.malformed("another form", member, value) from None

    def part(self, member: str) -> AwsAnswer:
        """A structure in it."""
        return AwsAnswer(self._operation, self._members.get(member), create=self._create)

    def optional_part(self, member: str) -> AwsAnswer:
        """The same; an empty one where AWS leaves it out."""
        value = self._members.get(member)
        return AwsAnswer(self._operation, {} if value is None else value, create=self._create)

    def parts(self, member: str) -> list[AwsAnswer]:
        """A list of structures. One that is left out is not empty: nobody has looked."""
        value = self._members.get(member)
        if not isinstance(value, list):
            raise self.malformed("a list", member, value)
        return [AwsAnswer(self._operation, item, create=self._create) for item in value]

    def optional_parts(self, member: str) -> list[AwsAnswer]:
        """The same; empty where AWS leaves it out, as the API reference says of this one."""
        return self.parts(member) if self._members.get(member) is not None else []

    def only(self, member: str) -> AwsAnswer:
        """The one structure of a list that promises one."""
        found = self.parts(member)
        if len(found) != 1:
            raise self.malformed("a list of one", member, found)
        return found[0]

    def names(self, member: str) -> tuple[str, ...]:
        """A list of names; empty where AWS leaves it out."""
        value = self._members.get(member, [])
        if not isinstance(value, list):
            raise self.malformed("a list", member, value)
        return tuple(AwsAnswer(self._operation, {member: item}).name(member) for item in value)

    def documents(self, member: str) -> list[AwsAnswer]:
        """A list of JSON objects, each given as a text."""
        value = self._members.get(member)
        if not isinstance(value, list):
            raise self.malformed("a list", member, value)
        found = []
        for item in value:
            document = json_object(item) if isinstance(item, str) and len(item) <= LONGEST_TEXT else None
            if document is None:
                raise self.malformed("a JSON object", member, item)
            found.append(AwsAnswer(self._operation, document))
        return found

    def values(self, member: str) -> list[AwsAnswer]:
        """The structures of a map, whatever their keys."""
        value = self._members.get(member)
        if not isinstance(value, dict):
            raise self.malformed("a map", member, value)
        return [AwsAnswer(self._operation, item) for item in value.values()]

    def policy(self, member: str) -> dict[str, Any]:
        """A policy. botocore gives it parsed; some endpoints give it as text, percent-encoded."""
        value = self._members.get(member)
        found = json_object(unquote(value)) if isinstance(value, str) else value
        if not isinstance(found, dict):
            raise self.malformed("a policy", member, value)
        return found

    def optional_header(self, name: str, parse: Callable[[str], T]) -> T | None:
        """What `parse` makes of a header of the HTTP answer (in lower case); None if it is not there."""
        headers = self.optional_part("ResponseMetadata").optional_part("HTTPHeaders")
        return headers.parsed(name, parse) if headers.optional_text(name) is not None else None

    def optional_text(self, member: str) -> str | None:
        return self.text(member) if self._members.get(member) is not None else None

    async def json_body(self, member: str, read: Callable[[dict[str, Any]], T]) -> T:
        """What `read` makes of a streamed JSON object; where it stumbles, that is of another form."""
        body = await self.body(member)
        if (found := json_object(body)) is not None:
            try:
                return read(found)
            except (LookupError, TypeError, ValueError, AttributeError):
                pass
        raise self.malformed("a model's answer", member, body)

    async def body(self, member: str, most: int | None = None) -> bytes:
        """A streamed body, to its end; with `most`, of a longer one no more than shows that it is."""
        with translated(self._operation):
            async with aclosing(self.pieces(member)) as pieces:
                wanted = pieces if most is None else _beginning(pieces, most)
                return await whole(wanted, most=MOST_BYTES)

    def whole_body(self, member: str) -> bytes:
        """The same, of a client without an event loop."""
        stream: Any = self._members.get(member)
        if not hasattr(stream, "read"):
            raise self.malformed("a body", member, stream)
        with translated(self._operation), stream:
            return bytes(stream.read())

    def has(self, member: str) -> bool:
        """Whether it is there at all."""
        return self._members.get(member) is not None

    async def events(self, member: str) -> AsyncIterator[AwsAnswer]:
        """The events of a stream as they come; an error that AWS puts into it is raised."""
        stream: Any = self._members.get(member)
        if not hasattr(stream, "__aiter__"):
            raise self.malformed("a stream of events", member, stream)
        with self.closing(member), translated(self._operation):
            async for event in stream:
                yield AwsAnswer(self._operation, event)

    async def pieces(self, member: str, size: int = 1024 * 1024) -> AsyncGenerator[bytes, None]:
        """The same in pieces."""
        stream: Any = self._members.get(member)
        if not hasattr(stream, "read"):
            raise self.malformed("a body", member, stream)
        with self.closing(member), translated(self._operation):
            async for piece in timely(lambda: stream.read(size), BODY_SECONDS):
                yield piece

    @contextmanager
    def closing(self, member: str) -> Iterator[None]:
        """Give up its connection in the end, unless the body was read: then it serves the next request."""
        try:
            yield
        finally:
            if (close := getattr(self._members.get(member), "close", None)) is not None:
                close()


async def _beginning(pieces: AsyncIterator[bytes], most: int) -> AsyncIterator[bytes]:
    """Of the pieces, `most` bytes and one more."""
    left = most + 1
    async for piece in pieces:
        yield piece[:left]
        if (left := left - len(piece)) <= 0:
            return


async def whole(pieces: AsyncIterator[bytes], *, most: int) -> bytes:
    """
    The pieces in one; a body without an end would fill the memory.

    Raises:
        ValueError: they are more than `most` bytes.
    """
    found, size = list[bytes](), 0
    async for piece in pieces:
        found.append(piece)
        size += len(piece)
        if size > most:
            raise ValueError(f"more than {most:,} bytes")
    return b"".join(found)


async def timely(read: Callable[[], Awaitable[bytes]], seconds: float) -> AsyncIterator[bytes]:
    """
    What `read` gives, to its end. A socket's time-out begins anew with each byte that trickles in; here only
    the waiting counts, and not what is done with the pieces.

    Raises:
        TimeoutError: they came more slowly than SLOWEST, for longer than `seconds`.
    """
    clock, waited, size = asyncio.get_running_loop().time, 0.0, 0
    while True:
        began = clock()
        async with asyncio.timeout(seconds + size / SLOWEST - waited):
            piece = await read()
        if not piece:
            return
        waited, size = waited + clock() - began, size + len(piece)
        yield piece


def _decimal(text: str) -> Decimal:
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise ValueError(text) from None
    if not value.is_finite():
        raise ValueError(text)
    return value


class AwsService:
    """One service: whatever is asked of it gives an `AwsAnswer` or an error of `vlm_runner.errors`."""

    def __init__(self, client: Callable[[], Awaitable[Any]]) -> None:
        """`client` returns the shared client, which is made on first use, with credentials that are fresh."""
        self._client = client

    async def call(
        self, operation: str, /, *, create: bool = False, about: str = "", **parameters: Any
    ) -> AwsAnswer:
        """
        Ask for `operation`; `about` is added to its name in errors.

        With `create`, an answer that is lost or none of AWS's raises UncertainCreate.
        """
        client = await self._client()
        title = f"{operation} {about}".rstrip()
        method = getattr(client, _method(operation))
        with translated(title, create=create):
            answer = await method(**parameters)
        return AwsAnswer(title, answer, create=create)

    async def pages(
        self, operation: str, /, *, about: str = "", **parameters: Any
    ) -> AsyncIterator[AwsAnswer]:
        """Each page of a list. One that leads back to an earlier one, or never ends, is not AWS's."""
        client = await self._client()
        title = f"{operation} {about}".rstrip()
        paginator = client.get_paginator(_method(operation))
        seen: set[str] = set()
        with translated(title):
            async for page in paginator.paginate(**parameters):
                answer = AwsAnswer(title, page)
                token = next(filter(None, map(answer.optional_text, _TOKENS)), None)
                if token in seen or len(seen) >= MOST_PAGES:
                    raise answer.malformed("a new page", "next token", token)
                if token is not None:
                    seen.add(token)
                yield answer

    async def endpoint(self) -> tuple[str, str]:
        """Where it is (a URL) and in which region."""
        meta = (await self._client()).meta
        return str(meta.endpoint_url), str(meta.region_name)


def _method(operation: str) -> str:
    from botocore import xform_name  # noqa: PLC0415 - see `translate`

    return str(xform_name(operation))

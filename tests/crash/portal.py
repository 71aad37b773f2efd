"""
An answer that is not AWS's, in place of that to one call of a run.

What it becomes is what the real gateway makes of it: botocore's parser, by AWS's own service models, and then
`AwsAnswer`.
"""

from __future__ import annotations

import contextlib
import inspect
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from typing import TYPE_CHECKING, Any

import botocore.session
from botocore import xform_name
from botocore.parsers import ResponseParserFactory

from vlm_runner.aws.account import AwsAccount
from vlm_runner.aws.answers import AwsService
from vlm_runner.aws.bedrock import BedrockControl
from vlm_runner.aws.objects import S3Objects
from vlm_runner.aws.runtime import BedrockRuntime
from vlm_runner.aws.scheduler import EventBridgeScheduler
from vlm_runner.errors import VlmRunnerError
from vlm_runner.testing import Plan, Process

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@lru_cache
def _model(service: str) -> Any:
    return botocore.session.get_session().get_service_model(service)


@lru_cache
def _operations(service: str) -> dict[str, str]:
    return {xform_name(name): name for name in _model(service).operation_names}


class _Stream:
    def __init__(self, body: bytes) -> None:
        self._left = BytesIO(body)

    async def read(self, size: int = -1) -> bytes:
        return self._left.read(size)


class Portal:
    """A client of botocore's for one service; whatever it is asked, it is answered 200 and `body`."""

    def __init__(self, service: str, body: bytes) -> None:
        self._service, self._body = service, body

    def __getattr__(self, method: str) -> Any:
        async def call(**_: Any) -> Any:
            return self._answer(method)

        return call

    def get_paginator(self, method: str) -> Any:
        return _Pages(self, method)

    def _answer(self, method: str) -> Any:
        model = _model(self._service)
        operation = model.operation_model(_operations(self._service)[method])
        headers = {"content-type": "text/html", "content-length": str(len(self._body))}
        body: Any = _Stream(self._body) if operation.has_streaming_output else self._body
        parser = ResponseParserFactory().create_parser(model.metadata["protocol"])
        return parser.parse({"status_code": 200, "headers": headers, "body": body}, operation.output_shape)


@dataclass(frozen=True, slots=True)
class _Pages:
    portal: Portal
    method: str

    async def paginate(self, **_: Any) -> AsyncIterator[Any]:
        yield self.portal._answer(self.method)


def gateway(port: str, body: bytes, wrapped: Any) -> Any:
    """The real port of this name, with `body` for an answer to everything."""

    def service(name: str) -> AwsService:
        async def client() -> Portal:
            return Portal(name, body)

        return AwsService(client)

    match port:
        case "bedrock":
            return BedrockControl(service("bedrock"), service("bedrock"))
        case "runtime":
            return BedrockRuntime(service("bedrock-runtime"), service("bedrock-runtime"))
        case "scheduler":
            return EventBridgeScheduler(service("scheduler"))
        case "account":
            return AwsAccount(service("sts"), service("s3"))
        case _:
            return S3Objects(service("s3"), service("s3"), wrapped.bucket, None)


async def outcome(port: Any, operation: str, *args: Any, **named: Any) -> str:
    """What a caller gets: the name of an error, or a value."""
    try:
        answer = getattr(port, operation)(*args, **named)
        value = [item async for item in answer] if inspect.isasyncgen(answer) else await answer
    except VlmRunnerError as error:
        return type(error).__name__
    return f"value {value!r}"


@dataclass(frozen=True, slots=True)
class Answered:
    """At the call `at` the answer is `body`; `done`: AWS did what it was asked to, all the same."""

    at: int
    body: bytes
    done: bool


class BehindAPortal(Process):
    """
    A process whose `answered` is what befalls it.

    With `bodies` it is not disturbed: `outcomes` says of each call, by port and operation, what each of them
    would have become.
    """

    def __init__(
        self, plan: Plan | None = None, *, answered: Answered | None = None, bodies: tuple[bytes, ...] = ()
    ) -> None:
        super().__init__(plan)
        self.answered, self._bodies = answered, bodies
        self.outcomes: dict[str, list[str]] = {}

    def wrap(self, port: Any, name: str) -> Any:
        wrapped = super().wrap(port, name)
        return wrapped if name == "store" else _Behind(self, port, wrapped, name)

    def instead(self, port: Any, name: str) -> Any:
        """The gateway to be asked in place of the present call's port; None where that is not disturbed."""
        answered = self.answered
        here = answered is not None and answered.at == len(self.trace)
        return gateway(name, answered.body, port) if answered is not None and here else None

    async def survey(self, port: Any, name: str, operation: str, args: Any, named: Any) -> None:
        call = f"{name}.{operation}"
        if self._bodies and call not in self.outcomes:
            asked = [gateway(name, body, port) for body in self._bodies]
            self.outcomes[call] = [await outcome(one, operation, *args, **named) for one in asked]


class _Behind:
    def __init__(self, process: BehindAPortal, port: Any, wrapped: Any, name: str) -> None:
        self._process, self._port, self._wrapped, self._name = process, port, wrapped, name

    def __getattr__(self, operation: str) -> Any:
        process, port, name = self._process, self._port, self._name
        member, raw = getattr(self._wrapped, operation), getattr(port, operation)
        if not inspect.ismethod(raw):
            return member

        async def replaced(instead: Any, args: Any, named: Any) -> Any:
            assert process.answered is not None
            if process.answered.done:
                with contextlib.suppress(VlmRunnerError):
                    done = member(*args, **named)
                    _ = [item async for item in done] if hasattr(done, "__aiter__") else await done
            else:
                await process.alive()
                process.trace.append(f"{name}.{operation}")
            return getattr(instead, operation)(*args, **named)

        async def call(*args: Any, **named: Any) -> Any:
            await process.survey(port, name, operation, args, named)
            if (instead := process.instead(port, name)) is None:
                return await member(*args, **named)
            return await (await replaced(instead, args, named))

        async def each(*args: Any, **named: Any) -> AsyncIterator[Any]:
            await process.survey(port, name, operation, args, named)
            instead = process.instead(port, name)
            items = member(*args, **named) if instead is None else await replaced(instead, args, named)
            async for item in items:
                yield item

        if inspect.isasyncgenfunction(raw):
            return each
        return call if inspect.iscoroutinefunction(raw) else member

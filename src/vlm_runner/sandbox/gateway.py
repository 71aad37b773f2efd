"""The ASGI application: reads a request, applies faults, routes it to its service, logs the call."""

import asyncio
import json
import socket
import struct
import threading
import time
import uuid
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any, Final, TypeVar

from vlm_runner.sandbox import bedrock
from vlm_runner.sandbox.admin import Admin
from vlm_runner.sandbox.authorization import questions_of
from vlm_runner.sandbox.call_log import CallLog
from vlm_runner.sandbox.cost_explorer import handle_cost_explorer
from vlm_runner.sandbox.errors import AwsError, error_reply, expired_token
from vlm_runner.sandbox.exchange_log import ExchangeLog
from vlm_runner.sandbox.faults import Fault, Faults
from vlm_runner.sandbox.guard import Principal, denial, principal_of
from vlm_runner.sandbox.hosts import is_allowed
from vlm_runner.sandbox.http import HttpReply, HttpRequest
from vlm_runner.sandbox.moto_bridge import Moto
from vlm_runner.sandbox.operations import operation_of
from vlm_runner.sandbox.pipelines import Pipelines
from vlm_runner.sandbox.pricing import handle_pricing
from vlm_runner.sandbox.quotas import handle_quotas
from vlm_runner.sandbox.schedules import check_schedule, mended, note_lead
from vlm_runner.sandbox.service_api import api_for
from vlm_runner.sandbox.signature import Scope, scope_of
from vlm_runner.sandbox.simulation import simulate
from vlm_runner.sandbox.state import SandboxState

AsgiScope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_T = TypeVar("_T")

_POLL = 0.1
_FOREIGN = b"The sandbox does not answer under this name; start it with --allow-host NAME.\n"

FROM_AWS: Final = frozenset({"error", "slow"})
"""Faults under which AWS itself answers."""


class Gateway:
    def __init__(
        self,
        state: SandboxState,
        moto: Moto,
        seed: int,
        hosts: Collection[str] = (),
        exchanges: ExchangeLog | None = None,
    ) -> None:
        self._exchanges = exchanges
        self._state, self._moto, self._hosts = state, moto, hosts
        self.faults, self.calls = Faults(seed), CallLog()
        self.pipelines = Pipelines(state.account)
        self._admin = Admin(state, self.faults, self.calls, moto, self.pipelines)
        self._threads = ThreadPoolExecutor(max_workers=32, thread_name_prefix="sandbox")
        self._closing = threading.Event()
        self._late: set[asyncio.Task[HttpReply]] = set()

    async def __call__(self, asgi: AsgiScope, receive: Receive, send: Send) -> None:
        if asgi["type"] != "http":
            return
        body = await _body(receive)
        if body is None:
            return  # the client disconnected before sending the whole request
        request = _request(asgi, body)
        if not is_allowed(request.headers.get("host"), self._hosts):
            await _send(send, HttpReply(403, [("content-type", "text/plain")], _FOREIGN))
            return
        if request.raw_path.startswith("/_sandbox/"):
            await _send(send, await self._in_thread(self._admin.handle, request))
            return
        reply = await self._answer(request)
        if reply is None:
            await _drop(asgi)
        else:
            await _send(send, reply)

    async def _answer(self, request: HttpRequest) -> HttpReply | None:
        """The reply, or None where a fault drops the connection."""
        scope, started = scope_of(request), time.monotonic()
        service, operation = operation_of(scope, request)
        fault = self.faults.strike(operation, request.path)
        reply = await self._under(fault, scope, request)
        if reply is not None and (fault is None or fault.kind in FROM_AWS):
            reply = _with_request_id(reply)
        call = {
            "time": self._state.now(),
            "service": service,
            "operation": operation,
            "region": scope.region,
            "path": request.path,
            "status": reply.status if reply else 0,
            "fault": fault.kind if fault else None,
            "access_key": scope.access_key,
            "caller": request.headers.get("user-agent", ""),
            "seconds": round(time.monotonic() - started, 4),
        }
        self.calls.record(call)
        if self._exchanges and reply and fault is None:
            self._exchanges.write(service, operation, request, reply)
        return reply

    async def _under(self, fault: Fault | None, scope: Scope, request: HttpRequest) -> HttpReply | None:
        if fault is None:
            return await self._dispatch(scope, request)
        match fault.kind:
            case "error":
                return _error(fault, scope, request)
            case "status":
                page = f"<html><body><h1>{fault.status or 502}</h1></body></html>".encode()
                return HttpReply(fault.status or 502, [("content-type", "text/html")], page)
            case "slow":
                await self._pause(fault.seconds)
                return await self._dispatch(scope, request)
            case "replaced":
                await self._dispatch(scope, request)
                kind = "text/html" if fault.body.startswith("<") else "application/json"
                return HttpReply(200, [("content-type", kind)], fault.body.encode())
            case "reset_after":
                await self._dispatch(scope, request)
            case "late":
                self._later(fault.seconds, scope, request)
            case "reset_before":
                pass
        return None

    def _later(self, seconds: float, scope: Scope, request: HttpRequest) -> None:
        async def arrive() -> HttpReply:
            await self._pause(seconds)
            return await self._dispatch(scope, request)

        task = asyncio.get_running_loop().create_task(arrive())
        self._late.add(task)
        task.add_done_callback(self._late.discard)

    async def _dispatch(self, scope: Scope, request: HttpRequest) -> HttpReply:
        if refusal := await self._refused(scope, request):
            return _refusal(scope, request, refusal)
        if reply := self._at_once(scope, request):
            return reply
        handlers: dict[str, Callable[[HttpRequest], HttpReply]] = {
            "bedrock": partial(bedrock.handle, self._state, scope.region),
            "sagemaker": partial(self.pipelines.handle, scope.region),
            "scheduler": partial(self._schedule, scope),
            "iam": partial(self._iam, scope),
        }
        if handler := handlers.get(scope.service):
            reply = await self._in_thread(handler, request)
            if reply.status == 200 and operation_of(scope, request)[1] in bedrock.RUNTIME:
                await self._pause(self._state.scenario.call_seconds / max(self._state.clock.speed, 1e-9))
            return reply
        if scope.service == "sqs" and operation_of(scope, request)[1] == "ReceiveMessage":
            return await self._long_poll(scope, request)
        return await self._in_thread(self._moto.handle, scope, request)

    async def _refused(self, scope: Scope, request: HttpRequest) -> AwsError | None:
        """Why the request does not reach its service, or None."""
        if scope.access_key in self._state.scenario.expired_access_keys:
            return expired_token(scope.service)
        token = request.headers.get("x-amz-security-token")
        principal = principal_of(self._state.account, scope.access_key, token)
        if principal is not None:
            denied = await self._in_thread(self._denied, principal, scope, request)
            if denied is not None:
                return denied
        return None

    def _denied(self, principal: Principal, scope: Scope, request: HttpRequest) -> AwsError | None:
        refused = self._state.guard.denied(principal, questions_of(self._state, scope, request))
        return None if refused is None else denial(scope.service, principal.arn, *refused)

    def _iam(self, scope: Scope, request: HttpRequest) -> HttpReply:
        self._state.roles.create_first()
        if operation_of(scope, request)[1] == "SimulatePrincipalPolicy":
            return simulate(self._state, request)
        return self._moto.handle(scope, request)

    def _schedule(self, scope: Scope, request: HttpRequest) -> HttpReply:
        if operation_of(scope, request)[1] not in {"CreateSchedule", "UpdateSchedule"}:
            return mended(self._moto.handle(scope, request))
        # In one piece: what is stored and not yet dated would be run by whoever looks meanwhile.
        with self._state.lock:
            try:
                check_schedule(self._state, scope.region, request.json())
            except AwsError as error:
                return error_reply(scope.service, error)
            reply = mended(self._moto.handle(scope, request))
            if reply.status == 200:
                note_lead(self._state, scope.region, request)
        return reply

    def _at_once(self, scope: Scope, request: HttpRequest) -> HttpReply | None:
        """The reply of services that moto lacks and that need no waiting."""
        state = self._state
        if scope.service == "servicequotas":
            return handle_quotas(request, scope.region, state.account, state.scenario)
        if scope.service == "ce":
            return handle_cost_explorer(request, state)
        if scope.service == "pricing":
            return handle_pricing(request, scope.region, state.prices)
        return None

    async def _long_poll(self, scope: Scope, request: HttpRequest) -> HttpReply:
        """Wait here rather than in moto, where a waiting thread would hold up the shutdown."""
        if "x-amz-target" not in request.headers:
            return await self._in_thread(self._moto.handle, scope, request)
        asked = request.json()
        deadline = time.monotonic() + float(asked.get("WaitTimeSeconds", 0))
        once = replace(request, body=json.dumps({**asked, "WaitTimeSeconds": 0}).encode())
        while True:
            reply = await self._in_thread(self._moto.handle, scope, once)
            over = self._closing.is_set() or time.monotonic() >= deadline
            if over or b'"Messages"' in reply.body or reply.status != 200:
                return reply
            await asyncio.sleep(_POLL)

    async def _in_thread(self, function: Callable[..., _T], *arguments: Any) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)

    async def _pause(self, seconds: float) -> None:
        """Sleep, but no longer than until another thread stops the sandbox."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not self._closing.is_set():  # noqa: ASYNC110
            await asyncio.sleep(min(left, _POLL))

    def stop_waiting(self) -> None:
        """Ends all deliberate waits, so that the server can shut down."""
        self._closing.set()

    def close(self) -> None:
        self.pipelines.reset()
        if self._exchanges:
            self._exchanges.close()
        self._threads.shutdown(wait=False, cancel_futures=True)


def _error(fault: Fault, scope: Scope, request: HttpRequest) -> HttpReply:
    status = fault.status
    if status is None and scope.service == "bedrock":
        status = api_for(request)[1].status_of(fault.code)
    return _refusal(scope, request, AwsError(fault.code, fault.message, status))


def _refusal(scope: Scope, request: HttpRequest, error: AwsError) -> HttpReply:
    """The error; to a HEAD, its status alone."""
    reply = error_reply(scope.service, error)
    return replace(reply, body=b"") if request.method == "HEAD" else reply


async def _body(receive: Receive) -> bytes | None:
    chunks: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        chunks.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(chunks)


def _request(asgi: AsgiScope, body: bytes) -> HttpRequest:
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in asgi["headers"]]
    raw_path = asgi.get("raw_path") or asgi["path"].encode()
    return HttpRequest(
        asgi["method"], raw_path.decode("latin-1"), asgi["query_string"].decode("latin-1"), headers, body
    )


def _with_request_id(reply: HttpReply) -> HttpReply:
    """As all that AWS answers has one; what a proxy or a portal says in its place has none."""
    named = {name.lower() for name, _ in reply.headers}
    made = [
        (name, str(uuid.uuid4())) for name in ("x-amzn-requestid", "x-amz-request-id") if name not in named
    ]
    return HttpReply(reply.status, [*reply.headers, *made], reply.body)


async def _send(send: Send, reply: HttpReply) -> None:
    named = {name.lower() for name, _ in reply.headers}
    headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in reply.headers]
    if "content-length" not in named and reply.status not in {204, 304}:
        headers.append((b"content-length", str(len(reply.body)).encode()))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})


async def _drop(asgi: AsgiScope) -> None:
    """Reset the connection, as if the server had crashed."""
    transport = asgi["state"]["transport"]
    linger = struct.pack("ii", 1, 0)
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    transport.abort()
    await asyncio.sleep(0)  # let the server see the lost connection before it expects a reply

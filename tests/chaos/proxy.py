"""
A proxy that is no kinder than the network: it loses answers, repeats nothing, delivers late, answers with a
portal's page in AWS's place, and shows what is there as not there.

`python proxy.py UPSTREAM READY_FILE SEED` serves until it is killed. What it did is at `GET /_proxy/faults`,
and the most seconds that a create was on its way at `GET /_proxy/slowest-create`.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, TCPConnector, web
from yarl import URL

if TYPE_CHECKING:
    from collections.abc import Callable

HOP_BY_HOP = {"connection", "content-length", "expect", "keep-alive", "transfer-encoding"}
SERVICE_UNAVAILABLE = b"<Error><Code>ServiceUnavailable</Code><Message>Slow down.</Message></Error>"
CONFLICT = b"<Error><Code>ConditionalRequestConflict</Code><Message>Conflict.</Message></Error>"
PORTAL = b"<html><head><title>Sign in</title></head><body>Accept our terms<br></html>"
NOT_THERE = b'{"message": "The resource does not exist."}'
NONE_THERE = b'{"provisionedModelSummaries": [], "modelDeploymentSummaries": []}'
BROKEN = b"<Error><Code>InternalError</Code><Message>We broke.</Message></Error>"

# Of each hundred requests; what is left over passes.
STATE_WRITE = {"lost": 5, "500 after": 3, "503 before": 5, "409 before": 5, "reset before": 3, "late": 2}
STATE_READ = {"lost": 2, "503 before": 2}
CREATE = {
    "lost": 15,
    "500 after": 10,
    "503 before": 5,
    "reset before": 5,
    "late": 10,
    "portal after": 5,
    "portal": 5,
}
LOOK = {"stale": 4, "portal": 3, "503 before": 1, "lost": 1}
LIST = {"none": 4, "portal": 3, "503 before": 1, "lost": 1}
OTHER = {"503 before": 1, "reset before": 1, "lost": 1}
LIST_PATH = "/provisioned-model-throughputs"
LOOK_PATHS = ("/model-customization-jobs/", "/provisioned-model-throughput/")
LATE_SECONDS = (0.5, 6.0)


def _portal() -> web.Response:
    return web.Response(body=PORTAL, content_type="text/html")


def _xml(status: int, body: bytes) -> web.Response:
    return web.Response(status=status, body=body, content_type="application/xml")


def _json(status: int, body: bytes, **headers: str) -> web.Response:
    return web.Response(status=status, headers=headers, body=body, content_type="application/json")


INSTEAD: dict[str, Callable[[], web.Response]] = {
    "503 before": lambda: _xml(503, SERVICE_UNAVAILABLE),
    "409 before": lambda: _xml(409, CONFLICT),
    "portal": _portal,
    "stale": lambda: _json(404, NOT_THERE, **{"x-amzn-errortype": "ResourceNotFoundException"}),
    "none": lambda: _json(200, NONE_THERE),
}
"""What is answered in AWS's place, which is not asked."""
AFTER: dict[str, Callable[[], web.Response]] = {
    "500 after": lambda: _xml(500, BROKEN),
    "portal after": _portal,
}
"""The same, once AWS has done what it was asked for."""


class Proxy:
    def __init__(self, upstream: str, seed: int) -> None:
        self._upstream = upstream
        self._chance = random.Random(seed)
        self._faults: Counter[str] = Counter()
        self._late: set[asyncio.Task[tuple[int, dict[str, str], bytes]]] = set()
        self._session: ClientSession | None = None
        self._slowest_create = 0.0

    async def handle(self, request: web.Request) -> web.StreamResponse:  # noqa: PLR0911 - one way out a fault
        if request.path == "/_proxy/faults":
            return web.json_response(self._faults)
        if request.path == "/_proxy/slowest-create":
            return web.json_response(self._slowest_create)
        began = time.monotonic()
        body = await request.read()
        kind, odds = self._about(request)
        fault = self._pick(odds)
        if fault:
            self._faults[f"{kind}: {fault}"] += 1
        if fault in INSTEAD:
            return INSTEAD[fault]()
        if fault == "reset before":
            return self._cut(request)
        if fault == "late":
            task = asyncio.create_task(self._forward_late(request, body, kind, began))
            self._late.add(task)
            task.add_done_callback(self._late.discard)
            return self._cut(request)
        status, headers, answer = await self._forward(request, body)
        self._note_create(kind, began)
        if fault == "lost":
            return self._cut(request)
        if fault in AFTER:
            return AFTER[fault]()
        return web.Response(status=status, headers=headers, body=answer)

    def _about(self, request: web.Request) -> tuple[str, dict[str, int]]:
        if request.path.endswith("/state.json"):
            return ("state write", STATE_WRITE) if request.method == "PUT" else ("state read", STATE_READ)
        creates = ("/model-customization-jobs", "/provisioned-model-throughput")
        if request.method == "POST" and request.path in creates:
            return "create", CREATE
        if request.method == "GET" and request.path.startswith(
            ("/model-customization-jobs/", LIST_PATH[:-1] + "/")
        ):
            return "look", LOOK
        if request.method == "GET" and request.path == LIST_PATH:
            return "list", LIST
        return "other", OTHER

    def _pick(self, odds: dict[str, int]) -> str | None:
        draw = self._chance.uniform(0, 100)
        for fault, share in odds.items():
            draw -= share
            if draw < 0:
                return fault
        return None

    async def _forward_late(
        self, request: web.Request, body: bytes, kind: str, began: float
    ) -> tuple[int, dict[str, str], bytes]:
        await asyncio.sleep(self._chance.uniform(*LATE_SECONDS))
        answer = await self._forward(request, body)
        self._note_create(kind, began)
        return answer

    def _note_create(self, kind: str, began: float) -> None:
        """Until it was answered, which is later than when AWS had it."""
        if kind == "create":
            self._slowest_create = max(self._slowest_create, time.monotonic() - began)

    async def _forward(self, request: web.Request, body: bytes) -> tuple[int, dict[str, str], bytes]:
        if self._session is None:
            self._session = ClientSession(
                auto_decompress=False,
                cookie_jar=DummyCookieJar(),
                connector=TCPConnector(limit=0),
                timeout=ClientTimeout(total=120),
                skip_auto_headers=("User-Agent", "Content-Type", "Accept"),
            )
        kept = {name: value for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP}
        # The path goes on as it came: an ARN in it is percent-encoded, and signed so.
        url = f"{self._upstream}{request.raw_path}"
        async with self._session.request(
            request.method, _untouched(url), headers=kept, data=body, allow_redirects=False
        ) as answer:
            content = await answer.read()
            headers = {
                name: value for name, value in answer.headers.items() if name.lower() not in HOP_BY_HOP
            }
            return answer.status, headers, content

    @staticmethod
    def _cut(request: web.Request) -> web.Response:
        if request.transport is not None:
            request.transport.abort()
        return web.Response()


def _untouched(url: str) -> URL:
    return URL(url, encoded=True)


async def serve(upstream: str, ready: Path, seed: int) -> None:
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_route("*", "/{path:.*}", Proxy(upstream, seed).handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    ready.write_text(f"http://127.0.0.1:{port}")  # noqa: ASYNC240 - nobody is served yet
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))

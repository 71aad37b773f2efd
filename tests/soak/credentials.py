"""Temporary credentials that change all the time, as a container on ECS is given them."""

from __future__ import annotations

import itertools
import json
import threading
from collections import deque
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable

VALID_AFTERWARDS = 60
"""Keys: a request that was signed a moment ago is still on its way."""


class RotatingCredentials:
    """
    An endpoint for AWS_CONTAINER_CREDENTIALS_FULL_URI that gives another key each time it is asked.

    They say that they last ten minutes, for which botocore fetches new ones at every request (it begins to
    refresh 15 minutes before the end). `expire` is told all keys that are too old.
    """

    def __init__(self, expire: Callable[[list[str]], None]) -> None:
        self.given = 0
        self._numbers = itertools.count(1)
        self._valid: deque[str] = deque()
        self._expired: list[str] = []
        self._expire = expire
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = json.dumps(outer.next()).encode()
                self.send_response(200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/credentials"

    def next(self) -> dict[str, str]:
        with self._lock:
            key = f"ASIA{next(self._numbers):016d}"
            self.given += 1
            self._valid.append(key)
            if len(self._valid) > VALID_AFTERWARDS:
                self._expired.append(self._valid.popleft())
                if self.given % 20 == 0:
                    self._expire(self._expired)
            return {
                "AccessKeyId": key,
                "SecretAccessKey": f"secret-of-{key}",
                "Token": f"token-of-{key}",
                "Expiration": (datetime.now(UTC) + timedelta(minutes=10)).isoformat(timespec="seconds"),
            }

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

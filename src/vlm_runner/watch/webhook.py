"""CloudEvents to a URL of yours, signed as Standard Webhooks says (standardwebhooks.com)."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import TYPE_CHECKING, Any, Final

from vlm_runner.core.pace import full_jitter
from vlm_runner.watch.cloudevents import to_json

if TYPE_CHECKING:
    from vlm_runner.clock import Clock

ATTEMPTS: Final = 6
SECONDS: Final = 10.0
"""For one attempt."""
AGAIN: Final = frozenset({408, 425, 429, 500, 502, 503, 504})


class Undelivered(Exception):
    """The receiver did not take an event."""


class Webhook:
    """
    Posts one event at a time, and repeats what may succeed later.

    With a secret, `webhook-signature` is an HMAC-SHA256 over `id.timestamp.body`, so that the receiver can
    tell our events from others' and fresh ones from replayed.
    """

    def __init__(self, url: str, secret: str | None, clock: Clock) -> None:
        self._url, self._secret, self._clock = url, secret, clock
        self._session: Any = None

    async def send(self, event: dict[str, Any]) -> None:
        """
        Raises:
            Undelivered: it was refused, or not taken in all attempts.
        """
        body = to_json(event).encode(errors="replace")
        problem = ""
        for attempt in range(ATTEMPTS):
            problem, again = await self._post(event, body)
            if not problem:
                return
            if not again:
                break
            if attempt + 1 < ATTEMPTS:
                await self._clock.sleep(full_jitter(attempt + 1, self._clock.chance(), base=1.0))
        raise Undelivered(f"the webhook did not take it: {problem}")

    async def _post(self, event: dict[str, Any], body: bytes) -> tuple[str, bool]:
        """What went wrong, if anything, and whether it is worth another attempt."""
        import aiohttp  # noqa: PLC0415 - only for who wants it

        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=SECONDS))
        headers = {"Content-Type": "application/cloudevents+json; charset=utf-8"}
        headers |= signed(str(event["id"]), int(self._clock.now().timestamp()), body, self._secret)
        try:
            async with self._session.post(
                self._url, data=body, headers=headers, allow_redirects=False
            ) as answer:
                if answer.status < 300:
                    return "", False
                return f"HTTP {answer.status}", answer.status in AGAIN
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return f"{type(error).__name__}: {error}", not isinstance(error, aiohttp.InvalidURL)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


def signed(event_id: str, timestamp: int, body: bytes, secret: str | None) -> dict[str, str]:
    """The headers of Standard Webhooks; without a secret there is no signature."""
    headers = {"webhook-id": event_id, "webhook-timestamp": str(timestamp)}
    if secret is None:
        return headers
    content = b".".join((event_id.encode(), str(timestamp).encode(), body))
    digest = hmac.new(key_of(secret), content, hashlib.sha256).digest()
    return headers | {"webhook-signature": f"v1,{base64.b64encode(digest).decode()}"}


def key_of(secret: str) -> bytes:
    """`whsec_` and base64, as Standard Webhooks writes secrets; anything else is taken as it stands."""
    if secret.startswith("whsec_"):
        return base64.b64decode(secret.removeprefix("whsec_"))
    return secret.encode()

"""Send CloudEvents to a webhook, signed according to Standard Webhooks (standardwebhooks.com)."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import TYPE_CHECKING, Any, Final

from vlm_runner.core.retry import WEBHOOK
from vlm_runner.redact import without_path, without_paths
from vlm_runner.retry import attempts
from vlm_runner.watch.cloudevents import to_json

if TYPE_CHECKING:
    from vlm_runner.clock import Clock

SECONDS: Final = 10.0
"""For one attempt."""
AGAIN: Final = frozenset({408, 425, 429, 500, 502, 503, 504})


class Undelivered(Exception):
    """The receiver did not take an event."""


class _Unanswered(Undelivered):
    """Another attempt may succeed."""


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
            Undelivered: the receiver refused it, or did not take it for as long as WEBHOOK says.
        """
        body = to_json(event).encode(errors="replace")
        async for attempt in attempts(self._clock, WEBHOOK, _Unanswered):
            with attempt:
                await self._post(event, body)

    async def _post(self, event: dict[str, Any], body: bytes) -> None:
        """
        Raises:
            _Unanswered: it is worth another attempt.
            Undelivered: it is not.
        """
        import aiohttp  # noqa: PLC0415 - only for who wants it

        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=SECONDS))
        headers = {"Content-Type": "application/cloudevents+json; charset=utf-8"}
        headers |= signed(str(event["id"]), int(self._clock.now().timestamp()), body, self._secret)
        try:
            async with self._session.post(
                self._url, data=body, headers=headers, allow_redirects=False
            ) as answer:
                if answer.status >= 300:
                    kind = _Unanswered if answer.status in AGAIN else Undelivered
                    raise kind(f"the webhook did not take it: HTTP {answer.status}")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            kind = Undelivered if isinstance(error, aiohttp.InvalidURL) else _Unanswered
            # Some of these errors print the address, which is a secret: as it is, or as aiohttp quotes it.
            said = without_paths(str(error).replace(self._url, without_path(self._url)))
            raise kind(f"the webhook did not take it: {type(error).__name__}: {said}") from None

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

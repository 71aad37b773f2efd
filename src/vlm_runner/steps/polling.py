"""Looking at a remote state until it is final: read-only, so dying here costs nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from vlm_runner.errors import AwsUnavailable, CredentialsError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from vlm_runner.steps.ports import Ports

T = TypeVar("T")

CREDENTIALS_PATIENCE = 900.0
"""Seconds that credentials may be expired in the middle of a wait of hours: somebody may be renewing them."""


async def poll(
    ports: Ports, doing: str, look: Callable[[], Awaitable[T]], *, about: str | None = None
) -> AsyncIterator[T]:
    """
    What `look` sees, again and again, at the pace of `ports.poll`; the caller stops.

    Where a queue is configured, a message about the ARN `about` brings the next look at once.

    Passing faults are told to watchers, and looked past: no number of them means that the remote work
    failed.

    Raises:
        CredentialsError: AWS has not taken our credentials for CREDENTIALS_PATIENCE seconds.
        AwsRefused: whatever else a look raises.
    """
    count = 0
    refused_since: float | None = None
    while True:
        try:
            seen = await look()
        except AwsUnavailable as error:
            ports.trouble(doing, error)
        except CredentialsError as error:
            now = ports.clock.elapsed()
            refused_since = now if refused_since is None else refused_since
            if now - refused_since >= CREDENTIALS_PATIENCE:
                raise
            ports.trouble(doing, error)
        else:
            refused_since = None
            yield seen
        woken = await ports.rest(ports.poll.delay(count, ports.clock.chance()), about)
        # Perhaps Get lags behind the event: then the next looks come soon.
        count = 0 if woken else count + 1

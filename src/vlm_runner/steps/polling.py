"""Looking at a remote state until it is final: read-only, so dying here costs nothing."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeVar

from vlm_runner.core.pace import NOT_YET_VISIBLE, Unseen
from vlm_runner.core.retry import REFUSED_WHILE_WAITING, UNAVAILABLE_WHILE_WAITING, Failures
from vlm_runner.errors import AwsRefused, AwsUnavailable, CredentialsError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from vlm_runner.steps.ports import Ports

T = TypeVar("T")


async def poll(
    ports: Ports,
    doing: str,
    look: Callable[[], Awaitable[T]],
    *,
    about: str | None = None,
    at_most: Callable[[], float] = lambda: math.inf,
) -> AsyncIterator[T]:
    """
    What `look` sees, again and again, at the pace of `ports.poll`; the caller stops.

    Where a queue is configured, a message about the ARN `about` brings the next look at once. `at_most` says
    how many seconds may pass until then.

    AWS unavailable is reported and waited out, however long: it does not mean that the remote work failed.

    Raises:
        CredentialsError, AwsRefused: for as long as REFUSED_WHILE_WAITING says.
    """
    looks = 0
    unavailable, refused = Failures(), Failures()
    while True:
        try:
            seen = await look()
        except AwsUnavailable as error:
            unavailable = unavailable.another(now := ports.clock.elapsed())
            if not UNAVAILABLE_WHILE_WAITING.again(unavailable.count, unavailable.lasting(now)):
                raise
            ports.trouble(doing, error)
        except (CredentialsError, AwsRefused) as error:
            # A look changes nothing, so asking again does no harm; to halt would leave the rest unwatched.
            refused = refused.another(now := ports.clock.elapsed())
            if not REFUSED_WHILE_WAITING.again(refused.count, refused.lasting(now)):
                raise
            ports.trouble(doing, error)
        else:
            unavailable, refused = Failures(), Failures()
            yield seen
        woken = await ports.rest(ports.poll.delay(looks, ports.clock.chance(), at_most()), about)
        # Get may lag behind the event: then the next looks come soon.
        looks = 0 if woken else looks + 1


def counts_as_gone(unseen: Unseen, began: float, ports: Ports) -> bool:
    """
    Whether something that was not found is believed to be gone.

    Not so soon after `began` (of `clock.elapsed`), when it may be too new to be seen, and not before several
    looks have missed it.
    """
    now = ports.clock.elapsed()
    return now - began >= NOT_YET_VISIBLE and unseen.is_gone(now, ports.poll.gone_after)

"""
Whether a store honours the conditional writes that the lease depends on.

S3 does. Some compatible stores ignore `If-Match`, or check and then write: then two processes could both
believe that they drive a run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import anyio

from vlm_runner.errors import AwsUnavailable

if TYPE_CHECKING:
    from vlm_runner.aws.ports import Objects

CONTENDERS: Final = 4
NOBODYS_ETAG: Final = '"00000000000000000000000000000000"'


async def conformance_failure(objects: Objects, key: str, *, contenders: int = CONTENDERS) -> str | None:
    """
    What the store accepts that S3 refuses; None if nothing was found.

    Writes `key`, which must be new, and leaves it. An unanswered write proves nothing.
    """
    first = await _put(objects, key, 1, None)
    if first is None:
        return None
    if await _put(objects, key, 2, None) is not None:
        return "it creates an object that exists (If-None-Match is ignored)"
    if await _put(objects, key, 3, NOBODYS_ETAG) is not None:
        return "it replaces a version that is not there (If-Match is ignored)"
    winners: list[str] = []

    async def contend(number: int) -> None:
        won = await _put(objects, key, number, first)
        winners.extend([won] if won is not None else [])

    async with anyio.create_task_group() as group:
        for number in range(contenders):
            group.start_soon(contend, 4 + number)
    return f"{len(winners)} of {contenders} writers replaced the same version" if len(winners) > 1 else None


async def _put(objects: Objects, key: str, number: int, replacing: str | None) -> str | None:
    # Bodies differ, so that versions do: an ETag may be no more than a digest.
    try:
        return await objects.put_if(key, b'{"probe": %d}' % number, replacing=replacing)
    except AwsUnavailable:
        return None

"""Several looks, for one may be stale; and by them whether what was deleted is gone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vlm_runner.core.pace import LOOKS_UNTIL_GONE, between_looks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from vlm_runner.aws.ports import Aws
    from vlm_runner.clock import Clock
    from vlm_runner.spec import ServingMode

DELETING: Final = "Deleting"
"""Of a deployment for a while (Nova 2 user guide, delete-custom-model-deployment); it answers no more."""


async def spaced_looks(clock: Clock, gone_after: float) -> AsyncIterator[None]:
    """As many turns as it takes to believe that something is not there, spread over `gone_after` seconds."""
    yield
    for _ in range(LOOKS_UNTIL_GONE - 1):
        await clock.sleep(between_looks(gone_after))
        yield


async def seen_gone(aws: Aws, clock: Clock, mode: ServingMode, arn: str, gone_after: float) -> bool:
    """
    Whether an endpoint whose deletion was taken is not there any more. A yes takes `gone_after` seconds.

    A deletion is answered as well by a portal, and with "not found" by a read that is stale.
    """
    async for _ in spaced_looks(clock, gone_after):
        there = await aws.bedrock.find_endpoint(mode, arn)
        if there is not None:
            return there.status == DELETING
    return True

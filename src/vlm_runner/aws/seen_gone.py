"""Whether what was deleted is gone: several looks say so, for one may be stale, and so may the deletion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vlm_runner.core.pace import LOOKS_UNTIL_GONE

if TYPE_CHECKING:
    from vlm_runner.aws.ports import Aws
    from vlm_runner.clock import Clock
    from vlm_runner.spec import ServingMode

DELETING: Final = "Deleting"
"""Of a deployment for a while (Nova 2 user guide, delete-custom-model-deployment); it answers no more."""


async def seen_gone(aws: Aws, clock: Clock, mode: ServingMode, arn: str, gone_after: float) -> bool:
    """
    Whether an endpoint whose deletion was taken is not there any more. A yes takes `gone_after` seconds.

    A deletion is answered as well by a portal, and with "not found" by a read that is stale.
    """
    for look in range(LOOKS_UNTIL_GONE):
        if look:
            await clock.sleep(gone_after / (LOOKS_UNTIL_GONE - 1))
        there = await aws.bedrock.find_endpoint(mode, arn)
        if there is not None:
            return there.status == DELETING
    return True

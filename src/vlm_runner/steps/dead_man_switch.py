"""
The net that needs no runner: a schedule of AWS's own that deletes the endpoint.

Made before the endpoint is asked for, moved when the endpoint is handed over, and taken away after release.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from vlm_runner.aws.ports import Deletion
from vlm_runner.core.pace import Unseen, between_looks
from vlm_runner.core.retry import DISARM
from vlm_runner.errors import AwsRefused, AwsUnavailable
from vlm_runner.retry import attempts

if TYPE_CHECKING:
    from datetime import datetime

    from vlm_runner.core.decide import DeadManSwitch
    from vlm_runner.steps.ports import Ports


async def arm(switch: DeadManSwitch | None, ports: Ports) -> datetime | None:
    """
    Let AWS delete the endpoint that is about to be asked for, and say when; None: no switch is wanted.

    Raises:
        AwsRefused, AwsUnavailable: there may be no schedule, so there must be no endpoint.
    """
    if switch is None:
        return None
    due = ports.clock.now() + timedelta(seconds=switch.after)
    await ports.aws.scheduler.put(_deletion(switch, due))
    return due


async def verify(switch: DeadManSwitch | None, ports: Ports) -> None:
    """
    Create the schedule and delete it again: EventBridge Scheduler tries the role and the target's action when
    it creates a schedule, and refuses what it cannot use. Without charge.

    Raises:
        AwsRefused, AwsUnavailable: with this switch no endpoint could be rented, so nothing must be paid.
    """
    if await arm(switch, ports) is not None:
        await disarm(switch, ports)


async def deletion_time(switch: DeadManSwitch | None, ports: Ports) -> datetime | None:
    """When AWS deletes the endpoint that is there already; a schedule that is missing is made."""
    if switch is None:
        return None
    return await ports.aws.scheduler.due(switch.schedule_name) or await arm(switch, ports)


async def move(switch: DeadManSwitch | None, expires_at: datetime | None, ports: Ports) -> None:
    """
    AWS deletes the endpoint at `expires_at` instead; None: never.

    Raises:
        AwsRefused, AwsUnavailable: the endpoint may still be deleted at the old time.
    """
    if switch is None:
        return
    if expires_at is None:
        await _take_away(switch, ports)
    else:
        await ports.aws.scheduler.put(_deletion(switch, expires_at))


async def _take_away(switch: DeadManSwitch, ports: Ports) -> None:
    """Delete the schedule again and again, until several looks have missed it: what is left of it deletes."""
    unseen = Unseen()
    while True:
        await ports.aws.scheduler.delete(switch.schedule_name)
        unseen = unseen.another(now := ports.clock.elapsed())
        if unseen.is_gone(now, ports.poll.gone_after):
            return
        await ports.clock.sleep(between_looks(ports.poll.gone_after))


async def disarm(switch: DeadManSwitch | None, ports: Ports) -> None:
    """
    Delete the schedule. A failure that lasts is only reported: a schedule that is left behind finds nothing
    to delete, and deletes itself after running.
    """
    if switch is None:
        return
    doing = f"deleting the schedule {switch.schedule_name}"

    def on_retry(error: Exception) -> None:
        ports.trouble(doing, error)

    try:
        # A refusal may pass too: a right that was just granted is not seen everywhere at once.
        async for attempt in attempts(ports.clock, DISARM, AwsRefused, AwsUnavailable, on_retry=on_retry):
            with attempt:
                await ports.aws.scheduler.delete(switch.schedule_name)
    except (AwsRefused, AwsUnavailable) as error:
        ports.trouble(doing, error)


def _deletion(switch: DeadManSwitch, due: datetime) -> Deletion:
    return Deletion(switch.schedule_name, due, switch.mode, switch.endpoint_name, switch.role_arn)

"""
The net that needs no runner: a schedule of AWS's own that deletes the endpoint.

Made before the endpoint is asked for, moved when the endpoint is handed over, and taken away after release.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from vlm_runner.aws.ports import Deletion
from vlm_runner.core.pace import full_jitter
from vlm_runner.errors import AwsRefused, AwsUnavailable

if TYPE_CHECKING:
    from datetime import datetime

    from vlm_runner.core.commands import DeadManSwitch
    from vlm_runner.steps.ports import Ports

DISARM_ATTEMPTS = 5


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


async def standing(switch: DeadManSwitch | None, ports: Ports) -> datetime | None:
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
        await ports.aws.scheduler.delete(switch.schedule_name)
    else:
        await ports.aws.scheduler.put(_deletion(switch, expires_at))


async def disarm(switch: DeadManSwitch | None, ports: Ports) -> None:
    """What is left behind deletes nothing, and then itself: so a failure that lasts is told, and no more."""
    if switch is None:
        return
    for attempt in range(DISARM_ATTEMPTS):
        try:
            await ports.aws.scheduler.delete(switch.schedule_name)
        except AwsUnavailable as error:
            ports.trouble(f"deleting the schedule {switch.schedule_name}", error)
            await ports.clock.sleep(full_jitter(attempt, ports.clock.chance()))
        except AwsRefused as error:
            ports.trouble(f"deleting the schedule {switch.schedule_name}", error)
            return
        else:
            return


def _deletion(switch: DeadManSwitch, due: datetime) -> Deletion:
    return Deletion(switch.schedule_name, due, switch.mode, switch.endpoint_name, switch.role_arn)

"""Undoing a purchase that may not be recorded, because another process drives the run now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vlm_runner.checkpoint.lease import load
from vlm_runner.core.events import JobSubmitted, ServingRequested
from vlm_runner.core.retry import UNDO, Failures
from vlm_runner.errors import AwsRefused, AwsUnavailable, CredentialsError, StillBilling

if TYPE_CHECKING:
    from collections.abc import Callable

    from vlm_runner.checkpoint.base import CheckpointStore
    from vlm_runner.core.events import Event
    from vlm_runner.core.run import Run
    from vlm_runner.steps.ports import Ports


async def undo_purchase(
    run: Run, event: Event, ports: Ports, store: CheckpointStore, *, stopping: Callable[[], bool]
) -> None:
    """
    Leave what was bought to the run's new driver, or stop or delete it here.

    While the run still waits for that thing, the other process finds it by its name, and it is left to it.
    Once the run is past that phase, perhaps no process looks for it again: then it is undone here, however
    long it takes.

    Raises:
        StillBilling: this process is being stopped, and it is not undone yet.
    """
    if not isinstance(event, JobSubmitted | ServingRequested):
        return
    failures = Failures()
    while not await _undone(run, event, ports, store):
        error = StillBilling(f"{event.arn} was bought by a process that lost its run, and may bill.")
        ports.trouble("undoing a purchase that could not be recorded", error)
        if stopping():
            raise error
        failures = failures.another(ports.clock.elapsed())
        await ports.clock.sleep(UNDO.pause(failures.count, ports.clock.chance()))


async def _undone(
    run: Run, event: JobSubmitted | ServingRequested, ports: Ports, store: CheckpointStore
) -> bool:
    bedrock = ports.aws.bedrock
    try:
        checkpoint, _ = await load(store, run.run_id, clock=ports.clock)
        known = checkpoint.run.job if isinstance(event, JobSubmitted) else checkpoint.run.serving
        if checkpoint.run.phase is run.phase or (known is not None and known.arn == event.arn):
            return True
        if isinstance(event, JobSubmitted) or run.serving_intent is None:
            await bedrock.stop_job(event.arn)
            return True
        # What is still Creating cannot be deleted yet.
        mode = run.serving_intent.mode
        await bedrock.delete_endpoint(mode, event.arn)
        return await bedrock.find_endpoint(mode, event.arn) is None
    except (AwsUnavailable, AwsRefused, CredentialsError) as error:
        ports.trouble("undoing a purchase that could not be recorded", error)
        return False

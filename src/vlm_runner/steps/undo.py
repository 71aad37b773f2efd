"""Undoing what was bought and can no longer be recorded: the run was taken over, or cannot be saved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vlm_runner.checkpoint.lease import load
from vlm_runner.core.events import JobSubmitted, ServingRequested
from vlm_runner.core.pace import Unseen
from vlm_runner.core.retry import RELEASE_UNSAVED, UNDO, Failures
from vlm_runner.errors import (
    AwsRefused,
    AwsUnavailable,
    CredentialsError,
    RunNotFound,
    StillBilling,
)
from vlm_runner.steps.job import ENDED
from vlm_runner.steps.polling import counts_as_gone
from vlm_runner.steps.release import release

if TYPE_CHECKING:
    from collections.abc import Callable

    from vlm_runner.checkpoint.base import CheckpointStore
    from vlm_runner.checkpoint.document import Checkpoint
    from vlm_runner.core.decide import Release
    from vlm_runner.core.events import Event
    from vlm_runner.core.run import Run
    from vlm_runner.steps.ports import Ports

UNDOING: Final = "undoing a purchase that could not be recorded"


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
    failures, looks = Failures(), _Looks(ports)
    while not looks.show(await _undone(run, event, ports, store)):
        error = StillBilling(f"{event.arn} was bought by a process that lost its run, and may bill.")
        ports.trouble(UNDOING, error)
        if stopping():
            raise error
        failures = failures.another(ports.clock.elapsed())
        await ports.clock.sleep(UNDO.pause(failures.count, ports.clock.chance()))


class _Looks:
    """What was bought a moment ago may not be seen yet, and neither by its deletion."""

    def __init__(self, ports: Ports) -> None:
        self._ports, self._began, self._unseen = ports, ports.clock.elapsed(), Unseen()

    def show(self, undone: bool | None) -> bool:  # noqa: FBT001 - what `_undone` says
        """Whether it is undone, after one more look; None: that one did not find it."""
        if undone is not None:
            self._unseen = Unseen()
            return undone
        self._unseen = self._unseen.another(self._ports.clock.elapsed())
        return counts_as_gone(self._unseen, self._began, self._ports)


async def _undone(
    run: Run, event: JobSubmitted | ServingRequested, ports: Ports, store: CheckpointStore
) -> bool | None:
    """Whether it was; None: it was not found."""
    bedrock = ports.aws.bedrock
    try:
        checkpoint, _ = await load(store, run.run_id, clock=ports.clock)
        known = checkpoint.run.job if isinstance(event, JobSubmitted) else checkpoint.run.serving
        if checkpoint.run.phase is run.phase or (known is not None and known.arn == event.arn):
            return True
        if isinstance(event, JobSubmitted) or run.serving_intent is None:
            await bedrock.stop_job(event.arn)
            job = await bedrock.find_job(event.arn)
            return None if job is None else job.status in ENDED | {"Stopping"}
        # What is still Creating cannot be deleted yet.
        mode = run.serving_intent.mode
        await bedrock.delete_endpoint(mode, event.arn)
        return None if await bedrock.find_endpoint(mode, event.arn) is None else False
    except (AwsUnavailable, AwsRefused, CredentialsError) as error:
        ports.trouble(UNDOING, error)
        return False


async def release_unrecorded(
    last: Checkpoint, command: Release, ports: Ports, store: CheckpointStore, *, fenced: bool
) -> bool:
    """
    Release what a run rents whose state can no longer be saved; `last` is the state that was saved last.

    Ends when nothing bills (True), or another process is seen to drive the run (False): it has what it needs
    to release it. Nothing of it can be recorded, so the run's next driver finds its endpoint gone.

    `fenced`: another write was seen. Then only a store without this run, or with another run under its id,
    shows that nobody else can release it.
    """
    failures = Failures()
    while not await _has_a_driver(last, store, ports, unreadable=fenced):
        try:
            await release(command, ports)
        except Exception as error:  # noqa: BLE001 - whatever it is, what bills must go
            ports.trouble("releasing a run whose state cannot be saved", error)
            failures = failures.another(ports.clock.elapsed())
            await ports.clock.sleep(RELEASE_UNSAVED.pause(failures.count, ports.clock.chance()))
        else:
            return True
    return False


async def _has_a_driver(last: Checkpoint, store: CheckpointStore, ports: Ports, *, unreadable: bool) -> bool:
    """Whether the stored run is this one, and not ours to drive; `unreadable` if it cannot be read."""
    try:
        found, _ = await load(store, last.run.run_id, clock=ports.clock)
    except RunNotFound:
        return False
    except Exception:  # noqa: BLE001 - nor does an error that nobody foresaw show a driver
        return unreadable
    return found.run.uid == last.run.uid and found.holder != last.holder

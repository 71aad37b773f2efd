"""
One run, driven by one process: decide, perform, evolve, save, publish, and again until it is done.

Knows nothing of what the commands do, and decides nothing itself.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio
import structlog

from vlm_runner.aws.session import fence
from vlm_runner.checkpoint.lease import Claim, Fenced, LeaseTiming, load
from vlm_runner.core.decide import decide, on_error, on_takeover
from vlm_runner.core.events import (
    CancelRequested,
    Entry,
    Event,
    JobSubmitted,
    ServingRequested,
)
from vlm_runner.core.run import Phase, Run
from vlm_runner.core.signals import HeldElsewhere, Trouble
from vlm_runner.core.transitions import accepts, evolve
from vlm_runner.errors import VlmRunnerError
from vlm_runner.groups import task_group
from vlm_runner.steps.perform import perform

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import timedelta

    from vlm_runner.bus import Bus
    from vlm_runner.checkpoint.base import CheckpointStore
    from vlm_runner.checkpoint.document import Holder
    from vlm_runner.clock import Clock
    from vlm_runner.core.commands import Command
    from vlm_runner.steps.ports import Ports

log = structlog.get_logger("vlm_runner")

RELEASE_SECONDS = 10.0
"""For letting go of the lease while being stopped; a successor that finds it held waits it out."""


@dataclass(frozen=True, slots=True)
class Driving:
    """How a process drives, whatever the run."""

    store: CheckpointStore
    clock: Clock
    timing: LeaseTiming
    holder: Callable[[], Holder]
    is_dead: Callable[[Holder], bool]
    cancel_every: float
    quiet: timedelta


class Driver:
    """
    Drives one run from where it stands to DONE; `drive` is called once.

    `ports_of` gives a step its ports, once the run is known.
    """

    def __init__(self, run_id: str, driving: Driving, ports_of: Callable[[Run], Ports], bus: Bus) -> None:
        self._run_id = run_id
        self._driving = driving
        self._ports_of = ports_of
        self._bus = bus
        self._giving_up: anyio.CancelScope | None = None
        self._cancel_reason: str | None = None
        self._look_now = anyio.Event()

    def look_for_cancel(self) -> None:
        """Look for the cancel mark now instead of at the next turn."""
        self._look_now.set()

    async def drive(self, until: Phase | None = None) -> Run:
        """
        Drive until the run is done, or has left `until`.

        Raises:
            RunNotFound, CheckpointError: there is nothing to drive.
            Fenced: another process took over.
            VlmRunnerError: the run halted where it is, and can be resumed.
        """
        driving = self._driving
        claim = await Claim.acquire(
            driving.store,
            self._run_id,
            driving.holder(),
            clock=driving.clock,
            timing=driving.timing,
            is_dead=driving.is_dead,
            waiting=lambda other: self._bus.signal(
                self._run_id, HeldElsewhere(host=other.host, pid=other.pid)
            ),
        )
        fence.set(claim.check)
        try:
            async with task_group() as group:
                group.start_soon(claim.keep_renewing, name=f"lease of {self._run_id}")
                group.start_soon(self._watch_for_cancel, name=f"cancel mark of {self._run_id}")
                run = await self._advance(claim, until)
                group.cancel_scope.cancel()
        finally:
            with anyio.move_on_after(RELEASE_SECONDS, shield=True):
                await claim.release()
        return run

    async def _advance(self, claim: Claim, until: Phase | None) -> Run:
        taken_over = on_takeover(claim.run)
        if taken_over is not None:
            await self._record(claim, taken_over)
        while not claim.run.done and not _left(claim.run, until):
            await self._step(claim)
        return claim.run

    async def _step(self, claim: Claim) -> None:
        run = claim.run
        if self._must_cancel(run):
            await self._record(claim, CancelRequested(reason=self._cancel_reason or ""))
            return
        command = decide(run, quiet=self._driving.quiet)
        # A command that pays is carried to its recorded end, whatever happens to this process's tasks.
        with anyio.CancelScope(shield=not command.interruptible):
            event = await self._perform(run, command)
            if event is not None:
                await self._record(claim, event)

    async def _perform(self, run: Run, command: Command) -> Event | None:
        """The command's event; None where it was given up because the run is to be cancelled."""
        try:
            with anyio.CancelScope() as scope, self._may_give_up(command, scope):
                return await perform(command, self._ports_of(run))
        except Fenced:
            raise
        except Exception as error:
            event = on_error(run, error)
            if event is None:
                raise
            if not isinstance(error, VlmRunnerError):
                log.exception("run.step_crashed", run_id=run.run_id, phase=run.phase.value)
            return event
        return None

    @contextmanager
    def _may_give_up(self, command: Command, scope: anyio.CancelScope) -> Iterator[None]:
        self._giving_up = scope if command.cancellable else None
        try:
            yield
        finally:
            self._giving_up = None

    def _must_cancel(self, run: Run) -> bool:
        return (
            self._cancel_reason is not None
            and run.cancelled is None
            and accepts(run, CancelRequested(reason=self._cancel_reason))
        )

    async def _watch_for_cancel(self) -> None:
        while True:
            try:
                self._cancel_reason = await self._driving.store.cancel_reason(self._run_id)
            except VlmRunnerError as error:
                self._bus.signal(self._run_id, Trouble(doing="looking for a cancel mark", message=str(error)))
            if self._cancel_reason is not None:
                if self._giving_up is not None:
                    self._giving_up.cancel()
                return
            await self._nap(self._driving.cancel_every)

    async def _nap(self, seconds: float) -> None:
        """Sleep, or until `look_for_cancel`."""
        async with anyio.create_task_group() as group:

            async def woken() -> None:
                await self._look_now.wait()
                group.cancel_scope.cancel()

            group.start_soon(woken)
            await self._driving.clock.sleep(seconds)
            group.cancel_scope.cancel()
        if self._look_now.is_set():
            self._look_now = anyio.Event()

    async def _record(self, claim: Claim, event: Event) -> None:
        """Save the run after `event`, then tell it: nobody hears of what could be lost."""
        run = claim.run
        entry = Entry(sequence=run.sequence + 1, at=self._driving.clock.now(), event=event)
        after = evolve(run, entry)
        try:
            await claim.commit(after, entry)
        except Fenced:
            if isinstance(event, JobSubmitted | ServingRequested):
                await self._hand_over_or_undo(run, event)
            raise
        self._bus.entry(after, entry)

    async def _hand_over_or_undo(self, run: Run, event: JobSubmitted | ServingRequested) -> None:
        """
        This process bought something and may not record it, since another one drives the run now.

        While the run still waits for that thing, the other finds it by its name, and it is left to it. Once
        the run has gone past, nobody will look for it again: then it is stopped or deleted here.
        """
        checkpoint, _ = await load(self._driving.store, run.run_id)
        if checkpoint.run.phase is run.phase:
            return
        ports = self._ports_of(run)
        known = checkpoint.run.job if isinstance(event, JobSubmitted) else checkpoint.run.serving
        if known is not None and known.arn == event.arn:
            return
        if isinstance(event, JobSubmitted):
            await ports.aws.bedrock.stop_job(event.arn)
        elif run.serving_intent is not None:
            await ports.aws.bedrock.delete_endpoint(run.serving_intent.mode, event.arn)


def _left(run: Run, until: Phase | None) -> bool:
    phases = list(Phase)
    return until is not None and phases.index(run.phase) > phases.index(until)

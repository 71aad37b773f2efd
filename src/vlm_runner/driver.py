"""
One run, driven by one process: decide, perform, evolve, save, publish, and again until it is done.

Knows nothing of what the commands do, and decides nothing itself.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import anyio
import structlog

from vlm_runner.aws.session import fence
from vlm_runner.checkpoint.lease import Claim, Fenced, Stale, load
from vlm_runner.core.budget import overdue
from vlm_runner.core.commands import RequestServing, SubmitJob
from vlm_runner.core.decide import bears, decide, on_doubt, on_error, on_halt, plain
from vlm_runner.core.events import (
    CancelRequested,
    Entry,
    Event,
    JobSubmitted,
    ServingRequested,
)
from vlm_runner.core.retry import STEP, UNDO
from vlm_runner.core.run import Phase, Run
from vlm_runner.core.signals import HeldElsewhere, Trouble
from vlm_runner.core.transitions import accepts, evolve
from vlm_runner.errors import (
    AwsRefused,
    AwsUnavailable,
    CredentialsError,
    RunTaken,
    UncertainCreate,
    VlmRunnerError,
)
from vlm_runner.steps.perform import perform
from vlm_runner.task_groups import task_group

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import timedelta

    from vlm_runner.bus import Bus
    from vlm_runner.checkpoint.base import CheckpointStore
    from vlm_runner.checkpoint.document import Checkpoint, Holder
    from vlm_runner.checkpoint.timing import LeaseSettings
    from vlm_runner.clock import Clock
    from vlm_runner.core.commands import Command
    from vlm_runner.steps.ports import Ports

log = structlog.get_logger("vlm_runner")

HURRIED_SECONDS = 15.0
"""For saves while being stopped; an orchestrator kills some 30 seconds after it asks."""


class StillBilling(RunTaken):
    """Something was bought that could neither be recorded nor deleted."""

    exit_code = 104


@dataclass(frozen=True, slots=True)
class _Faults:
    """Of the command at hand, since a command last succeeded."""

    worked: bool = False
    count: int = 0
    since: float = 0.0

    def another(self, now: float) -> _Faults:
        return replace(self, count=self.count + 1, since=self.since if self.count else now)


@dataclass(frozen=True, slots=True)
class Driving:
    """How a process drives, whatever the run."""

    store: CheckpointStore
    clock: Clock
    timing: LeaseSettings
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
        self._claim: Claim | None = None
        self._hurried = False
        self._faults = _Faults()
        self._last_chance_to_create = 0.0
        self.on_claimed: Callable[[Checkpoint], None] = lambda _: None
        """Told of the checkpoint that this process goes on from, once it may."""

    def look_for_cancel(self) -> None:
        """Look for the cancel mark now instead of at the next turn."""
        self._look_now.set()

    def hurry(self) -> None:
        """This process is being stopped: no save is tried for longer than that leaves."""
        self._hurried = True
        if self._claim is not None:
            self._claim.shorten_deadline(HURRIED_SECONDS)

    async def drive(self, until: Phase | None = None) -> Run:
        """
        Drive until the run is done, or has left `until`.

        Raises:
            RunNotFound, CheckpointError: there is nothing to drive.
            Fenced: another process took over.
            VlmRunnerError: the run halted where it is, and can be resumed.
        """
        driving = self._driving
        self._claim = claim = await Claim.acquire(
            driving.store,
            self._run_id,
            driving.holder(),
            clock=driving.clock,
            timing=driving.timing,
            is_dead=driving.is_dead,
            waiting=lambda other: self._bus.signal(
                self._run_id, HeldElsewhere(host=other.host, pid=other.pid)
            ),
            troubled=lambda error: self._trouble("reaching the checkpoint", error),
        )
        try:
            if self._hurried:
                claim.shorten_deadline(HURRIED_SECONDS)
            self._last_chance_to_create = driving.clock.elapsed()
            self.on_claimed(claim.checkpoint)
            fence.set(claim.fence.check)
            async with task_group() as group:
                group.start_soon(claim.keep_renewing, name=f"lease of {self._run_id}")
                group.start_soon(self._watch_for_cancel, name=f"cancel mark of {self._run_id}")
                run = await self._advance(claim, until)
                group.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await claim.release()
        return run

    async def _advance(self, claim: Claim, until: Phase | None) -> Run:
        if claim.inherited and (doubt := on_doubt(claim.run, "taken over")) is not None:
            await self._record(claim, doubt)
        while not claim.run.done and not _left(claim.run, until):
            await self._step(claim)
        return claim.run

    async def _step(self, claim: Claim) -> None:
        run = claim.run
        if self._must_cancel(run):
            await self._record(claim, CancelRequested(reason=plain(self._cancel_reason or "")))
            return
        if (over := overdue(run, self._driving.clock.now())) is not None:
            await self._record(claim, over)
            return
        command = decide(run, quiet=self._driving.quiet, closed_for=self._closed_for())
        # A command that pays is carried to its recorded end, whatever happens to this process's tasks.
        with anyio.CancelScope(shield=not command.interruptible):
            event, error = await self._perform(claim, run, command)
            if event is not None:
                await self._record(claim, event)
        if error is not None:
            await self._bear(claim, error)
        elif event is not None:
            self._faults = _Faults(worked=True)

    async def _perform(
        self, claim: Claim, run: Run, command: Command
    ) -> tuple[Event | None, Exception | None]:
        """The command's event, or its error; neither where it was given up for a cancel."""
        pays = isinstance(command, SubmitJob | RequestServing)
        try:
            with self._may_give_up(cancellable=command.cancellable):
                ports = replace(self._ports_of(run), history=claim.checkpoint.history)
                event = await perform(command, ports)
                self._may_have_created(pays)
                return event, None
        except Stale:
            await claim.renew()
        except Exception as error:  # noqa: BLE001 - judged, and raised again unless it is borne
            # An error that nobody foresaw says nothing about whether the request was sent.
            if pays and (isinstance(error, UncertainCreate) or not isinstance(error, VlmRunnerError)):
                self._may_have_created(pays)
                return on_doubt(run, str(error) or repr(error)), error
            return None, error
        return None, None

    def _may_have_created(self, pays: bool) -> None:  # noqa: FBT001
        if pays:
            self._last_chance_to_create = self._driving.clock.elapsed()

    def _closed_for(self) -> float:
        return self._driving.clock.elapsed() - self._last_chance_to_create

    async def _bear(self, claim: Claim, error: Exception) -> None:
        """Wait a little, go on with what the error means, or raise it."""
        driving, run = self._driving, claim.run
        now = driving.clock.elapsed()
        faults = self._faults = self._faults.another(now)
        again = bears(
            run,
            error,
            failing_for=now - faults.since,
            closed_for=self._closed_for(),
            quiet=driving.quiet,
            worked=faults.worked,
        )
        if again:
            self._trouble(f"phase {run.phase}", error)
            with self._may_give_up(cancellable=True):
                await driving.clock.sleep(STEP.pause(faults.count, driving.clock.chance()))
            return
        if not isinstance(error, VlmRunnerError):
            log.error("run.step_crashed", run_id=run.run_id, phase=run.phase.value, exc_info=error)
        event = on_error(run, error)
        halting = on_halt(run, error) if event is None else None
        if (told := event or halting) is not None:
            await self._record(claim, told)
        if event is None:
            raise error

    @contextmanager
    def _may_give_up(self, *, cancellable: bool) -> Iterator[None]:
        """A cancel mark that is found meanwhile ends what is within, if it is `cancellable`."""
        with anyio.CancelScope() as scope:
            self._giving_up = scope if cancellable and self._cancel_reason is None else None
            try:
                yield
            finally:
                self._giving_up = None

    def _must_cancel(self, run: Run) -> bool:
        return (
            self._cancel_reason is not None
            and run.cancelled is None
            and accepts(run, CancelRequested(reason=""))
        )

    async def _watch_for_cancel(self) -> None:
        while True:
            try:
                self._cancel_reason = await self._driving.store.cancel_reason(self._run_id)
            except VlmRunnerError as error:
                self._trouble("looking for a cancel mark", error)
            if self._cancel_reason is not None:
                if self._giving_up is not None:
                    self._giving_up.cancel()
                return
            self._watch_the_budget()
            await self._nap(self._driving.cancel_every)

    def _watch_the_budget(self) -> None:
        """End a wait that costs more than the run may spend; what then comes is decided as ever."""
        claim, scope = self._claim, self._giving_up
        if claim is None or scope is None or overdue(claim.run, self._driving.clock.now()) is None:
            return
        scope.cancel()

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
        the run has gone past, perhaps nobody looks for it again: then it is stopped or deleted here.
        """
        while not await self._undone(run, event):
            error = StillBilling(f"{event.arn} was bought by a process that lost its run, and may bill.")
            self._trouble("undoing what may not be kept", error)
            if self._hurried:
                raise error
            await self._driving.clock.sleep(UNDO.longest)

    async def _undone(self, run: Run, event: JobSubmitted | ServingRequested) -> bool:
        bedrock = self._ports_of(run).aws.bedrock
        try:
            checkpoint, _ = await load(self._driving.store, run.run_id, clock=self._driving.clock)
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
            self._trouble("undoing what may not be kept", error)
            return False

    def _trouble(self, doing: str, error: Exception) -> None:
        self._bus.signal(self._run_id, Trouble(doing=doing, message=str(error)))


def _left(run: Run, until: Phase | None) -> bool:
    """Whether the run is past `until`. One that failed or was cancelled is driven to its release first."""
    phases = list(Phase)
    ending = run.reason is not None or run.cancelled is not None
    return until is not None and not ending and phases.index(run.phase) > phases.index(until)

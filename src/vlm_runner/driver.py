"""
One run, driven by one process: decide, perform, evolve, save, publish, and again until it is done.

It has no effects of its own but saving, and chooses nothing: `core.decide` says what comes next,
`core.failure` what an error means, `steps` do it.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import anyio
import structlog

from vlm_runner.aws.fence import set_fence
from vlm_runner.cancel_watch import CancelWatch
from vlm_runner.checkpoint.lease import Claim
from vlm_runner.core.decide import decide, due
from vlm_runner.core.decide import release as release_command
from vlm_runner.core.events import Entry, Event
from vlm_runner.core.failure import (
    Failure,
    Halt,
    Reaction,
    RetryAfter,
    foreseen,
    may_have_created,
    may_have_sent,
    on_failure,
    uncertain_create,
)
from vlm_runner.core.retry import Failures
from vlm_runner.core.run import Phase, Run
from vlm_runner.core.signals import HeldElsewhere, Trouble
from vlm_runner.core.text import storable
from vlm_runner.core.transitions import evolve
from vlm_runner.errors import (
    CheckpointFull,
    Fenced,
    LeaseExpired,
    OtherAccount,
    StillBilling,
    Unrecorded,
    VlmRunnerError,
)
from vlm_runner.steps.perform import perform
from vlm_runner.steps.test_calls import BaseCalls
from vlm_runner.steps.undo import release_unrecorded, undo_purchase
from vlm_runner.steps.whose_account import refuse_other_account
from vlm_runner.task_groups import task_group

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from vlm_runner.bus import Bus
    from vlm_runner.checkpoint.base import CheckpointStore
    from vlm_runner.checkpoint.document import Checkpoint, Holder
    from vlm_runner.checkpoint.timing import LeaseSettings
    from vlm_runner.clock import Clock
    from vlm_runner.core.decide import Command
    from vlm_runner.steps.ports import Ports

log = structlog.get_logger("vlm_runner")

STOPPING_SECONDS = 15.0
"""For saves while being stopped; an orchestrator kills about 30 seconds after SIGTERM."""


@dataclass(frozen=True, slots=True)
class Driving:
    """How a process drives runs; the same for all of them."""

    store: CheckpointStore
    clock: Clock
    timing: LeaseSettings
    holder: Callable[[], Holder]
    is_dead: Callable[[Holder], bool]
    cancel_every: float
    quiet: timedelta


class Driver:
    """
    Drives one run from its present phase to DONE; `drive` is called once.

    `ports_of` gives a step its ports, once the run is known.
    """

    def __init__(self, run_id: str, driving: Driving, ports_of: Callable[[Run], Ports], bus: Bus) -> None:
        self._run_id = run_id
        self._driving = driving
        self._ports_of = ports_of
        self._bus = bus
        self._cancel = CancelWatch(
            run_id, driving.store, driving.clock, every=driving.cancel_every, on_trouble=self._trouble
        )
        self._claim: Claim | None = None
        self._base_calls: BaseCalls | None = None
        self._stopping = False
        self._failures = Failures()
        self._worked = False
        self._last_chance_to_create = 0.0
        self._latest = (0.0, datetime.min.replace(tzinfo=UTC))
        """Of `clock.elapsed`, and the latest time that any process had seen by then."""

    def look_for_cancel(self) -> None:
        """Look for the cancel mark now instead of when the time comes."""
        self._cancel.look_now()

    def shorten_deadlines(self) -> None:
        """This process is being stopped: no save is tried for longer than that leaves."""
        self._stopping = True
        if self._claim is not None:
            self._claim.shorten_deadline(STOPPING_SECONDS)

    async def drive(
        self, until: Phase | None = None, *, on_claimed: Callable[[Checkpoint], None] = lambda _: None
    ) -> Run:
        """
        Drive until the run is done, or has left `until`.

        `on_claimed` is called with the checkpoint that this process goes on from.

        Raises:
            RunNotFound, CheckpointError: the run does not exist, or cannot be read.
            Fenced: another process took over.
            VlmRunnerError: the run halted where it is, and can be resumed.
        """
        return await self._claimed(lambda claim: self._advance(claim, until), on_claimed)

    async def release_kept(self) -> Run:
        """
        Delete the endpoint that the run, which is over, has handed over; nothing if it has none any more.

        Raises:
            RunNotFound, CheckpointError, Fenced: as `drive`.
            VlmRunnerError: the endpoint may be there and bill; repeat it.
        """
        return await self._claimed(self._release_kept, lambda _: None)

    async def _release_kept(self, claim: Claim) -> Run:
        run = claim.run
        if run.done and run.handed_over is not None and run.may_bill:
            # No create can be on its way any more: a run is over only once none is.
            command = release_command(run, self._driving.quiet.total_seconds(), closed_for=math.inf)
            await self._record(claim, await perform(command, self._ports_of(run)))
        return claim.run

    async def _claimed(
        self, do: Callable[[Claim], Awaitable[Run]], on_claimed: Callable[[Checkpoint], None]
    ) -> Run:
        """What `do` makes of the run, done by the one process that holds it."""
        driving = self._driving
        self._claim = claim = await Claim.acquire(
            driving.store,
            self._run_id,
            driving.holder(),
            clock=driving.clock,
            timing=driving.timing,
            is_dead=driving.is_dead,
            on_wait=lambda other: self._bus.signal(
                self._run_id, HeldElsewhere(host=other.host, pid=other.pid)
            ),
            on_trouble=lambda error: self._trouble("reaching the checkpoint", error),
        )
        seen = [driving.clock.now(), claim.checkpoint.history[-1].at, claim.last_saved_at]
        self._latest = (driving.clock.elapsed(), max(at for at in seen if at is not None))
        halted: str | None = None
        try:
            if self._stopping:
                claim.shorten_deadline(STOPPING_SECONDS)
            sent = claim.inherited or may_have_sent(claim.run)
            self._last_chance_to_create = driving.clock.elapsed() if sent else -math.inf
            on_claimed(claim.checkpoint)
            # Before any task is started: the fence holds for this task and those that it starts.
            set_fence(claim.fence.check)
            # Before the first step: a run that was cancelled while nobody drove it buys nothing more.
            await self._cancel.look()
            async with task_group() as group:
                group.start_soon(claim.keep_renewing, name=f"lease of {self._run_id}")
                group.start_soon(
                    self._cancel.watch, lambda: self._overdue(claim), name=f"cancel mark of {self._run_id}"
                )
                self._base_calls = BaseCalls(group)
                run = await do(claim)
                group.cancel_scope.cancel()
        except Exception as error:
            halted = storable(str(error) or repr(error))
            await self._release_unrecorded(claim, error)
            raise
        finally:
            with anyio.CancelScope(shield=True):
                await claim.release(halted=halted)
        return run

    async def _release_unrecorded(self, claim: Claim, error: Exception) -> None:
        """
        Let go of what the run rents where its state cannot be saved: perhaps no process can ever resume it.

        Raises:
            Unrecorded: it was released; nothing says so but this error.
        """
        run = claim.run
        # A stop leaves remote work running; a purchase that could not be undone was tried already; and in
        # another account there is nothing to release.
        if (
            self._stopping
            or not run.may_bill
            or run.handed_over is not None
            or isinstance(error, StillBilling | OtherAccount)
        ):
            return
        if not isinstance(error, VlmRunnerError):
            log.error("run.driver_crashed", run_id=run.run_id, phase=run.phase.value, exc_info=error)
        command = release_command(run, self._driving.quiet.total_seconds(), self._closed_for())
        if await release_unrecorded(
            claim.checkpoint,
            command,
            self._ports_of(run),
            self._driving.store,
            fenced=isinstance(error, Fenced),
        ):
            raise Unrecorded(
                f"{error} What run {run.run_id} rented was released; its checkpoint does not say so.",
                hint=f"Once the cause is fixed, resume with: vlm-runner resume {run.run_id}",
            ) from error

    async def _advance(self, claim: Claim, until: Phase | None) -> Run:
        # First of all: what the previous process had in flight must be looked for, not bought again.
        if claim.inherited and (doubt := uncertain_create(claim.run, "taken over")) is not None:
            await self._record(claim, doubt)
        if not claim.run.done:
            await refuse_other_account(claim.run.account, self._ports_of(claim.run))
        while not claim.run.done and not _left(claim.run, until):
            await self._step(claim)
        return claim.run

    async def _step(self, claim: Claim) -> None:
        run = claim.run
        now = self._latest_now()
        if (first := due(run, now=now, cancel_reason=self._cancel.reason)) is not None:
            await self._record(claim, first)
            return
        command = decide(run, quiet=self._driving.quiet, closed_for=self._closed_for())
        if command.pays:
            # The watch looks from time to time only, and what is bought after a cancel is paid for.
            await self._cancel.look()
            if self._cancel.reason is not None:
                return
        # A command that pays is carried to its recorded end even while this task is being cancelled.
        with (
            anyio.CancelScope(shield=not command.interruptible),
            claim.settling() if command.pays else nullcontext(),
        ):
            reaction = await self._perform(claim, command)
        match reaction:
            case RetryAfter(seconds=seconds, error=error):
                self._trouble(f"phase {claim.run.phase}", error)
                with self._cancel.may_interrupt():
                    await self._driving.clock.sleep(seconds)
            case Halt(error=error):
                raise error
            case _:
                pass  # what was recorded says how to go on

    async def _perform(self, claim: Claim, command: Command) -> Reaction | None:
        """Do it, and record what came of it; if it failed, what to do about that."""
        run = claim.run
        event: Event | None = None
        try:
            ports = replace(
                self._ports_of(run), history=claim.checkpoint.history, base_calls=self._base_calls
            )
            with self._cancel.may_interrupt(allowed=command.cancellable):
                event = await perform(command, ports)
        except LeaseExpired:
            # Nothing was sent. Once the lease is renewed, the same command is decided again.
            await claim.renew()
            return None
        except Exception as error:  # noqa: BLE001 - judged, and raised again unless it is retried
            return await self._react(claim, command, error if command.pays else foreseen(error))
        if command.pays:
            self._last_chance_to_create = self._driving.clock.elapsed()
        if event is not None:
            try:
                await self._record_outcome(claim, command, event, ports)
            except CheckpointFull as error:
                return await self._react(claim, command, error)
            self._failures, self._worked = Failures(), True
        return None

    async def _react(self, claim: Claim, command: Command, error: Exception) -> Reaction:
        reaction = self._judge(claim.run, command, error)
        for each in reaction.events:
            await self._record(claim, each)
        return reaction

    def _judge(self, run: Run, command: Command, error: Exception) -> Reaction:
        clock = self._driving.clock
        now = clock.elapsed()
        # Before the judgement, which asks how long ago a create may last have been signed.
        if command.pays and may_have_created(error):
            self._last_chance_to_create = now
        failures = self._failures = self._failures.another(now)
        if not isinstance(error, VlmRunnerError):
            # With a traceback the first time only: a release may meet the same error for hours.
            log.error(
                "run.step_crashed",
                run_id=run.run_id,
                phase=run.phase.value,
                error=repr(error),
                exc_info=error if failures.count == 1 else None,
            )
        failure = Failure(
            error,
            pays=command.pays,
            count=failures.count,
            failing_for=failures.lasting(now),
            closed_for=self._closed_for(),
            worked=self._worked,
            chance=clock.chance(),
        )
        return on_failure(run, failure, quiet=self._driving.quiet)

    def _closed_for(self) -> float:
        return self._driving.clock.elapsed() - self._last_chance_to_create

    def _latest_now(self) -> datetime:
        """
        What the clock shows, but no less than the time of the last entry and what has passed since.

        For limits that were set by another machine's clock: one that runs behind, or is set back, must not
        rent for longer.
        """
        began, anchor = self._latest
        clock = self._driving.clock
        # In whole milliseconds: rounding must not put a sound clock's entries ahead of it.
        passed = timedelta(milliseconds=math.floor((clock.elapsed() - began) * 1000))
        return max(clock.now(), anchor + passed)

    def _overdue(self, claim: Claim) -> bool:
        return due(claim.run, now=self._latest_now(), cancel_reason=None) is not None

    async def _record_outcome(self, claim: Claim, command: Command, event: Event, ports: Ports) -> None:
        run = claim.run
        try:
            await self._record(claim, event)
        except Fenced:
            if command.pays:
                await undo_purchase(run, event, ports, self._driving.store, stopping=lambda: self._stopping)
            raise

    async def _record(self, claim: Claim, event: Event) -> None:
        run = claim.run
        # Limits count from entries, so both are told by one clock, which never goes back.
        at = self._latest_now()
        self._latest = (self._driving.clock.elapsed(), at)
        entry = Entry(sequence=run.sequence + 1, at=at, event=event)
        after = evolve(run, entry)
        # Saved before it is published: a watcher must never see an event that could be lost.
        await claim.commit(after, entry)
        self._bus.entry(after, entry)

    def _trouble(self, doing: str, error: Exception) -> None:
        self._bus.signal(self._run_id, Trouble(doing=doing, message=str(error) or repr(error)))


def _left(run: Run, until: Phase | None) -> bool:
    """Whether the run is past `until`. One that failed or was cancelled is driven to its release first."""
    phases = list(Phase)
    ending = run.reason is not None or run.cancelled is not None
    return until is not None and not ending and phases.index(run.phase) > phases.index(until)

"""
Who drives a run, and how its state is saved.

The lease saves work: two processes need not stage the same images. Safety does not rest on it: names,
tokens and compare-and-swap do that. A contender takes over at once where the holder gave up or is proved
dead, else only after it has itself seen the document unchanged for the lease time, on its own clock.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import anyio

from vlm_runner.checkpoint.base import CheckpointStore, Replaced, Stored
from vlm_runner.checkpoint.document import Checkpoint, Holder, from_bytes, to_bytes
from vlm_runner.core.pace import full_jitter
from vlm_runner.errors import AwsUnavailable, RunNotFound, RunTaken

if TYPE_CHECKING:
    from collections.abc import Callable

    from vlm_runner.clock import Clock
    from vlm_runner.core.events import Entry
    from vlm_runner.core.run import Run


@dataclass(frozen=True, slots=True)
class LeaseTiming:
    """
    Seconds. `time_to_live` must be at least ten times a slow write to the store, and `guard` longer than
    the longest single call that pays.
    """

    time_to_live: float = 90.0
    renew_every: float = 20.0
    guard: float = 30.0
    clock_rate_error: float = 0.10
    margin: float = 5.0
    look_every: float = 2.0

    @property
    def patience(self) -> float:
        """For how long a document must be seen unchanged before its holder counts as gone."""
        return self.time_to_live * (1 + self.clock_rate_error) + self.margin


class Fenced(RunTaken):
    """Another process has taken this run over; whatever this one does now is not recorded."""


async def compare_and_swap(
    store: CheckpointStore, checkpoint: Checkpoint, replacing: str | None, *, clock: Clock, give_up_at: float
) -> str:
    """
    Save `checkpoint` over version `replacing`, and find out for certain whether it was saved.

    Every copy that is sent is the same bytes under the same condition, so at most one can take effect.

    Raises:
        Fenced: another write came between, or `give_up_at` (`clock.elapsed`) passed without an answer.
    """
    body = to_bytes(checkpoint)
    run_id = checkpoint.run.run_id
    attempt = 0
    while True:
        try:
            return await store.write(run_id, body, replacing=replacing)
        except (Replaced, AwsUnavailable):
            pass
        try:
            found = await store.read(run_id)
        except AwsUnavailable:
            pass
        else:
            if found is not None and _write_id(found) == checkpoint.write_id:
                return found.version
            if (found.version if found is not None else None) != replacing:
                raise Fenced(f"Run {run_id} is driven by another process now.")
        if clock.elapsed() >= give_up_at:
            raise Fenced(f"The checkpoint of run {run_id} could not be saved in time.")
        await clock.sleep(full_jitter(attempt, clock.chance()))
        attempt += 1


def _write_id(found: Stored) -> str:
    return from_bytes(found.body, where="the checkpoint").write_id


async def load(store: CheckpointStore, run_id: str) -> tuple[Checkpoint, str]:
    """
    The checkpoint and its version.

    Raises:
        RunNotFound: there is none.
        CheckpointError: it cannot be read.
    """
    stored = await store.read(run_id)
    if stored is None:
        raise RunNotFound(f"No run '{run_id}' in {store.uri}.", hint="See what there is: vlm-runner list")
    return from_bytes(stored.body, where=store.locate(run_id)), stored.version


async def create(store: CheckpointStore, first: Entry, run: Run, *, clock: Clock) -> bool:
    """Save a run's first checkpoint, held by nobody; False where the run exists already."""
    checkpoint = Checkpoint(write_id=uuid.uuid4().hex, run=run, history=(first,))
    try:
        await compare_and_swap(store, checkpoint, None, clock=clock, give_up_at=clock.elapsed() + 60)
    except Fenced:
        return False
    return True


class Claim:
    """
    The right to drive one run, as far as one process can know it.

    Made by `acquire`. All writes go through one lock, since each replaces the version that the one before
    it made.
    """

    def __init__(
        self,
        store: CheckpointStore,
        clock: Clock,
        timing: LeaseTiming,
        *,
        checkpoint: Checkpoint,
        version: str,
        deadline: float,
    ) -> None:
        self._store = store
        self._clock = clock
        self._timing = timing
        self._checkpoint = checkpoint
        self._version = version
        self._deadline = deadline
        self._writing = anyio.Lock()

    @classmethod
    async def acquire(
        cls,
        store: CheckpointStore,
        run_id: str,
        holder: Holder,
        *,
        clock: Clock,
        timing: LeaseTiming,
        is_dead: Callable[[Holder], bool] = lambda _: False,
        waiting: Callable[[Holder], None] = lambda _: None,
    ) -> Self:
        """
        Take the run, now or as soon as its holder is gone.

        Raises:
            RunNotFound: there is no such run.
            CheckpointError: it cannot be read by this version; it is left untouched.
        """
        seen: str | None = None
        since = clock.elapsed()
        while True:
            checkpoint, version = await load(store, run_id)
            if version != seen:
                seen, since = version, clock.elapsed()
            current = checkpoint.holder
            patient = clock.elapsed() - since >= timing.patience
            if current is None or patient or is_dead(current):
                claim = await cls._take(store, checkpoint, version, holder=holder, clock=clock, timing=timing)
                if claim is not None:
                    return claim
                continue
            waiting(current)
            await clock.sleep(timing.look_every)

    @classmethod
    async def _take(
        cls,
        store: CheckpointStore,
        checkpoint: Checkpoint,
        version: str,
        *,
        holder: Holder,
        clock: Clock,
        timing: LeaseTiming,
    ) -> Self | None:
        began = clock.elapsed()
        mine = _next(checkpoint, epoch=checkpoint.epoch + 1, holder=holder)
        try:
            saved = await compare_and_swap(
                store, mine, version, clock=clock, give_up_at=began + timing.time_to_live - timing.guard
            )
        except Fenced:
            return None
        deadline = began + timing.time_to_live - timing.guard
        return cls(store, clock, timing, checkpoint=mine, version=saved, deadline=deadline)

    @property
    def checkpoint(self) -> Checkpoint:
        return self._checkpoint

    @property
    def run(self) -> Run:
        return self._checkpoint.run

    def check(self) -> None:
        """
        Called between signing and sending of whatever pays.

        Raises:
            Fenced: the lease may have run out; a process that slept must not buy.
        """
        if self._clock.elapsed() >= self._deadline:
            raise Fenced(f"The lease of run {self.run.run_id} ran out while this process was not looking.")

    async def commit(self, run: Run, entry: Entry) -> None:
        """Save the run after `entry`. Raises Fenced, and then nothing was saved."""
        async with self._writing:
            await self._save(_next(self._checkpoint, run=run, history=(*self._checkpoint.history, entry)))

    async def renew(self) -> None:
        """Say that this process is alive. Raises Fenced."""
        async with self._writing:
            await self._save(_next(self._checkpoint))

    async def keep_renewing(self) -> None:
        """Renew for ever; ends only by cancellation or Fenced."""
        while True:
            spread = 0.8 + 0.4 * self._clock.chance()
            await self._clock.sleep(self._timing.renew_every * spread)
            await self.renew()

    async def release(self) -> None:
        """Let go, so that a successor need not wait. Failing is harmless: the successor waits."""
        async with self._writing:
            try:
                await self._save(_next(self._checkpoint, holder=None))
            except Fenced:
                return

    async def _save(self, checkpoint: Checkpoint) -> None:
        began = self._clock.elapsed()
        # A write that was sent must be followed to its end, or this process no longer knows its version.
        with anyio.CancelScope(shield=True):
            self._version = await compare_and_swap(
                self._store, checkpoint, self._version, clock=self._clock, give_up_at=self._deadline
            )
        self._checkpoint = checkpoint
        self._deadline = began + self._timing.time_to_live - self._timing.guard


def _next(checkpoint: Checkpoint, **changes: object) -> Checkpoint:
    fresh = {"write_id": uuid.uuid4().hex, "previous_write_id": checkpoint.write_id}
    return checkpoint.model_copy(update=fresh | changes)

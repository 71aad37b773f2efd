"""
Who drives a run, and how its state is saved.

The lease saves work: two processes need not stage the same images. Safety rests on names, tokens and
compare-and-swap, not on the lease. A contender takes over at once if the holder released the run or is
provably dead, else only after it has itself seen the document unchanged for the lease time, on its own clock.
"""

from __future__ import annotations

import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

import anyio

from vlm_runner.checkpoint.base import CheckpointStore, Replaced, Stored
from vlm_runner.checkpoint.document import Checkpoint, Holder, from_bytes, to_bytes
from vlm_runner.checkpoint.integrity import (
    KEPT_FREE,
    LATER_EVENTS,
    LATER_KINDS,
    MAX_BYTES,
    SERVES,
    TRAINS,
    refuse_another,
)
from vlm_runner.clock import SystemClock
from vlm_runner.core.retry import LOAD, SAVE
from vlm_runner.errors import (
    AwsRefused,
    AwsUnavailable,
    CheckpointError,
    CheckpointFull,
    CredentialsError,
    Fenced,
    LeaseExpired,
    NewerCheckpoint,
    RunNotFound,
    StoreUnavailable,
    Unsaved,
    VlmRunnerError,
)
from vlm_runner.path_segment import checked_run_id
from vlm_runner.retry import attempts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from vlm_runner.checkpoint.timing import LeaseSettings
    from vlm_runner.clock import Clock
    from vlm_runner.core.events import Entry
    from vlm_runner.core.run import Run


TAKING_SECONDS = 60.0
RELEASE_SECONDS = 10.0
"""How long releasing the lease may take; a successor that finds it held waits until it expires."""


UNANSWERED = (AwsUnavailable, CredentialsError)
"""What a store may raise that says nothing; credentials that expired may be renewed any minute."""

REPAIRABLE = (*UNANSWERED, AwsRefused, CheckpointError)
"""What may be mended while a run is driven: rights and buckets too, and a document that is damaged."""


async def compare_and_swap(
    store: CheckpointStore,
    checkpoint: Checkpoint,
    replacing: str | None,
    *,
    clock: Clock,
    give_up_at: Callable[[], float],
    on_trouble: Callable[[Exception], None] = lambda _: None,
    retried: tuple[type[Exception], ...] = UNANSWERED,
    may_recreate: Callable[[], bool] = lambda: False,
    kept_free: int = 0,
) -> str:
    """
    Save `checkpoint` over version `replacing`, and find out for certain whether it was saved.

    Every copy that is sent is the same bytes under the same condition, so at most one can take effect,
    however late it arrives; a copy of hours ago meets a version that never comes back.

    A document that is absent was not replaced but deleted: it is created anew, which is a conditional write
    too, as long as `may_recreate` says that no other process can have driven the run meanwhile.

    Raises:
        CheckpointFull: it is too large, or leaves less than `kept_free` bytes; nothing was sent.
        Fenced: another write came between.
        Unsaved: `give_up_at` (`clock.elapsed`) passed without an answer, or the document was deleted.
    """
    body = to_bytes(checkpoint)
    if len(body) > MAX_BYTES - kept_free:
        raise CheckpointFull(
            f"The state of run {checkpoint.run.run_id} would be {len(body):,} bytes; "
            f"at this point a checkpoint holds at most {MAX_BYTES - kept_free:,}.",
            hint="Shorten the prompt, or leave out the rows with the longest texts.",
        )
    run_id = checkpoint.run.run_id
    try:
        async for attempt in attempts(clock, SAVE, *retried, give_up_at=give_up_at, on_retry=on_trouble):
            with attempt:
                doubt: Exception = StoreUnavailable("The store refused a write that another one overlapped.")
                try:
                    return await store.write(run_id, body, replacing=replacing)
                except Replaced:
                    pass
                except retried as error:
                    doubt = error
                # Read back before anything is concluded: the write, or a copy of it, may have landed.
                found = await store.read(run_id)
                if found is None and replacing is not None:
                    if not may_recreate():
                        raise Unsaved(f"The checkpoint of run {run_id} was deleted from {store.uri}.")
                    replacing = None
                    doubt = StoreUnavailable(f"The checkpoint of run {run_id} was deleted; it is recreated.")
                elif found is not None and found.version != replacing:
                    if _write_id(found, store.locate(run_id)) == checkpoint.write_id:
                        return found.version
                    raise Fenced(f"Run {run_id} is driven by another process now.")
                raise doubt
    except retried as error:
        raise Unsaved(
            f"The checkpoint of run {run_id} could not be saved in {store.uri}: {error}",
            hint=f"Once that is fixed, resume with: vlm-runner resume {run_id}",
        ) from error
    raise AssertionError("attempts ends only by an error")


def _write_id(found: Stored, where: str) -> str | None:
    try:
        return from_bytes(found.body, where=where).write_id
    except NewerCheckpoint:
        return None  # a newer version drives the run


async def load(store: CheckpointStore, run_id: str, *, clock: Clock | None = None) -> tuple[Checkpoint, str]:
    """
    The checkpoint and its version.

    Raises:
        RunNotFound: it does not exist.
        UsageError: the id is invalid.
        CheckpointError: it cannot be read.
        AwsUnavailable: the store did not answer.
    """
    stored = await _read(store, checked_run_id(run_id), clock or SystemClock())
    return _parsed(stored, store, run_id), stored.version


async def load_all(
    store: CheckpointStore, *, clock: Clock | None = None, but: str | None = None
) -> tuple[list[Checkpoint], list[str]]:
    """
    The checkpoints of all runs except `but`, and the ids of those that cannot be read.

    One that is deleted meanwhile is in neither.
    """
    found: list[Checkpoint] = []
    unread: list[str] = []
    for run_id in await store.run_ids():
        if run_id == but:
            continue
        try:
            found.append((await load(store, run_id, clock=clock))[0])
        except RunNotFound:
            continue
        except VlmRunnerError:
            unread.append(run_id)
    return found, unread


def _parsed(stored: Stored, store: CheckpointStore, run_id: str) -> Checkpoint:
    where = store.locate(run_id)
    checkpoint = from_bytes(stored.body, where=where)
    refuse_another(checkpoint.run.run_id, run_id, where=where)
    return checkpoint


async def _read(store: CheckpointStore, run_id: str, clock: Clock) -> Stored:
    stored: Stored | None = None
    async for attempt in attempts(clock, LOAD, AwsUnavailable):
        with attempt:
            stored = await store.read(run_id)
    if stored is None:
        raise RunNotFound(f"No run '{run_id}' in {store.uri}.", hint="List the runs: vlm-runner list")
    return stored


async def create(store: CheckpointStore, first: Entry, run: Run, *, clock: Clock) -> bool:
    """
    Save a run's first checkpoint, without a holder; False if the run exists already.

    Raises:
        CheckpointFull: the spec is too large.
        Unsaved: the store did not answer for a minute.
    """
    schema = TRAINS if run.created.serves is None else SERVES
    checkpoint = Checkpoint(
        schema_version=schema, min_reader=schema, write_id=uuid.uuid4().hex, run=run, history=(first,)
    )
    give_up_at = clock.elapsed() + 60
    try:
        await compare_and_swap(
            store,
            checkpoint,
            None,
            clock=clock,
            give_up_at=lambda: give_up_at,
            kept_free=KEPT_FREE[first.event.kind],
        )
    except Fenced:
        return False
    return True


class Fence:
    """
    Checked between signing and sending of a request that pays: sent only while the lease certainly lasts.

    Separate from the claim, which it outlives: connections keep the context in which they were opened.
    """

    def __init__(self, run_id: str, clock: Clock, until: float) -> None:
        """`until` is in seconds of `clock.elapsed`."""
        self._run_id = run_id
        self._clock = clock
        self._until = until

    def check(self) -> None:
        """
        Raises LeaseExpired where the lease may have run out, or was let go.

        A process that was suspended must not buy, nor must tasks that it left behind.
        """
        if not self.holds():
            raise LeaseExpired(f"The lease of run {self._run_id} ran out while this process was not looking.")

    def holds(self) -> bool:
        """Whether the lease certainly lasts."""
        return self._clock.elapsed() < self._until

    def move(self, until: float) -> None:
        self._until = until

    def close(self) -> None:
        """From now on nothing may be sent."""
        self._until = float("-inf")


class Claim:
    """
    The right to drive one run, as far as a process can know.

    Made by `acquire`. All writes go through one lock, since each replaces the version that the one before
    it made.
    """

    def __init__(
        self,
        store: CheckpointStore,
        clock: Clock,
        timing: LeaseSettings,
        *,
        checkpoint: Checkpoint,
        version: str,
        deadline: float,
        inherited: bool,
        on_trouble: Callable[[Exception], None],
        last_saved_at: datetime | None = None,
    ) -> None:
        self.inherited = inherited
        """The previous process did not release the run: what it had in flight is unknown."""
        self.last_saved_at = last_saved_at
        """When the previous process last saved, by its clock."""
        self._store = store
        self._clock = clock
        self._timing = timing
        self._checkpoint = checkpoint
        self._version = version
        self.fence = Fence(checkpoint.run.run_id, clock, deadline)
        self._on_trouble = on_trouble
        self._deadline: float | None = None
        self._lost_an_entry = False
        self._writing = anyio.Lock()

    @classmethod
    async def acquire(
        cls,
        store: CheckpointStore,
        run_id: str,
        holder: Holder,
        *,
        clock: Clock,
        timing: LeaseSettings,
        is_dead: Callable[[Holder], bool] = lambda _: False,
        on_wait: Callable[[Holder], None] = lambda _: None,
        on_trouble: Callable[[Exception], None] = lambda _: None,
    ) -> Self:
        """
        Take the run, now or as soon as its holder is gone.

        Raises:
            RunNotFound: the run does not exist.
            CheckpointError: it cannot be read by this version; it is left untouched.
            AwsUnavailable, Unsaved: the store does not answer.
        """
        stored = await _read(store, run_id, clock)
        checkpoint, since = _parsed(stored, store, run_id), clock.elapsed()
        while True:
            current = checkpoint.holder
            unchanged_long_enough = clock.elapsed() - since >= timing.takeover_after
            if current is None or unchanged_long_enough or is_dead(current):
                # Followed to its end: a claim that was saved and that this process does not know of is never
                # released.
                with anyio.CancelScope(shield=True):
                    claim = await cls._take(
                        store,
                        checkpoint,
                        stored.version,
                        holder=holder,
                        clock=clock,
                        timing=timing,
                        on_trouble=on_trouble,
                    )
                if claim is not None:
                    return claim
            else:
                on_wait(current)
                await clock.sleep(timing.look_every)
            found = await _read(store, run_id, clock)
            if found.version != stored.version:
                checkpoint, since = _parsed(found, store, run_id), clock.elapsed()
            stored = found

    @classmethod
    async def _take(
        cls,
        store: CheckpointStore,
        checkpoint: Checkpoint,
        version: str,
        *,
        holder: Holder,
        clock: Clock,
        timing: LeaseSettings,
        on_trouble: Callable[[Exception], None],
    ) -> Self | None:
        # Taken before the write: a successor counts from its own first look, which is later.
        began = clock.elapsed()
        deadline = began + timing.spend_until
        mine = _next(checkpoint, clock, epoch=checkpoint.epoch + 1, holder=holder, halted=None)
        try:
            saved = await compare_and_swap(
                store,
                mine,
                version,
                clock=clock,
                give_up_at=lambda: began + TAKING_SECONDS,
                on_trouble=on_trouble,
            )
        except Fenced:
            return None
        return cls(
            store,
            clock,
            timing,
            checkpoint=mine,
            version=saved,
            deadline=deadline,
            inherited=checkpoint.holder is not None,
            on_trouble=on_trouble,
            last_saved_at=checkpoint.saved_at,
        )

    @property
    def checkpoint(self) -> Checkpoint:
        return self._checkpoint

    @property
    def run(self) -> Run:
        return self._checkpoint.run

    def shorten_deadline(self, seconds: float) -> None:
        """Let saves that are under way, and later ones, give up within `seconds` from now."""
        self._deadline = self._clock.elapsed() + seconds

    async def commit(self, run: Run, entry: Entry) -> None:
        """
        Save the run after `entry`.

        Raises:
            CheckpointFull, Fenced: nothing was saved.
            Unsaved: it may be.
        """
        async with self._writing:
            changes: dict[str, object] = {"run": run, "history": (*self._checkpoint.history, entry)}
            if self.run.done or entry.event.kind in LATER_KINDS:
                changes |= {"schema_version": LATER_EVENTS, "min_reader": LATER_EVENTS}
            try:
                await self._save(
                    _next(self._checkpoint, self._clock, **changes),
                    kept_free=KEPT_FREE.get(entry.event.kind, 0),
                )
            except CheckpointFull:
                raise  # nothing was sent, and something else may be saved
            except BaseException:
                self._lost_an_entry = True
                raise

    @contextmanager
    def settling(self) -> Iterator[None]:
        """
        Around what must end in an entry, or in an error that says what came of it.

        A service, an event loop that ends, or Ctrl-C where no handler takes it, can end a task whatever
        shields it: what it bought is then not recorded, and so the run is not let go.
        """
        try:
            yield
        except Exception:
            raise
        except BaseException:
            self._lost_an_entry = True
            raise

    async def renew(self) -> None:
        """Show that this process is alive. Raises Fenced, Unsaved."""
        async with self._writing:
            await self._save(_next(self._checkpoint, self._clock))

    async def keep_renewing(self) -> None:
        """Renew periodically; ends only by cancellation, Fenced or Unsaved."""
        while True:
            spread = 0.8 + 0.4 * self._clock.chance()
            await self._clock.sleep(self._timing.renew_every * spread)
            await self.renew()

    async def release(self, *, halted: str | None = None) -> None:
        """
        Release the run, so that a successor need not wait. A failure is harmless: the successor waits.

        One that could not save what happened does not let go: its successor must take over, and so doubt
        what this process may have bought.

        `halted` says why this process stops before the run is done, to whoever looks at the run.
        """
        self.shorten_deadline(RELEASE_SECONDS)
        async with self._writing:
            held = self.fence.holds()
            # Before the save: once a successor may drive, nothing of this process may buy.
            self.fence.close()
            if self._lost_an_entry:
                return
            try:
                released = _next(self._checkpoint, self._clock, holder=None, halted=halted)
                await self._save(released, may_recreate=lambda: held)
            except Exception as error:  # noqa: BLE001 - as above, and it must not hide what ended the drive
                if not isinstance(error, Fenced):
                    self._on_trouble(error)

    async def _save(
        self,
        checkpoint: Checkpoint,
        *,
        may_recreate: Callable[[], bool] | None = None,
        kept_free: int = 0,
    ) -> None:
        began = self._clock.elapsed()

        def give_up_at() -> float:
            late = began + SAVE.patience
            return late if self._deadline is None else min(late, self._deadline)

        # A write that was sent must be followed to its end, or this process no longer knows its version.
        with anyio.CancelScope(shield=True):
            try:
                self._version = await compare_and_swap(
                    self._store,
                    checkpoint,
                    self._version,
                    clock=self._clock,
                    give_up_at=give_up_at,
                    on_trouble=self._on_trouble,
                    retried=REPAIRABLE,
                    # No successor takes over before the fence closes: what is absent then was deleted.
                    may_recreate=may_recreate or self.fence.holds,
                    kept_free=kept_free,
                )
            except Unsaved:
                # A save that waits for its turn is not as patient again: only after it is anything released.
                self.shorten_deadline(0.0)
                raise
        self._checkpoint = checkpoint
        if checkpoint.holder is not None:
            self.fence.move(began + self._timing.spend_until)


def _next(checkpoint: Checkpoint, clock: Clock, **changes: object) -> Checkpoint:
    fresh = {
        "write_id": uuid.uuid4().hex,
        "previous_write_id": checkpoint.write_id,
        "saved_at": clock.now(),
    }
    return checkpoint.model_copy(update=fresh | changes)

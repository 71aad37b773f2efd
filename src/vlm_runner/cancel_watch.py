"""Watching for a run's cancel mark, and ending what may be given up once there is one."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vlm_runner.checkpoint.base import CheckpointStore
    from vlm_runner.clock import Clock


class CancelWatch:
    """Knows whether a run is to be cancelled, as soon as it has looked; `watch` runs beside the driver."""

    def __init__(
        self,
        run_id: str,
        store: CheckpointStore,
        clock: Clock,
        *,
        every: float,
        on_trouble: Callable[[str, Exception], None],
    ) -> None:
        self._run_id, self._store, self._clock = run_id, store, clock
        self._every = every
        self._on_trouble = on_trouble
        self._look_now = anyio.Event()
        self._scope: anyio.CancelScope | None = None
        self.reason: str | None = None
        """Why the run is to be cancelled, perhaps empty; None: it is not, as far as is known."""

    def look_now(self) -> None:
        """Look at once instead of when the time comes."""
        self._look_now.set()

    @contextmanager
    def may_interrupt(self, *, allowed: bool = True) -> Iterator[None]:
        """What is within ends silently if a mark is found meanwhile, or at `interrupt`."""
        with anyio.CancelScope() as scope:
            # A mark that is known already is obeyed between commands; it must not end the release.
            self._scope = scope if allowed and self.reason is None else None
            try:
                yield
            finally:
                self._scope = None

    def interrupt(self) -> None:
        """End what is within `may_interrupt`; what comes then is decided as ever."""
        if self._scope is not None:
            self._scope.cancel()

    async def watch(self, overdue: Callable[[], bool]) -> None:
        """Look until there is a mark; end what is within `may_interrupt` too once the run is `overdue`."""
        while True:
            await self.look()
            if self.reason is not None:
                self.interrupt()
                return
            if overdue():
                self.interrupt()
            await self._sleep()

    async def look(self) -> None:
        """Read the mark now. A store that does not answer is reported: it says nothing about a cancel."""
        if self.reason is not None:
            return
        try:
            self.reason = await self._store.cancel_reason(self._run_id)
        except Exception as error:  # noqa: BLE001 - a mark that cannot be read must not end a release
            self._on_trouble("looking for a cancel mark", error)

    async def _sleep(self) -> None:
        async with anyio.create_task_group() as group:

            async def woken() -> None:
                await self._look_now.wait()
                group.cancel_scope.cancel()

            group.start_soon(woken)
            await self._clock.sleep(self._every)
            group.cancel_scope.cancel()
        if self._look_now.is_set():
            self._look_now = anyio.Event()

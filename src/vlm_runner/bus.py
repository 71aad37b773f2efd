"""From the runner to whoever watches: facts after they are saved, signals as they come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import structlog

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vlm_runner.core.events import Entry
    from vlm_runner.core.run import Run
    from vlm_runner.core.signals import Signal

log = structlog.get_logger("vlm_runner")


class Watcher(Protocol):
    """
    Hears of every run of a runner, in order; called on the event loop, so it must not block.

    What it raises is logged, and harms no run.
    """

    def on_entry(self, run: Run, entry: Entry) -> None:
        """`entry` is saved, and `run` is the run after it."""

    def on_signal(self, run_id: str, signal: Signal) -> None: ...


class Bus:
    def __init__(self, watchers: Iterable[Watcher]) -> None:
        self._watchers = tuple(watchers)
        self._failed: set[int] = set()

    def entry(self, run: Run, entry: Entry) -> None:
        for watcher in self._watchers:
            try:
                watcher.on_entry(run, entry)
            except Exception as error:  # noqa: BLE001 - a listener's fault is not the run's
                self._tell(watcher, error)

    def signal(self, run_id: str, signal: Signal) -> None:
        for watcher in self._watchers:
            try:
                watcher.on_signal(run_id, signal)
            except Exception as error:  # noqa: BLE001
                self._tell(watcher, error)

    def _tell(self, watcher: Watcher, error: Exception) -> None:
        """Where from, the first time; a watcher that fails at every signal shall not fill the log."""
        first = id(watcher) not in self._failed
        self._failed.add(id(watcher))
        log.error(
            "watcher.failed",
            watcher=type(watcher).__name__,
            error=repr(error),
            exc_info=error if first else None,
        )

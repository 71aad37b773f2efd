"""From the runner to its watchers: events after they are saved, signals as they occur."""

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
    Receives what happens to every run of a runner, in order. Called on the event loop, so it must not block.

    An exception that it raises is logged and affects no run.
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
            except Exception as error:  # noqa: BLE001 - a watcher's error must not affect the run
                self._log_failure(watcher, error)

    def signal(self, run_id: str, signal: Signal) -> None:
        for watcher in self._watchers:
            try:
                watcher.on_signal(run_id, signal)
            except Exception as error:  # noqa: BLE001 - as above
                self._log_failure(watcher, error)

    def _log_failure(self, watcher: Watcher, error: Exception) -> None:
        """With a traceback the first time only: a watcher may fail at every signal."""
        first = id(watcher) not in self._failed
        self._failed.add(id(watcher))
        log.error(
            "watcher.failed",
            watcher=type(watcher).__name__,
            error=repr(error),
            exc_info=error if first else None,
        )

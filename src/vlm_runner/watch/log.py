"""One structured log event for each transition: JSON lines for machines, readable lines for people."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, TextIO

import structlog
from structlog.tracebacks import ExceptionDictTransformer

from vlm_runner.core.signals import (
    DownloadProgress,
    HeldElsewhere,
    RemoteStatusChanged,
    StagingProgress,
    TestAnswered,
    Trouble,
)
from vlm_runner.redact import json_text, printable, redacted_value

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from vlm_runner.core.events import Entry, Event
    from vlm_runner.core.run import Run
    from vlm_runner.core.signals import Signal

SUMMARY_SECONDS = 30.0
"""Between two lines about the same staging or wait: a log of hours stays readable, and never looks dead."""

LEVELS = {"quiet": 40, "normal": 20, "verbose": 10}


def configure_logging(
    style: Literal["json", "text"], level: str = "normal", stream: TextIO | None = None
) -> None:
    """
    Set up structlog for this process; only the command line does, never the library.

    Local variables never reach a traceback: a secret may be in one.
    """
    renderer: list[Any] = (
        [
            structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),
            _redact,
            structlog.processors.JSONRenderer(serializer=_json),
        ]
        if style == "json"
        else [
            structlog.processors.format_exc_info,
            _redact,
            _in_one_line,
            structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
        ]
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(stream or sys.stderr),
        cache_logger_on_first_use=False,
    )


def _redact(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {key: redacted_value(value) for key, value in event.items()}


def _json(event: Any, **_: Any) -> str:
    return json_text(event)


def _in_one_line(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """What others wrote must not look like further lines of the log; our own tracebacks may have several."""
    return {
        key: printable(value if key == "exception" else value.replace("\n", " "))
        if isinstance(value, str)
        else value
        for key, value in event.items()
    }


@dataclass(slots=True)
class _Wait:
    """What a run is waiting for, and since when."""

    phase: str
    since: float
    timer: asyncio.TimerHandle
    details: dict[str, Any] = field(default_factory=dict[str, Any])


class LogWatcher:
    """Writes every entry, change of a remote status and trouble, and now and then how it goes."""

    def __init__(self) -> None:
        self._log = structlog.get_logger("vlm_runner")
        self._logged_at: dict[tuple[str, str], float] = {}
        self._waits: dict[str, _Wait] = {}

    def on_entry(self, run: Run, entry: Entry) -> None:
        self._log.info(
            "run.advanced",
            run_id=run.run_id,
            sequence=entry.sequence,
            event_kind=entry.event.kind,
            phase=run.phase.value,
            **facts(entry.event),
        )
        self._wait(run)

    def _wait(self, run: Run) -> None:
        """Say every SUMMARY_SECONDS what is waited for, as long as nothing else happens to the run."""
        if (before := self._waits.pop(run.run_id, None)) is not None:
            before.timer.cancel()
        if not run.done:
            loop = asyncio.get_running_loop()
            timer = loop.call_later(SUMMARY_SECONDS, self._still, run.run_id)
            self._waits[run.run_id] = _Wait(run.phase.value, loop.time(), timer)

    def _still(self, run_id: str) -> None:
        wait, loop = self._waits[run_id], asyncio.get_running_loop()
        seconds = round(loop.time() - wait.since)
        self._log.info("run.waiting", run_id=run_id, phase=wait.phase, seconds=seconds, **wait.details)
        wait.timer = loop.call_later(SUMMARY_SECONDS, self._still, run_id)

    def on_signal(self, run_id: str, signal: Signal) -> None:
        match signal:
            case Trouble(doing=doing, message=message):
                self._log.warning("run.trouble", run_id=run_id, doing=doing, message=message)
            case RemoteStatusChanged():
                if (wait := self._waits.get(run_id)) is not None:
                    wait.details = {
                        "status": signal.status,
                        **({"details": signal.details} if signal.details else {}),
                    }
                self._log.info("run.remote_status", run_id=run_id, **_plain(signal))
            case HeldElsewhere():
                self._once(run_id, signal)
            case StagingProgress():
                self._now_and_then(run_id, signal)
            case DownloadProgress():
                self._download(run_id, signal)
            case TestAnswered():
                if (wait := self._waits.get(run_id)) is not None:
                    wait.details = {"done": signal.done, "asked": signal.asked}
                self._log.debug("run.test_answered", run_id=run_id, **_plain(signal))

    def _download(self, run_id: str, signal: DownloadProgress) -> None:
        key = (run_id, signal.kind)
        if signal.done or signal.seconds - self._logged_at.get(key, 0.0) >= SUMMARY_SECONDS:
            self._logged_at[key] = 0.0 if signal.done else signal.seconds
            self._log.info("run.downloading", run_id=run_id, **_plain(signal))

    def _once(self, run_id: str, signal: HeldElsewhere) -> None:
        if self._logged_at.setdefault((run_id, f"{signal.host}/{signal.pid}"), 0.0) == 0.0:
            self._logged_at[run_id, f"{signal.host}/{signal.pid}"] = 1.0
            self._log.warning("run.held_elsewhere", run_id=run_id, **_plain(signal))

    def _now_and_then(self, run_id: str, signal: StagingProgress) -> None:
        key = (run_id, signal.subset)
        last = self._logged_at.get(key)
        if signal.rows_done == signal.rows or (last is not None and signal.seconds - last >= SUMMARY_SECONDS):
            self._logged_at[key] = signal.seconds
            self._log.info("run.staging", run_id=run_id, **_plain(signal))
        elif last is None:
            self._logged_at[key] = signal.seconds


_UNLOGGED: Final = {
    "kind",
    "run_id",
    "spec",
    "request",
    "token",
    "first",
    "train_objects",
    "validation_objects",
}


def facts(event: Event) -> dict[str, Any]:
    """What a log line says of an event: its plain facts, not the requests and specs that it carries."""
    table = event.model_dump(mode="json", exclude=_UNLOGGED)
    return {key: value for key, value in table.items() if value is not None}


def _plain(signal: Signal) -> dict[str, Any]:
    return signal.model_dump(mode="json", exclude={"kind"})

"""
Trackers beside a run. One that is slow, down or broken harms no run.

Each has a daemon thread of its own, since their clients block, and anyio's worker threads are waited for
when the process exits. It gets all that is known of a run when the run is created, when its job is
submitted and completed, and at its end; each log makes up for those before it that failed.
`vlm-runner track RUN` logs it once more, at any time.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from concurrent.futures import Executor, Future
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import anyio
import structlog

from vlm_runner.errors import ConfigurationError
from vlm_runner.redact import one_line, redacted
from vlm_runner.track.tracked_run import TrackedRun, tracked_run

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from anyio.abc import TaskGroup

    from vlm_runner.core.events import Entry
    from vlm_runner.core.run import Run
    from vlm_runner.core.signals import Signal
    from vlm_runner.report.assemble import RunReport
    from vlm_runner.settings import TrackingSettings

T = TypeVar("T")

log = structlog.get_logger("vlm_runner")

LOGGED_EVENTS: Final = frozenset({"run_created", "job_submitted", "job_completed"})
"""
Besides the end. Not the answers: the report that they are in makes their thumbnails, and that must not take
the processor while an endpoint still bills.
"""
DRAIN_SECONDS: Final = 20.0
"""For what is not logged yet when a runner closes; ECS kills 30 seconds after it asks, by default."""
LONGEST_REASON: Final = 500


class Tracker(Protocol):
    """Called from one thread only, which may block."""

    @property
    def name(self) -> str:
        """As it is called in messages."""
        ...

    def log_run(self, run: TrackedRun, /) -> None:
        """Make the tracker's run be what `run` says; twice is as once. May raise anything."""
        ...

    def close(self) -> None: ...


def open_trackers(settings: TrackingSettings) -> list[Tracker]:
    """
    Those that the settings name. Asks nobody, and imports no client.

    Raises:
        ConfigurationError: the client of one is not installed.
    """
    found: list[Tracker] = []
    if settings.mlflow is not None:
        _require("mlflow", "MLflow", "mlflow")
        from vlm_runner.track.mlflow import MlflowTracker  # noqa: PLC0415 - only for who wants it

        found.append(MlflowTracker(settings.mlflow, settings.mlflow_experiment))
    if settings.wandb is not None:
        _require("wandb", "Weights & Biases", "wandb")
        from vlm_runner.track.wandb import WandbTracker  # noqa: PLC0415 - as above

        found.append(WandbTracker(settings.wandb))
    if settings.tensorboard is not None:
        _require("tensorboardX", "TensorBoard's files", "tensorboard")
        from vlm_runner.track.tensorboard import TensorBoardTracker  # noqa: PLC0415 - as above

        found.append(TensorBoardTracker(settings.tensorboard))
    return found


def _require(module: str, what: str, extra: str) -> None:
    if find_spec(module) is None:
        raise ConfigurationError(
            f"{what}: the client is not installed.", hint=f"Install it: pip install 'vlm-runner[{extra}]'"
        )


class Trackers:
    """A watcher that logs runs to trackers."""

    report_of: Callable[[str], Awaitable[RunReport]]
    """Gives all that is known of a run, by its id; to be set before the first entry."""

    def __init__(self, trackers: Iterable[Tracker], group: TaskGroup) -> None:
        self._tasks = [_TrackerTask(tracker, self) for tracker in trackers]
        for task in self._tasks:
            group.start_soon(task.work, name=f"logging to {task.name}")

    def on_entry(self, run: Run, entry: Entry) -> None:
        if run.done or entry.event.kind in LOGGED_EVENTS:
            for task in self._tasks:
                task.enqueue(run.run_id)

    def on_signal(self, run_id: str, signal: Signal) -> None:
        pass

    async def close(self) -> None:
        """Log what is left, for a while, and let go."""
        if not self._tasks:
            return
        with anyio.move_on_after(DRAIN_SECONDS, shield=True):
            async with anyio.create_task_group() as group:
                for task in self._tasks:
                    group.start_soon(task.close)
        for task in self._tasks:
            task.warn_of_the_rest()


class _TrackerTask:
    """One tracker, its thread, and the runs that are still to be logged to it."""

    def __init__(self, tracker: Tracker, trackers: Trackers) -> None:
        self._tracker, self._trackers = tracker, trackers
        self._thread = _DaemonThread(f"vlm-runner {tracker.name}")
        self._wanted: dict[str, None] = {}
        self._logging: str | None = None
        self._news, self._idle = anyio.Event(), anyio.Event()

    @property
    def name(self) -> str:
        return self._tracker.name

    def enqueue(self, run_id: str) -> None:
        self._wanted[run_id] = None
        self._news.set()

    async def work(self) -> None:
        try:
            while True:
                while self._wanted:
                    self._logging = next(iter(self._wanted))
                    del self._wanted[self._logging]
                    await self._tell(self._logging)
                    self._logging = None
                self._idle.set()
                await self._news.wait()
                self._news, self._idle = anyio.Event(), anyio.Event()
        finally:
            self._thread.shutdown(wait=False)

    async def _tell(self, run_id: str) -> None:
        try:
            report = await self._trackers.report_of(run_id)
            await self._in_thread(lambda: self._tracker.log_run(tracked_run(report)))
        except Exception as error:  # noqa: BLE001 - a tracker's trouble is not the run's
            self._warn(run_id, reason_of(error))

    async def close(self) -> None:
        while self._wanted or self._logging is not None:
            await self._idle.wait()
        try:
            await self._in_thread(self._tracker.close)
        except Exception as error:  # noqa: BLE001 - as above
            log.warning("tracker.failed", tracker=self.name, reason=reason_of(error))

    def warn_of_the_rest(self) -> None:
        left = [*self._wanted] if self._logging is None else [self._logging, *self._wanted]
        for run_id in dict.fromkeys(left):
            self._warn(run_id, "it did not answer in time")

    def _warn(self, run_id: str, reason: str) -> None:
        log.warning(
            "tracker.failed",
            tracker=self.name,
            run_id=run_id,
            reason=reason,
            hint=f"the run is unaffected; log it again with: vlm-runner track {run_id}",
        )

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def reason_of(error: Exception) -> str:
    """In one line, without secrets: clients of others raise anything, with addresses and keys in it."""
    return one_line(redacted(f"{type(error).__name__}: {error}"), LONGEST_REASON)


class _DaemonThread(Executor):
    """Does one thing after another; nobody waits for it at the end of the process."""

    def __init__(self, name: str) -> None:
        self._work: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        self._name = name
        self._running: threading.Thread | None = None

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        if self._running is None:
            self._running = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._running.start()
        done: Future[T] = Future()
        self._work.put((done, lambda: fn(*args, **kwargs)))
        return done

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002 - Executor's signature
        self._work.put(None)

    def _run(self) -> None:
        while (item := self._work.get()) is not None:
            done, work = item
            if not done.set_running_or_notify_cancel():
                continue
            try:
                result = work()
            except BaseException as error:  # noqa: BLE001 - whoever waits for it raises it
                done.set_exception(error)
            else:
                done.set_result(result)
